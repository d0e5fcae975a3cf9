"""Image classifiers: torchvision's ResNet and MobileNetV3 with their preparation of images built in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from dimvida.errors import DimvidaError, InputError, require_choice
from dimvida.models.weights import read_state_dict

# The final linear layer of each, and torchvision's name of its ImageNet weights.
_ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], str, str]] = {
    "resnet18": (torchvision.models.resnet18, "fc", "ResNet18_Weights"),
    "mobilenet-v3-large": (torchvision.models.mobilenet_v3_large, "classifier.3", "MobileNet_V3_Large_Weights"),
    "mobilenet-v3-small": (torchvision.models.mobilenet_v3_small, "classifier.3", "MobileNet_V3_Small_Weights"),
}
CLASSIFIERS = tuple(_ARCHITECTURES)

# PyTorch's default. torchvision's MobileNets have 0.01, made for hundreds of thousands of steps: after a few hundred
# the running statistics still hold their first values, and what was learned is not seen in evaluation mode.
BATCH_NORM_MOMENTUM = 0.1

BATCH = 256  # of images whose logits are predicted
LARGEST_IMAGE = 8192
"""Most pixels along an edge."""

IMAGENET = "imagenet"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """What a classifier is, apart from its weights.

    Attributes:
        name: One of ``CLASSIFIERS``.
        classes: Names of the K classes, in the order of the outputs.
        input_size: Edge in pixels that images are resized to; 0 takes them as they come.
        mean, std: Mean and deviation of each colour channel in [0, 1]; subtracted and divided by.
        image_size: Edge in pixels of the images that it was trained on; others are brought to it before anything else.
            0 where nobody wrote it down: images are taken as they come.
        channels: Channels of those images, 3 for RGB or 1 for gray; 0 where nobody wrote it down.
    """

    name: str
    classes: tuple[str, ...]
    input_size: int = 0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    image_size: int = 0
    channels: int = 0

    def __post_init__(self) -> None:
        require_choice("classifier", self.name, CLASSIFIERS)
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise InputError(f"a classifier needs at least 2 different classes, not {list(self.classes)}")
        for name in ("input_size", "image_size"):
            if not 0 <= getattr(self, name) <= LARGEST_IMAGE:
                raise InputError(f"{name} must be between 0 and {LARGEST_IMAGE}, not {getattr(self, name)}")
        if self.channels not in (0, 1, 3):
            raise InputError(f"channels must be 1 or 3, or 0 for any, not {self.channels}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, self.mean + self.std)):
            raise InputError("mean and std need three finite values each")
        if not all(std > 0 for std in self.std):
            raise InputError("the values of std must be above 0")


class ImageClassifier(nn.Module):
    """A network of torchvision that takes pictures as they are stored.

    The architectures are torchvision's: made for 224 pixels, they reduce 64 pixels to 2 x 2 places before
    the last mean. That is what the paper's classifiers see; ``input_size`` gives them larger pictures.

    Attributes:
        config: Its architecture, its classes, and how it prepares images.
        network: torchvision's module, with its names.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        build, _, _ = _ARCHITECTURES[config.name]
        # Convolutions run faster on this layout, on CPUs as on GPUs; the weights are the same.
        self.network = build(num_classes=len(config.classes)).to(torch.float32, memory_format=torch.channels_last)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = BATCH_NORM_MOMENTUM
        # Not part of the weights: they stand in the configuration.
        for name, values in (("mean", config.mean), ("std", config.std)):
            row = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, row, persistent=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return self.config.classes

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images, as ``torch.nn.CrossEntropyLoss`` takes them; ``.softmax(1)`` makes probabilities.

        Args:
            images: [N, C, H, W], uint8 in 0..255 or float in [0, 1], on the classifier's device; C is 3 for RGB, or 1
                for gray, which is shown to the network as RGB. Images of another size or kind than those that it was
                trained on (``config.image_size``, ``config.channels``) are brought to these, see ``images_like``.

        Returns:
            float32 [N, K], also inside ``torch.autocast``, which the network obeys, and of weights in a lower
            precision; float64 of weights in float64.

        Raises:
            TypeError: ``images`` is no tensor.
            ValueError: It has another shape or dtype, or cannot be resized.
        """
        if not isinstance(images, Tensor):
            raise TypeError(
                f"images must be a torch tensor, uint8 or float [N, 3 or 1, H, W], not {type(images).__qualname__}; "
                "torch.as_tensor(images) makes one of it"
            )
        fits = images.ndim == 4 and images.shape[1] in (1, 3)
        if not fits or not (images.dtype == torch.uint8 or images.is_floating_point()):
            wanted = "uint8 or float [N, 3 or 1, H, W]"
            raise ValueError(f"images must be {wanted}, not {images.dtype} {list(images.shape)}")
        images = images_like(images, self.config.image_size, self.config.channels)
        logits = self.network(self._prepare(images.expand(-1, 3, -1, -1)))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _prepare(self, images: Tensor) -> Tensor:
        scale = 255 if images.dtype == torch.uint8 else 1
        pixels = images.to(torch.float32, memory_format=torch.channels_last) / scale
        size = self.config.input_size
        if size and tuple(pixels.shape[-2:]) != (size, size):
            pixels = nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        # In float32, whatever the weights are in: half a level of a pixel is lost in bfloat16.
        pixels = (pixels - self.mean.float()) / self.std.float()
        return pixels.to(next(self.network.parameters()).dtype)


def build_classifier(
    name: str,
    classes: Sequence[str],
    *,
    weights: str | Path | None = None,
    input_size: int = 0,
    image_size: int = 0,
    channels: int = 0,
) -> ImageClassifier:
    """A classifier to train.

    Args:
        name: One of ``CLASSIFIERS``.
        classes: Names of the K classes.
        weights: None for random ones from the global generator; ``imagenet`` for torchvision's, which are downloaded
            once; or a file with torchvision's names, ``.pth`` or ``.safetensors``. Of a file with another number of
            classes everything but the final layer is taken.
        input_size, image_size, channels: Edge that the network sees pictures at, and edge and channels of the pictures
            it is trained on; see ``ClassifierConfig``.

    Raises:
        InputError: For an unknown name, or a file that does not fit.
        DimvidaError: The download failed.
    """
    config = ClassifierConfig(name, tuple(classes), input_size, image_size=image_size, channels=channels)
    classifier = ImageClassifier(config)
    if weights is not None:
        downloaded = str(weights) == IMAGENET
        state = _download(name) if downloaded else _read_weights(Path(weights))
        _adopt(classifier, state, IMAGENET if downloaded else str(weights))
    return classifier


def images_like(images: Tensor, size: int, channels: int) -> Tensor:
    """Images as those are that a classifier was trained on, made as ``dimvida.data`` makes them of files.

    Colours become gray by the luma of ITU-R 601; another size is resized with Pillow's Lanczos filter.

    Args:
        images: [N, C, H, W], uint8 or float in [0, 1]; H and W are equal unless they stay as they are.
        size: Edge in pixels; 0 leaves it as it is.
        channels: 1 for gray; otherwise the channels are left as they are.

    Returns:
        The images themselves if they fit, otherwise new ones of the same dtype on the same device.

    Raises:
        ValueError: They cannot be resized: they are not square, or a gradient is asked for.
    """
    if channels == 1 and images.shape[1] == 3:
        images = _luma(images)
    height, width = images.shape[-2:]
    if not size or (height, width) == (size, size) or not len(images):
        return images
    if height != width:
        raise ValueError(f"images of another size than {size} x {size} must be square, not {height} x {width}")
    if images.requires_grad:
        raise ValueError(f"resizing has no gradient; give images of {size} x {size}")
    return _resized(images, size)


def _luma(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8:
        return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32, device=images.device)  # Pillow's, of 65536
    return ((images.int() * weights.view(1, 3, 1, 1)).sum(1, keepdim=True) + 32768 >> 16).to(torch.uint8)


def _resized(images: Tensor, size: int) -> Tensor:
    """Channel by channel, which gives what Pillow makes of whole pictures."""
    shape = (*images.shape[:2], size, size)
    whole = images.dtype == torch.uint8
    planes = (images if whole else images.float()).flatten(0, 1).cpu().numpy()
    lanczos = Image.Resampling.LANCZOS
    resized = [np.asarray(Image.fromarray(plane).resize((size, size), lanczos, reducing_gap=3.0)) for plane in planes]
    made = torch.from_numpy(np.stack(resized)).view(shape)
    if not whole:
        made = made.clamp(0, 1)  # as bytes are
    return made.to(images.device, images.dtype)


def require_known(classes: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raise InputError if the data has classes that a classifier does not know; ``where`` names it."""
    unknown = [name for name in classes if name not in known]
    if not unknown:
        return
    named = ", ".join(map(repr, unknown[:3])) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
    likely = {name.casefold(): name for name in known}.get(unknown[0].casefold())
    hint = f"; {likely!r} is spelled otherwise" if likely else ""
    word = "class" if len(unknown) == 1 else "classes"
    raise InputError(f"{where}: does not know the {word} {named} of the data; it knows {', '.join(known)}{hint}")


