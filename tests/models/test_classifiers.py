"""Classifiers: torchvision's networks unchanged, their weights, their preparation, and their folders."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from dimvida.data.images import resize_image, with_channels
from dimvida.data.source import ViewImage
from dimvida.errors import DimvidaError, InputError
from dimvida.files import sha256_file
from dimvida.models.classifier_checkpoint import load_classifier, read_description, save_classifier
from dimvida.models.classifiers import (
    CLASSIFIERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClassifierConfig,
    ImageClassifier,
    build_classifier,
    images_like,
    predict_logits,
    require_known,
)

SMALL = "mobilenet-v3-small"
TORCHVISION = {
    "resnet18": torchvision.models.resnet18,
    "mobilenet-v3-large": torchvision.models.mobilenet_v3_large,
    "mobilenet-v3-small": torchvision.models.mobilenet_v3_small,
}


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def small(classes: int = 3) -> ImageClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_classifier(SMALL, [f"class {number}" for number in range(classes)]).eval()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_hundred_batches_suffice_for_the_statistics_of_batch_norms(name: str):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = build_classifier(name, ("a", "b", "c"))
    for module in classifier.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = images(32)
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
    pixels = images().float() / 255
    expected = (pixels - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    logits = classifier(images())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, original(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(classifier(pixels), logits)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"uint8 or float \[N, 3, H, W\]"):
        small()(images().long())
    with pytest.raises(ValueError, match=r"uint8 or float \[N, 3, H, W\]"):
        small()(images()[0])


def test_gray_is_shown_as_rgb():
    gray = images()[:, :1]
    torch.testing.assert_close(small()(gray), small()(gray.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match=r"\[N, 3, H, W\]"):
        small()(images()[:, :2])


def test_input_size_resizes():
    classifier = build_classifier(SMALL, ("a", "b"), input_size=48).eval()
    shown = []
    classifier.network.register_forward_pre_hook(lambda _, args: shown.append(args[0].shape[-2:]))
    classifier(images(size=32))
    classifier(images(size=48))
    assert shown == [(48, 48), (48, 48)]


def test_the_logits_do_not_depend_on_the_batch():
    classifier = small()
    torch.testing.assert_close(predict_logits(classifier, images(7), batch=3), predict_logits(classifier, images(7)))


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


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_with_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    with pytest.raises(InputError, match="not a file of weights alone"):
        build_classifier(SMALL, ("a", "b"), weights=path)
    assert capsys.readouterr().out == ""


def test_a_failed_download_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing was downloaded before
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(DimvidaError, match=r"fetch https://\S+mobilenet_v3_small\S+\.pth elsewhere.*--weights"):
        build_classifier(SMALL, ("a", "b"), weights="imagenet")


def test_round_trip(tmp_path: Path):
    classifier = small()
    classifier.network.features[0][1].running_mean.fill_(0.5)  # statistics are weights too
    save_classifier(tmp_path / "run" / "classifier", classifier, {"steps": 7})
    for folder in (tmp_path / "run", tmp_path / "run" / "classifier"):
        loaded = load_classifier(folder)
        assert loaded.config == classifier.config
        assert not loaded.training
        assert torch.equal(loaded(images()), classifier(images()))
    assert read_description(tmp_path / "run" / "classifier")["provenance"] == {"steps": 7}
    names = sorted(path.name for path in (tmp_path / "run" / "classifier").iterdir())
    assert names == ["classifier.json", "classifier.safetensors"]


def test_loading_draws_nothing(tmp_path: Path):
    save_classifier(tmp_path, small(), {})
    before = torch.random.get_rng_state()
    load_classifier(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def edit(folder: Path, **values: object) -> None:
    description = json.loads((folder / "classifier.json").read_text())
    description.update(values)
    (folder / "classifier.json").write_text(json.dumps(description))


def test_damage_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="no classifier there"):
        load_classifier(tmp_path)
    save_classifier(tmp_path, small(), {})
    description = (tmp_path / "classifier.json").read_text()
    config = json.loads(description)["config"]
    for values, message in [
        ({"schema": 2}, "schema 2"),
        ({"sha256": "0" * 64}, "damaged"),
        ({"config": None}, "expected a table of options"),
        ({"config": {**config, "name": "vgg"}}, "choose from resnet18"),
        ({"config": {**config, "classes": [1, 2]}}, "classes must be a list of names"),
        ({"config": {**config, "mean": ["a", "b", "c"]}}, "mean must be a list of numbers"),
        ({"config": {**config, "classes": ["a", "b"]}}, "does not fit classifier.json"),
    ]:
        edit(tmp_path, **values)
        with pytest.raises(InputError, match=message):
            load_classifier(tmp_path)
        (tmp_path / "classifier.json").write_text(description)
    (tmp_path / "classifier.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_classifier(tmp_path)


def test_a_pickle_in_a_classifiers_folder_is_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_classifier(tmp_path, small(), {})
    (tmp_path / "classifier.safetensors").write_bytes(pickle.dumps(Evil()))
    edit(tmp_path, sha256=sha256_file(tmp_path / "classifier.safetensors"))
    with pytest.raises(InputError, match="is a pickle"):
        load_classifier(tmp_path)
    assert capsys.readouterr().out == ""


def test_half_written_is_not_taken_for_whole(tmp_path: Path):
    save_classifier(tmp_path, small(), {})
    (tmp_path / "classifier.json").unlink()
    with pytest.raises(InputError, match="no classifier there"):
        load_classifier(tmp_path)


@pytest.mark.parametrize("size, other", [(16, 32), (64, 24), (96, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_another_size_or_kind_become_what_the_data_would_be(size: int, other: int, channels: int):
    pictures = images(2, size)
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_classifier(tmp_path, build_classifier(SMALL, ("a", "b"), image_size=32, channels=1).eval(), {})
    classifier = load_classifier(tmp_path)
    assert (classifier.config.image_size, classifier.config.channels) == (32, 1)
    large = images(2, 64)
    assert torch.equal(classifier(large), classifier(images_like(large, 32, 1)))
    assert not torch.equal(classifier(large), classifier.network(classifier._prepare(large)))
    assert torch.equal(classifier(images_like(large, 32, 1).expand(-1, 3, -1, -1)), classifier(large))


def test_what_fits_is_left_alone_and_what_cannot_be_resized_is_refused():
    pictures = images(2, 32)
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


def test_a_flipped_bit_or_a_missing_end_of_the_weights_is_refused(tmp_path: Path):
    save_classifier(tmp_path, small(), {})
    path, chance = tmp_path / "classifier.safetensors", random.Random(0)
    whole = path.read_bytes()
    for trial in range(12):
        data = bytearray(whole)
        if trial % 3:
            data[chance.randrange(400 if trial % 2 else len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            load_classifier(tmp_path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path):
    save_classifier(tmp_path, small(), {})
    for name in ("classifier.safetensors", "classifier.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: is not a regular file"):
            load_classifier(tmp_path)
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(content)
    load_classifier(tmp_path)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"std": [1.0, 1.0, math.inf]}, "mean and std need three finite values"),
        ({"input_size": 2**40}, "input_size must be between 0 and"),
    ],
)
def test_a_configuration_out_of_range_is_refused(tmp_path: Path, config: dict, message: str):
    save_classifier(tmp_path, small(), {})
    old = json.loads((tmp_path / "classifier.json").read_text())["config"]
    edit(tmp_path, config={**old, **config})
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path)
