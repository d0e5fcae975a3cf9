"""The networks that metrics look at pictures with: SqueezeNet of LPIPS, Inception of FID, and a judging classifier.

All take pictures uint8 [N, 3, H, W], or gray ones [N, 1, H, W], and some of them at a time.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from dimvida.errors import InputError
from dimvida.evaluation.weights import INCEPTION, SQUEEZENET, Unavailable, misfit, obtain_weights
from dimvida.models.classifiers import ImageClassifier, require_known

LPIPS_SMALLEST = 17
"""Edge in pixels below which SqueezeNet's last pooling has nothing left."""

INCEPTION_FEATURES = 2048

# Pictures at a time; Inception enlarges each to 299 x 299.
LPIPS_CHUNK, INCEPTION_CHUNK, JUDGE_CHUNK = 128, 32, 256

MetricKind = Literal["pictures", "distances", "judged"]
"""What is made of a network: a value for each picture beside the true one, the Fréchet distance of its features, or the
share of pictures in which it sees the object's class."""

MetricNetwork = TypeVar("MetricNetwork", bound=type)

NETWORK_METRICS: dict[str, tuple[type, MetricKind]] = {}
"""Metrics that need a network, by name, with its class; see ``measures``."""


def measures(**metrics: MetricKind) -> Callable[[MetricNetwork], MetricNetwork]:
    """Make metrics of these names of a network's class.

    Its class method ``obtain`` makes the network of ``MetricInputs``, or raises ``Unavailable`` with what would help.
    """

    def declare(network: MetricNetwork) -> MetricNetwork:
        NETWORK_METRICS.update({name: (network, kind) for name, kind in metrics.items()})
        return network

    return declare


@dataclass(frozen=True, slots=True)
class MetricInputs:
    """What metrics are made of.

    Attributes:
        image_size: Edge of the pictures in pixels.
        classes: The data's classes; none where its objects have no class.
        device: Where networks run.
        inception_weights, lpips_weights: Files; None looks in torch.hub's cache, then downloads.
        classifier: What judges the pictures, if there is one.
    """

    image_size: int
    classes: Sequence[str]
    device: torch.device
    inception_weights: Path | None = None
    lpips_weights: Path | None = None
    classifier: ImageClassifier | None = None


@measures(lpips="pictures")
class PerceptualDistance:
    """How different two pictures look: LPIPS, version 0.1 (Zhang et al., CVPR 2018), by the authors' package.

    The linear layers come with the package ``lpips``, the backbone's weights are given.

    Args:
        state: SqueezeNet 1.1 with torchvision's names; its classifier may be missing.
        where: The file or source of the weights, for messages.
        device: The device that computes.

    Raises:
        InputError: The weights are not those of SqueezeNet 1.1.
    """

    def __init__(self, state: Mapping[str, Tensor], where: str, device: torch.device | str = "cpu") -> None:
        with torch.random.fork_rng(devices=[]):  # initial weights, about to be replaced, are no reason to draw
            features = squeezenet1_1().features
            self._network = _untrained_lpips()
        prefix = "features."
        try:
            features.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        except RuntimeError as error:
            raise InputError(f"{where}: is not SqueezeNet 1.1 with torchvision's names ({misfit(error)})") from None
        for part in self._network.net.children():
            for place, layer in part.named_children():  # named by their place among the features
                layer.load_state_dict(features[int(place)].state_dict())
        self._network.requires_grad_(False).to(device)
        self._device = device

    @classmethod
    def obtain(cls, inputs: MetricInputs) -> PerceptualDistance:
        """With the weights that are given or published."""
        if inputs.image_size < LPIPS_SMALLEST:
            raise Unavailable(f"SqueezeNet needs pictures of {LPIPS_SMALLEST} pixels, these have {inputs.image_size}")
        state = obtain_weights(SQUEEZENET, inputs.lpips_weights)
        return cls(state, SQUEEZENET.place(inputs.lpips_weights), inputs.device)

    @torch.no_grad()
    def __call__(self, images: Tensor, references: Tensor) -> Tensor:
        """The distance of each pair, 0 for equal pictures.

        Args:
            images: uint8 [N, 3, H, W], or [N, 1, H, W] of gray ones; H and W at least ``LPIPS_SMALLEST``.
            references: The true pictures, uint8 of the same shape.

        Returns:
            float64 [N] on the CPU.
        """
        chunks = zip(images.split(LPIPS_CHUNK), references.split(LPIPS_CHUNK), strict=True)
        values = [self._network(self._scaled(x), self._scaled(y)).flatten() for x, y in chunks]
        return torch.cat(values).double().cpu()

    def _scaled(self, pictures: Tensor) -> Tensor:
        return as_rgb(pictures.to(self._device)).float() / 127.5 - 1  # LPIPS is made for [-1, 1]


