"""The folder of a training run: what is in it, whose it is, and what may happen to it."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_write, exclusive_folder
from dimvida.records import from_json, to_json
from dimvida.results.files import CLASSIFIER, STAGES, ClassifierTraining, TrainingResult

# The names that dimvida.files.atomic_path gives to the unfinished files of a run, and safetensors to its own.
_UNFINISHED = re.compile(
    rf"\.(run|training|curves|latents|config|score|({'|'.join((*STAGES, CLASSIFIER))})(-\d+)?)\.\w{{8}}"
    r"\.(json|png|csv|state|safetensors)|\.tmp\w{6}"
)


class RunFolder:
    """One run's folder.

    Args:
        path: The folder; made by ``owned``.

    Attributes:
        checkpoint, best, steps, samples, tensorboard, latents, curves: Paths in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint"
        self.best = path / "best"
        self.steps = path / "steps"
        self.samples = path / "samples"
        self.tensorboard = path / "tensorboard"
        self.latents = path / "latents.safetensors"
        self.curves = path / "curves.png"
        self._description = path / TrainingResult.file

    def state(self, stage: str) -> Path:
        """The training state of a stage."""
        return self.path / f"{stage}.state"

    def curve(self, stage: str) -> Path:
        """The learning curve of a stage."""
        return self.path / f"{stage}.csv"

    def step(self, stage: str, step: int) -> Path:
        """The checkpoint that is kept of a step of a stage."""
        return self.steps / f"{stage}-{step:06d}"

    def check(self, wanted: Sequence[str], *, resume: bool, init: str | None) -> None:
        """Whether stages may be trained here, as far as the folder tells; changes nothing.

        Args:
            wanted: Names of the stages to train.
            resume: Continue what is there.
            init: Hash of the checkpoint that the run starts from, or None.

        Raises:
            InputError: If it would overwrite something, continue something else, or cannot begin.
        """
        known, begun = self.description(), self.begun()
        if not begun and not self._is_free():
            raise InputError(f"{self.path}: not empty, and not a training run; choose another --out")
        if resume and not begun:
            raise InputError(f"{self.path}: holds no training to resume; leave out --resume to begin one")
        for stage in wanted:
            if stage in begun and not resume:
                raise InputError(f"{self.path} already holds its {stage} stage; add --resume, or give another --out")
        if known is not None and (known.stages or known.init):
            self._check_init(known.init, init)
        if "autoencoder" in wanted and begun == ["diffusion"]:
            raise InputError(f"{self.path} holds a diffusion on the autoencoder of --init; add --stage diffusion")
        if "autoencoder" not in wanted and not self.state("autoencoder").exists() and init is None:
            raise InputError(
                f"{self.path} holds no trained autoencoder; run --stage autoencoder first, or give one with --init"
            )

    def begun(self) -> list[str]:
        """The stages that have begun here."""
        known = self.description()
        return [stage for stage in STAGES if self.state(stage).exists() or (known and stage in known.stages)]

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Make the folder, keep other processes out, and remove what a killed one left half written.

        Raises:
            InputError: If another process trains here.
            DimvidaError: If a file could not be written while it was owned, as on a full disk.
        """
        with exclusive_folder(self.path, "another process is training here; choose another --out"):
            for folder in (self.path, self.checkpoint, self.best, self.samples, *self.steps.glob("*")):
                for path in folder.glob(".*"):
                    if _UNFINISHED.fullmatch(path.name):
                        path.unlink(missing_ok=True)
            try:
                yield
            except OSError as error:
                if error.errno in (None, errno.EPIPE):
                    raise
                raise self._not_written(error) from error

    def begin(self, stage: str, digest: str, description: TrainingResult) -> None:
        """Write down that a stage begins or goes on, and with what.

        Args:
            stage: Name of the stage.
            digest: Hash of its configuration and data.
            description: What people, and whoever resumes, want to know of the run.
        """
        known = self.description()
        content = to_json(dataclasses.replace(description, stages={**(known.stages if known else {}), stage: digest}))
        atomic_write(self._description, json.dumps({**content, "sha256": _digest(content)}, indent=2) + "\n")

    def description(self) -> TrainingResult | None:
        """What ``run.json`` says; None if it is not there.

        Raises:
            InputError: It is damaged, or cannot be read.
        """
        try:
            known = json.loads(self._description.read_bytes())
            description = from_json(TrainingResult, known, str(self._description))
            if description.sha256 in (None, _digest(known)):
                return description
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise not_read(self._description, error) from error
        except (ValueError, RecursionError, InputError):
            pass
        raise InputError(f"{self._description}: damaged, or not of a training run; choose another --out")

    def _not_written(self, error: OSError) -> DimvidaError:
        begun = any((self.path / name).exists() for name in (TrainingResult.file, ClassifierTraining.file))
        way_on = "what was saved before is whole: make room, then add --resume" if begun else "nothing was begun"
        return DimvidaError(f"{error.filename or self.path}: cannot be written ({error.strerror}); {way_on}")

    def _is_free(self) -> bool:
        names = [path.name for path in self.path.iterdir()] if self.path.exists() else []
        return all(name == CLASSIFIER or _UNFINISHED.fullmatch(name) for name in names)

    def _check_init(self, before: str | None, init: str | None) -> None:
        # The training states know it too, but the first one is saved late.
        if before == init:
            return
        if init is None:
            raise InputError(f"{self.path} was started with --init (checkpoint {before[:12]}); give the same one again")
        if before is None:
            raise InputError(f"{self.path} was started without --init; leave it out, or give another --out")
        raise InputError(
            f"--init: is checkpoint {init[:12]}, but {self.path} was started from {before[:12]}; "
            "give that one, or another --out"
        )


def read_plan(folder: Path) -> ClassifierTraining | None:
    """What classifier is trained in a folder, as its ``training.json`` says; None if there is none.

    Raises:
        InputError: It is damaged, or cannot be read.
    """
    path = folder / ClassifierTraining.file
    try:
        return from_json(ClassifierTraining, json.loads(path.read_bytes()), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise not_read(path, error) from error
    except (InputError, ValueError, RecursionError):
        raise InputError(f"{path}: damaged; choose another --out") from None


def not_read(path: Path, error: OSError) -> InputError:
    """What to raise where the system cannot read a file, which says nothing of what is in it."""
    return InputError(
        f"{path}: cannot be read ({error.strerror or error}); nothing was changed, and once it can be read the same "
        "command continues"
    )


def another_configuration(path: Path, changes: Sequence[str] = ()) -> InputError:
    """What to raise where a run would be continued with other options, or on other data.

    Args:
        path: The run, or a file of it.
        changes: What differs, as far as it is known.
    """
    what = (
        f"with another configuration ({', '.join(changes)})"
        if changes
        else "on other data (its pictures, names, cameras, --split, --partition, --classes and --limit belong to it) "
        "or by another version"
    )
    return InputError(f"{path} was made {what}; repeat what that run was begun with, or give another --out")


def _digest(description: dict[str, Any]) -> str:
    content = {name: value for name, value in description.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