def predict_logits(classifier: nn.Module, images: Tensor, *, device: Any = "cpu") -> Tensor:
    """Logits float32 [N, K] on the CPU of images uint8 [N, C, H, W], in evaluation mode and without gradients."""
    classifier.eval()
    with torch.no_grad():
        parts = [classifier(part.to(device)).float().cpu() for part in images.split(BATCH)]
    return torch.cat(parts)


def _adopt(classifier: ImageClassifier, state: dict[str, Tensor], where: str) -> None:
    _, last, _ = _ARCHITECTURES[classifier.config.name]
    own = classifier.network.state_dict()
    for part in ("weight", "bias"):
        name = f"{last}.{part}"
        given = state.get(name)
        if given is None or given.shape != own[name].shape:
            state = {**state, name: own[name]}  # of other classes: the fresh layer stays
    try:
        classifier.network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:200]
        raise InputError(
            f"--weights {where}: not torchvision's weights of {classifier.config.name} ({reason})"
        ) from None


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"--weights {path}: no such file; give a .pth or .safetensors file, or 'imagenet'")
    return read_state_dict(path, "--weights")


def _download(name: str) -> dict[str, Tensor]:
    *_, collection = _ARCHITECTURES[name]
    weights = getattr(torchvision.models, collection).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no network, no permission, a wrong hash: whatever urllib and the disk can raise
        reason = " ".join(str(error).split())[:100]
        raise DimvidaError(
            f"--weights imagenet: the download failed ({reason}); fetch {weights.url} elsewhere and give the file "
            "with --weights"
        ) from None
