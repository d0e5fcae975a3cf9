"""Training a classifier of single views in one folder: its run from the first step to the last, and its loss.

training.json            what is trained, on what; written first
classifier.state         training state, removed at the end
classifier.csv           learning curve
classifier.safetensors   the classifier; written at the end, see ``dimvida.models.classifier_checkpoint``
classifier.json
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from dimvida._version import __version__
from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_write, sha256_file
from dimvida.models.classifier_checkpoint import DESCRIPTION, load_classifier, read_description, save_classifier
from dimvida.models.classifiers import IMAGENET, ImageClassifier, build_classifier, predict_logits
from dimvida.records import to_json
from dimvida.results.files import ClassifierTraining
from dimvida.training.control import Interrupt, Interrupted, ShowProgress, StartProgress
from dimvida.training.data import LabelledImages
from dimvida.training.figures import write_csv
from dimvida.training.folder import RunFolder, another_configuration, read_plan
from dimvida.training.loop import Diverged, Hooks, loss_note, run_stage
from dimvida.training.ranks import Ranks, Share
from dimvida.training.seeds import derived_seed, seeded
from dimvida.training.stage_config import ClassifierStageConfig
from dimvida.training.state import TrainingState, load_state


@dataclass(frozen=True, slots=True)
class ClassifierPlan:
    """What decides about a trained classifier, apart from its data.

    Attributes:
        name: One of ``dimvida.models.classifiers.CLASSIFIERS``.
        config: Steps, batch, learning rate, augmentation.
        seed: Seeds the initial weights, the order of the pictures, augmentation and dropout.
        weights: What it starts from, see ``build_classifier``; None for random weights.
    """

    name: str
    config: ClassifierStageConfig
    seed: int
    weights: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a file of weights is named by its content.

        Raises:
            InputError: There is no such file.
        """
        weights = self.weights
        if weights not in (None, IMAGENET):
            try:
                weights = sha256_file(weights)
            except OSError as error:
                raise InputError(f"--weights {weights}: cannot be read ({error.strerror})") from None
        return {
            "name": self.name,
            "seed": self.seed,
            "weights": weights,
            "stage": dataclasses.asdict(self.config),
        }

    def digest(self, data: str) -> str:
        """Hex SHA-256 of the plan and the data's digest: equal ones train equal classifiers."""
        content = json.dumps({**self.to_dict(), "data": data}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(slots=True)
class ClassifierRun:
    """The training of one classifier; continues what is in its folder.

    Attributes:
        folder: The folder of this classifier.
        plan: Which classifier is trained, and how.
        digest: Hash of the plan and the data, as ``ClassifierPlan.digest`` gives it.
        device: The device that computes.
        interrupt: Asked between steps whether to stop.
        origin: ``command``, ``versions``, ``options`` and ``configuration`` of ``ClassifierTraining``, if any.
    """

    folder: Path
    plan: ClassifierPlan
    digest: str
    device: torch.device
    interrupt: Interrupt
    origin: dict[str, Any] = field(default_factory=dict)

    _files: RunFolder = field(init=False)

    def __post_init__(self) -> None:
        self._files = RunFolder(self.folder)

    @classmethod
    def named(
        cls, parent: Path, name: str, plan: ClassifierPlan, data: str, device: torch.device, interrupt: Interrupt
    ) -> ClassifierRun:
        """One in a folder that is called by all that decides about it, after ``name``; ``data`` is their digest."""
        digest = plan.digest(data)
        parent.mkdir(parents=True, exist_ok=True)
        return cls(parent / f"{name}-{digest[:12]}", plan, digest, device, interrupt)

    def check(self, *, resume: bool) -> None:
        """Whether it may be trained here; changes nothing.

        Raises:
            InputError: There is one already, or something else; or, with ``resume``, there is none or another one.
        """
        begun = self._begun()
        if begun is None and self.folder.exists() and any(not p.name.startswith(".") for p in self.folder.iterdir()):
            raise InputError(f"{self.folder}: not empty, and not the training of a classifier; choose another --out")
        if begun is None and resume:
            raise InputError(f"{self.folder}: holds no classifier to resume; leave out --resume to begin one")
        if begun is not None and not resume:
            raise InputError(f"{self.folder} already holds a classifier; add --resume, or give another --out")
        if begun is not None and begun != self.digest:
            raise another_configuration(self.folder, self._changes())

    def finished(self) -> bool:
        """Whether this classifier is in the folder, trained to its end."""
        if not (self.folder / DESCRIPTION).exists():
            return False
        return read_description(self.folder).get("provenance", {}).get("digest") == self.digest

    def train(self, data: LabelledImages, watch: StartProgress, work: str = "classifier") -> None:
        """Train to the end, from the last saved state if there is one, unless it is ``finished``.

        Args:
            data: Pictures and labels to train on and to validate with.
            watch: Called when the training begins.
            work: The name of this training there.

        Raises:
            InputError: The folder holds another classifier, or another process trains there.
            DimvidaError: The loss or the weights are no longer finite.
            Interrupted: It was interrupted; the state is saved.
        """
        if self._begun() not in (None, self.digest):
            raise another_configuration(self.folder, self._changes())
        with self._files.owned():
            if self.finished():
                self._files.state("classifier").unlink(missing_ok=True)
                return
            training = ClassifierTraining(
                **self.origin, digest=self.digest, **self.plan.to_dict(), data=data.description
            )
            atomic_write(self.folder / training.file, json.dumps(to_json(training), indent=2) + "\n")
            self._train(data, watch, work)

    def load(self) -> ImageClassifier:
        """The finished classifier, on the device."""
        return load_classifier(self.folder).to(self.device)

    def _train(self, data: LabelledImages, watch: StartProgress, work: str) -> None:
        stage = self._stage(data)
        if stage.state_path.exists():
            stage.restore(load_state(stage.state_path, [self.digest]))
        show = watch(work, stage.total, "steps", stage.step)
        hooks = _CurveOnly(self._files.curve("classifier"), show)
        try:
            finished = run_stage(stage, hooks, self.interrupt, Ranks())
        except Diverged as error:
            raise DimvidaError(
                f"{work}: {error}; begin again with classifier_stage.lr below {stage.config.lr:g}"
            ) from None
        if not finished:
            raise Interrupted
        provenance = {
            "package_version": __version__,
            "digest": self.digest,
            **self.plan.to_dict(),
            "data": data.description,
            "steps": stage.step,
            "validation": stage.curve[-1].validation,
        }
        classifier = stage.averaged_network
        assert isinstance(classifier, ImageClassifier)
        save_classifier(self.folder, classifier, provenance)
        stage.state_path.unlink()

    def _stage(self, data: LabelledImages) -> TrainingState:
        plan, config = self.plan, self.plan.config
        with seeded(derived_seed(plan.seed, "classifier/initial weights")):
            classifier = build_classifier(
                plan.name,
                data.classes,
                weights=plan.weights,
                input_size=config.input_size,
                image_size=data.images.shape[-1],
                channels=data.images.shape[1],
            )
        if plan.weights is not None and config.finetune_lr:
            config = dataclasses.replace(config, lr=config.finetune_lr)
        objective = ClassifierObjective(classifier.to(self.device), data, config, self.device)
        return TrainingState(objective, config, plan.seed, self._files.state("classifier"), self.digest)

    def _changes(self) -> list[str]:
        """What differs from the training in the folder, apart from the data."""
        before, now = read_plan(self.folder), self.plan.to_dict()
        names = {"name": "--classifier", "weights": "--weights", "seed": "seed"}
        pairs = [(shown, getattr(before, name), now[name]) for name, shown in names.items()]
        pairs += [
            (f"classifier_stage.{name}", before.stage.get(name, value), value) for name, value in now["stage"].items()
        ]
        return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]

    def _begun(self) -> str | None:
        """The digest of the training in the folder, None if there is none."""
        plan = read_plan(self.folder)
        return None if plan is None else plan.digest


