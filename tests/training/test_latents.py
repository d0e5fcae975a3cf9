"""Latents, the variants of objects, and the file that keeps what was encoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch._dynamo
from helpers.networks import StopAfter, no_progress
from safetensors.torch import load_file, save_file
from torch import Tensor

from dimvida import ops
from dimvida.errors import InputError
from dimvida.models import GridAutoencoderConfig
from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.training import latents
from dimvida.training.config import load_preset
from dimvida.training.control import Interrupted
from dimvida.training.data import TrainingData
from dimvida.training.latents import (
    LatentStore,
    Variant,
    check_mirror,
    encoding_dtype,
    latent_statistics,
    object_variants,
)

CPU = torch.device("cpu")
needs_native = pytest.mark.skipif(not ops.native_available(), reason="there is no native module")
VARIANTS = object_variants(3, mirror=True, recolour=False)
BATCHES = 1 + 2 * 3  # held out, and twice the training objects
IMAGES = torch.randint(0, 256, (10, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
HELD_OUT = IMAGES[:3].flip(-2)


def test_variants_of_an_object():
    images = torch.arange(2 * 4 * 3 * 2 * 2).view(2, 4, 3, 2, 2)
    plain, mirrored, *others = (variant.of(images) for variant in object_variants(3, mirror=True, recolour=True))
    assert torch.equal(plain, images)
    assert len(others) == 10
    front, right, back, left = mirrored.unbind(1)
    assert torch.equal(front, images[:, 0].flip(-1))
    assert torch.equal(right, images[:, 3].flip(-1))
    assert torch.equal(back, images[:, 2].flip(-1))
    assert torch.equal(left, images[:, 1].flip(-1))
    seen = {tuple(variant[0, 0, :, 0, 0].tolist()) for variant in (plain, *others[::2])}
    assert len(seen) == 6 and all(sorted(colour) == [0, 4, 8] for colour in seen)
    assert [torch.equal(v.of(images), images) for v in object_variants(3, mirror=False, recolour=False)] == [True]


def test_statistics_by_hand():
    latents = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    mean, std = latent_statistics(latents, torch.ones(1, 2, dtype=torch.bool))
    assert mean.tolist() == [2.0, 5.0]
    assert std.tolist() == [1.0, torch.tensor(1e-6).item()]


def test_places_of_a_grid_share_the_statistics_of_their_channel():
    latents = torch.tensor([[[1.0, 3.0, 7.0, 7.0], [5.0, 7.0, 7.0, 7.0], [99.0, 99.0, 99.0, 99.0]]])
    mean, std = latent_statistics(latents, torch.tensor([[True, True, False]]), (2, 1, 2))
    assert mean.tolist() == [4.0, 4.0, 7.0, 7.0]
    assert std[:2].tolist() == pytest.approx([5**0.5] * 2) and std[2:].tolist() == [torch.tensor(1e-6).item()] * 2


@pytest.mark.parametrize(
    "names",
    [
        "front right back left",
        "front left back right",
        "back left front right",
        "Front Right Back Left",
        "front back",
        "front right left",
        "front front_right right back_right back back_left left front_left",
        "view0 view1 view2 view3",
        "front view1 back view3",
        "front bright back leftover",
    ],
)
def test_views_that_may_be_mirrored(names: str):
    check_mirror(names.split())


@pytest.mark.parametrize(
    "names",
    [
        "front back left right",
        "right back left front",
        "front right back",
        "front right",
        "left right",
        "front right back left top",
        "front front_left left back_left back right back_right front_right",
    ],
)
def test_views_whose_names_contradict_mirroring(names: str):
    with pytest.raises(InputError, match=r"^diffusion_stage\.mirror: .* mirror image of .*mirror=false"):
        check_mirror(names.split())


@pytest.fixture
def autoencoder() -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_autoencoder(GridAutoencoderConfig(image_size=16, latent_channels=1, base=8)).eval()


@pytest.fixture
def encoded(autoencoder: Autoencoder) -> list[int]:
    """Sizes of the batches that were encoded."""
    sizes: list[int] = []
    autoencoder.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch):
    """So that a store has several batches to encode."""
    monkeypatch.setattr(latents, "ENCODE_BATCH", 8)


def store(
    path: Path,
    autoencoder: Autoencoder,
    variants: list[Variant] = VARIANTS,
    key: str = "boxes",
    dtype: torch.dtype = torch.float32,
) -> LatentStore:
    there = torch.ones(len(IMAGES), 2, dtype=torch.bool)
    held_out = there[: len(HELD_OUT)]
    data = TrainingData(IMAGES, HELD_OUT, there, held_out, ("front", "back"), (), {}, "", ("a", "b", "c"))
    return LatentStore(path, autoencoder, data, variants, key, CPU, dtype)


def everything(path: Path, autoencoder: Autoencoder, stop: int = 10**9, **options) -> tuple[Tensor, Tensor]:
    return store(path, autoencoder, **options).all(no_progress, StopAfter(stop))


def test_rows_are_those_of_the_variants(tmp_path: Path, autoencoder: Autoencoder):
    training, held_out = everything(tmp_path / "latents.safetensors", autoencoder)
    with torch.no_grad():
        for variant, latents in zip(VARIANTS, training, strict=True):
            expected = autoencoder.encode(variant.of(IMAGES).flatten(0, 1) / 255).unflatten(0, (10, 2))
            torch.testing.assert_close(latents, expected)
        torch.testing.assert_close(held_out, autoencoder.encode(HELD_OUT.flatten(0, 1) / 255).unflatten(0, (3, 2)))
    plain = store(tmp_path / "other.safetensors", autoencoder).plain(no_progress, StopAfter(10**9))
    assert torch.equal(plain, training[0])


@needs_native
def test_in_bfloat16_by_the_plan_they_are_a_hundredth_of_a_deviation_off(tmp_path: Path, autoencoder: Autoencoder):
    exact = everything(tmp_path / "exact.safetensors", autoencoder)
    path = tmp_path / "latents.safetensors"
    with pytest.raises(Interrupted):
        everything(path, autoencoder, 3, dtype=torch.bfloat16)
    low = everything(path, autoencoder, dtype=torch.bfloat16)
    whole = everything(tmp_path / "whole.safetensors", autoencoder, dtype=torch.bfloat16)
    for one, other, true in zip(low, whole, exact, strict=True):
        assert torch.equal(one, other)
        off = (one - true).flatten(0, -2) / true.flatten(0, -2).std(0)
        assert 0 < off.square().mean().sqrt() < 0.03
    # Latents of the other precision are not these.
    assert torch.equal(everything(path, autoencoder)[0], exact[0])


@needs_native
def test_what_encodes_multiplies_as_the_autoencoders_training(
    autoencoder: Autoencoder, encoded: list[int], monkeypatch: pytest.MonkeyPatch
):
    def chosen(autocast: str, of: Autoencoder) -> torch.dtype:
        return encoding_dtype(load_preset("tiny", [f"autoencoder_stage.autocast={autocast}"]), of, CPU)

    plain = build_autoencoder(autoencoder.config)
    for native in (torch.float32, torch.bfloat16):
        monkeypatch.setenv("DIMVIDA_DTYPE", str(native).removeprefix("torch."))
        assert chosen("auto", plain) == native
        assert (chosen("off", plain), chosen("bfloat16", plain)) == (torch.float32, torch.bfloat16)
        assert chosen("bfloat16", autoencoder) == torch.float32  # hooked, so its layers are asked
    monkeypatch.setattr(ops, "native_available", lambda kind: False)
    assert chosen("auto", plain) == torch.float32


@pytest.mark.parametrize("stop", range(BATCHES))
def test_stopped_anywhere_it_goes_on_with_the_same_batches(
    tmp_path: Path, autoencoder: Autoencoder, encoded: list[int], stop: int
):
    whole = everything(tmp_path / "whole.safetensors", autoencoder)
    sizes = list(encoded)
    encoded.clear()
    path = tmp_path / "latents.safetensors"
    with pytest.raises(Interrupted):
        everything(path, autoencoder, stop)
    assert len(encoded) == stop and path.exists() == (stop > 0)
    cut = everything(path, autoencoder)
    assert encoded == sizes
    assert all(torch.equal(*pair) for pair in zip(whole, cut, strict=True))
    again = everything(path, autoencoder)
    assert encoded == sizes
    assert all(torch.equal(*pair) for pair in zip(whole, again, strict=True))


def test_what_was_done_before_is_shown_and_does_not_count_again(tmp_path: Path, autoencoder: Autoencoder):
    shown: list[tuple] = []

    def watch(work: str, total: int, unit: str, done: int, later: float = 0.0):
        shown.append((work, total, unit, done))
        return lambda done, note="": shown.append((done,))

    path = tmp_path / "latents.safetensors"
    with pytest.raises(Interrupted):
        store(path, autoencoder).plain(watch, StopAfter(2))
    assert shown == [("encoding", 13, "objects", 0), (3,), (7,)]
    shown.clear()
    store(path, autoencoder).all(watch, StopAfter(10**9))
    # 7 and 11 of 23 copies of the 13 objects.
    assert shown[:2] == [("encoding", 13, "objects", 3), (6,)] and shown[-1] == (13,)
    shown.clear()
    store(path, autoencoder).all(watch, StopAfter(10**9))
    assert not shown


def other_weights(autoencoder: Autoencoder) -> dict:
    with torch.no_grad():
        next(autoencoder.decoder.parameters())[0] += 1
    return {}


STALE = {
    "weights": other_weights,
    "data": lambda autoencoder: {"key": "other"},
    "variants": lambda autoencoder: {"variants": object_variants(3, mirror=False, recolour=False)},
}


@pytest.mark.parametrize("change", STALE)
def test_latents_of_something_else_are_not_used(
    tmp_path: Path, autoencoder: Autoencoder, encoded: list[int], change: str
):
    path = tmp_path / "latents.safetensors"
    everything(path, autoencoder)
    options = STALE[change](autoencoder)
    encoded.clear()
    everything(path, autoencoder, **options)
    assert sum(encoded) == 2 * (3 + 10 * len(options.get("variants", VARIANTS)))
    before = len(encoded)
    everything(path, autoencoder, **options)
    assert len(encoded) == before


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "one bit": flip_a_bit,
    "not safetensors": lambda path: path.write_bytes(b"no tensors"),
    "without metadata": lambda path: save_file(load_file(path), path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_latents_are_encoded_again(tmp_path: Path, autoencoder: Autoencoder, encoded: list[int], damage: str):
    path = tmp_path / "latents.safetensors"
    whole = everything(path, autoencoder)
    DAMAGES[damage](path)
    encoded.clear()
    again = everything(path, autoencoder)
    assert len(encoded) == BATCHES
    assert all(torch.equal(*pair) for pair in zip(whole, again, strict=True))