def _untrained_lpips() -> nn.Module:
    from lpips import LPIPS  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it builds its backbone in a way that torchvision has deprecated
        return LPIPS(net="squeeze", pnet_rand=True, verbose=False)


class Seen(NamedTuple):
    """What a network makes of pictures.

    Attributes:
        classes: The class that it sees in each as its own number, int64 [N] on the CPU; None where it knows none.
        features: Features, float32 [N, D], on the network's device.
    """

    classes: Tensor | None
    features: Tensor


@measures(fid="distances")
class InceptionFeatures:
    """Features of pictures as ``torchmetrics.image.fid.FrechetInceptionDistance`` computes them.

    Pictures are enlarged to 299 x 299 bilinearly with antialiasing, torchmetrics' default.

    Args:
        state: Weights with torch-fidelity's names.
        where: The file or source of the weights, for messages.
        device: The device that computes.

    Raises:
        InputError: The weights are not those of that network.
        Unavailable: The package torch-fidelity is missing.
    """

    def __init__(self, state: Mapping[str, Tensor], where: str, device: torch.device | str = "cpu") -> None:
        require_torch_fidelity()
        from torchmetrics.image.fid import NoTrainInceptionV3  # needs torch-fidelity

        # The network reads weights when it is made, and unpickles anything. What it gets here are tensors alone.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):
                self._network = NoTrainInceptionV3("inception-v3-compat", [str(INCEPTION_FEATURES)], buffer).to(device)
        except RuntimeError as error:
            raise InputError(f"{where}: is not the Inception network of torch-fidelity ({misfit(error)})") from None
        self._device = device

    @classmethod
    def obtain(cls, inputs: MetricInputs) -> InceptionFeatures:
        """With the weights that are given or published."""
        require_torch_fidelity()  # before its weights are downloaded
        state = obtain_weights(INCEPTION, inputs.inception_weights)
        return cls(state, INCEPTION.place(inputs.inception_weights), inputs.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Features of pictures, uint8 [N, 3, H, W], or [N, 1, H, W] of gray ones."""
        parts = images.split(INCEPTION_CHUNK)
        return Seen(None, torch.cat([self._network(as_rgb(part.to(self._device))) for part in parts]))


@measures(coherence="judged", feature_frechet="distances")
class Judge:
    """A classifier with the features that its last linear layer takes.

    Args:
        classifier: RGB uint8 [N, 3, H, W] to logits [N, K]; its last ``nn.Linear`` makes the logits.
        known: Names of its K classes.
        classes: Names of the data's classes.
        where: The file or folder of the classifier, for messages.
        device: The device that computes.

    Raises:
        InputError: The data has classes that the classifier does not know.
    """

    def __init__(
        self,
        classifier: nn.Module,
        known: Sequence[str],
        classes: Sequence[str],
        where: str,
        device: torch.device | str = "cpu",
    ) -> None:
        require_known(classes, known, where)
        # Its output for each of the data's classes, and for no class (-1, the last) one that it never gives.
        self._outputs = torch.tensor([list(known).index(name) for name in classes] + [-1])
        self._classifier, self._device = classifier.eval().to(device), device
        self._features: list[Tensor] = []
        last = [module for module in classifier.modules() if isinstance(module, nn.Linear)][-1]
        last.register_forward_pre_hook(lambda module, inputs: self._features.append(inputs[0]))

    @classmethod
    def obtain(cls, inputs: MetricInputs) -> Judge:
        """Make a judge of the classifier that is given, or raise ``Unavailable``."""
        if inputs.classifier is None:
            raise Unavailable("needs a classifier of these classes; train one and give its folder with --judge")
        return cls(inputs.classifier, inputs.classifier.classes, inputs.classes, "--judge", inputs.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Classes and features of pictures, uint8 [N, 3, H, W], or [N, 1, H, W] of gray ones."""
        self._features.clear()
        seen = [self._classifier(as_rgb(part.to(self._device))).argmax(1).cpu() for part in images.split(JUDGE_CHUNK)]
        return Seen(torch.cat(seen), torch.cat(self._features).float())

    def agreement(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Whether it sees the true class.

        Args:
            seen: The classes that it sees, as numbers of the data's, int64 [B, M].
            labels: The data's classes, int64 [B]; -1 for none.

        Returns:
            float64 [B, M]: 1 where they agree, 0 where not, NaN where there is no class.
        """
        right = (seen == self._outputs[labels][:, None]).double()
        return torch.where((labels >= 0)[:, None], right, torch.nan)


def require_torch_fidelity() -> None:
    """Raise Unavailable if torch-fidelity is not installed."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise Unavailable("the package torch-fidelity is not installed: pip install 'dimvida[fid]'")


def as_rgb(images: Tensor) -> Tensor:
    """Gray pictures with three equal channels, [N, 3, H, W]: networks that judge pictures expect colours."""
    return images.expand(-1, 3, -1, -1)