class _CurveOnly(Hooks):
    """Shows the progress and writes the learning curve."""

    def __init__(self, path: Path, show: ShowProgress) -> None:
        self._path, self._show = path, show

    def progress(self, stage: TrainingState) -> None:
        self._show(stage.step, loss_note(stage))

    def point(self, stage: TrainingState) -> None:
        write_csv(self._path, stage.curve)


class ClassifierObjective:
    """Cross entropy of pictures.

    Args:
        network: The classifier to train.
        data: Pictures and labels.
        config: How pictures are augmented, and what the products are computed in.
        device: The device that computes.
    """

    name = "classifier"

    def __init__(
        self, network: ImageClassifier, data: LabelledImages, config: ClassifierStageConfig, device: torch.device
    ) -> None:
        self.network, self.data, self.device = network, data, device
        self.items = len(data.images)
        self.draws_slowly = config.augment != "none"
        self._augment = v2.TrivialAugmentWide(fill=255) if config.augment == "trivial-augment-wide" else None

    def draw(self, indices: Tensor, seed: int, step: int, rows: slice) -> dict[str, Tensor]:
        places = indices[rows]
        if len(places) == 1:
            # Batch norm has no statistics of a single value, which the last batch of an epoch may come to.
            places = torch.cat([places, (places + 1) % self.items])
        images, labels = self.data.images[places], self.data.labels[places]
        if self._augment is not None:
            # torchvision draws from the global generator.
            with seeded(derived_seed(seed, "classifier/augment", step)):
                images = torch.stack([self._augment(image) for image in images])
        dropout_seed = torch.tensor(derived_seed(seed, "classifier/dropout", step))
        return {"images": images, "labels": labels, "dropout_seed": dropout_seed}

    def loss(self, share: Share, images: Tensor, labels: Tensor, dropout_seed: Tensor) -> Tensor:
        # torchvision's MobileNets drop out by the global generators.
        with seeded(int(dropout_seed), self.device):
            logits = self.network(images)
        return cross_entropy(logits, labels)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Loss and accuracy on what is held out; nothing if nothing is."""
        labels = self.data.held_out_labels
        if not len(labels):
            return {}
        logits = predict_logits(network, self.data.held_out, device=self.device)
        accuracy = (logits.argmax(1) == labels).double().mean()
        return {"loss": float(cross_entropy(logits, labels)), "accuracy": float(accuracy)}
