"""Classifiers: torchvision's networks unchanged, their weights, their preparation, and what they are shown."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from helpers.objects import Trap
from safetensors.torch import save_file

from dimvida.data.images import resize_image, with_channels
from dimvida.data.source import ViewImage
from dimvida.errors import DimvidaError, InputError
from dimvida.models import classifiers
from dimvida.models.classifier_checkpoint import load_classifier, save_classifier
from dimvida.models.classifiers import (
    CLASSIFIERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClassifierConfig,
    build_classifier,
    images_like,
    predict_logits,
    require_known,
)

from .conftest import random_images, small_classifier

SMALL = "mobilenet-v3-small"
TORCHVISION = {
    "resnet18": torchvision.models.resnet18,
    "mobilenet-v3-large": torchvision.models.mobilenet_v3_large,
    "mobilenet-v3-small": torchvision.models.mobilenet_v3_small,
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_hundred_batches_suffice_for_the_statistics_of_batch_norms(name: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = build_classifier(name, ("a", "b", "c"))
    for module in classifier.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = random_images(32)
    with torch.no_grad():
        for _ in range(100):
            trained = classifier.train()(batch)
        tested = classifier.eval()(batch)
    # With torchvision's momentum the MobileNets' answers in evaluation mode have nothing to do with those in training.
    assert (tested - trained).norm() < 0.6 * (trained - trained.mean(0)).norm()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_is_torchvisions_network_on_normalised_pixels(name: str):
    classifier = build_classifier(name, ("a", "b", "c")).eval()
    original = TORCHVISION[name](num_classes=3).eval()
    original.load_state_dict(classifier.network.state_dict())
    pixels = random_images().float() / 255
    expected = (pixels - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    logits = classifier(random_images())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, original(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(classifier(pixels), logits)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"uint8 or float \[N, 3 or 1, H, W\]"):
        small_classifier()(random_images().long())
    with pytest.raises(ValueError, match=r"uint8 or float \[N, 3 or 1, H, W\]"):
        small_classifier()(random_images()[0])


def test_gray_is_shown_as_rgb():
    gray = random_images()[:, :1]
    torch.testing.assert_close(small_classifier()(gray), small_classifier()(gray.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match=r"\[N, 3 or 1, H, W\]"):
        small_classifier()(random_images()[:, :2])


def test_input_size_resizes():
    classifier = build_classifier(SMALL, ("a", "b"), input_size=48).eval()
    shown = []
    classifier.network.register_forward_pre_hook(lambda _, args: shown.append(args[0].shape[-2:]))
    classifier(random_images(size=32))
    classifier(random_images(size=48))
    assert shown == [(48, 48), (48, 48)]


def test_the_logits_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch):
    classifier = small_classifier()
    together = predict_logits(classifier, random_images(7))
    monkeypatch.setattr(classifiers, "BATCH", 3)
    torch.testing.assert_close(predict_logits(classifier, random_images(7)), together)


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="choose from resnet18, mobilenet-v3-large, mobilenet-v3-small"):
        build_classifier("vgg", ("a", "b"))
    with pytest.raises(InputError, match="at least 2 different classes"):
        build_classifier(SMALL, ("a",))
    with pytest.raises(InputError, match="input_size must be between 0 and"):
        ClassifierConfig(SMALL, ("a", "b"), -1)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_other_classes_lack_only_the_last_layer(tmp_path: Path, suffix: str):
    path = tmp_path / f"weights{suffix}"
    state = torchvision.models.mobilenet_v3_small(num_classes=5).state_dict()
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    other = build_classifier(SMALL, ("a", "b"), weights=path).network.state_dict()
    same = build_classifier(SMALL, tuple("abcde"), weights=path).network.state_dict()
    assert other["classifier.3.weight"].shape[0] == 2
    assert torch.equal(same["classifier.3.weight"], state["classifier.3.weight"])
    for name in state.keys() - {"classifier.3.weight", "classifier.3.bias"}:
        assert torch.equal(other[name], state[name]), name


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        build_classifier(SMALL, ("a", "b"), weights=tmp_path / "none.pth")
    resnet = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, resnet)
    with pytest.raises(InputError, match="not torchvision's weights of mobilenet-v3-small"):
        build_classifier(SMALL, ("a", "b"), weights=resnet)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        build_classifier(SMALL, ("a", "b"), weights=damaged)
    listed = tmp_path / "list.pth"
    torch.save([1, 2], listed)
    with pytest.raises(InputError, match="not a file of named weights"):
        build_classifier(SMALL, ("a", "b"), weights=listed)


def test_a_pickle_with_code_is_not_run(tmp_path: Path):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"conv1.weight": Trap(tmp_path / "sprung")}))
    with pytest.raises(InputError, match="not a file of weights alone"):
        build_classifier(SMALL, ("a", "b"), weights=path)
    assert not (tmp_path / "sprung").exists()


def test_a_failed_download_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing was downloaded before
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(DimvidaError, match=r"fetch https://\S+mobilenet_v3_small\S+\.pth elsewhere.*--weights"):
        build_classifier(SMALL, ("a", "b"), weights="imagenet")


@pytest.mark.parametrize("size, other", [(16, 32), (64, 24), (96, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_another_size_or_kind_become_what_the_data_would_be(size: int, other: int, channels: int):
    pictures = random_images(2, size)
    read = [ViewImage(picture.permute(1, 2, 0).numpy(), "", None) for picture in pictures]
    wanted = [resize_image(with_channels(image, channels).pixels, other) for image in read]
    wanted = torch.stack([torch.tensor(pixels).permute(2, 0, 1) for pixels in wanted])
    assert torch.equal(images_like(pictures, other, channels), wanted)
    # Bytes are rounded after gray and between the two passes of the filter, and cut off there, which these are not.
    pale = pictures // 4 + 96
    floats = images_like(pale.float() / 255, other, channels) * 255
    assert float((floats - images_like(pale, other, channels).float()).abs().max()) < 2
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        low = images_like((pale / 255).to(dtype), other, channels)
        assert low.dtype == dtype
        assert float((low.float() * 255 - floats).abs().max()) < 2


def test_a_classifier_brings_images_to_those_it_was_trained_on(tmp_path: Path):
    save_classifier(tmp_path, small_classifier(image_size=32, channels=1), {})
    classifier = load_classifier(tmp_path)
    assert (classifier.config.image_size, classifier.config.channels) == (32, 1)
    large = random_images(2, 64)
    assert torch.equal(classifier(large), classifier(images_like(large, 32, 1)))
    assert not torch.equal(classifier(large), classifier.network(classifier._prepare(large)))
    assert torch.equal(classifier(images_like(large, 32, 1).expand(-1, 3, -1, -1)), classifier(large))


def test_what_fits_is_left_alone_and_what_cannot_be_resized_is_refused():
    pictures = random_images(2, 32)
    assert images_like(pictures, 32, 3) is pictures
    assert images_like(pictures, 0, 0) is pictures
    wide = torch.zeros(1, 3, 16, 32)
    assert images_like(wide, 0, 0) is wide
    with pytest.raises(ValueError, match="must be square"):
        images_like(wide, 32, 3)
    with pytest.raises(ValueError, match="no gradient"):
        images_like(torch.zeros(1, 3, 16, 16, requires_grad=True), 32, 3)


def test_classes_that_are_not_known_are_named():
    require_known(("b", "a"), ("a", "b", "c"), "here")
    with pytest.raises(InputError, match=r"here: does not know the class 'Chair' of the data.*'chair' is spelled"):
        require_known(("Chair",), ("chair", "table"), "here")
    with pytest.raises(InputError, match=r"classes 'd', 'e', 'f' and 1 more of the data; it knows a, b$"):
        require_known(("d", "e", "a", "f", "g"), ("a", "b"), "here")
