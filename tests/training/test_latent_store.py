"""Latents are encoded once, kept, and never taken for others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.trainings import StopAfter
from safetensors.torch import load_file, save_file
from torch import Tensor

from dimvida.models.autoencoder import Autoencoder, build_autoencoder
from dimvida.models.config import AutoencoderConfig
from dimvida.training.control import Interrupted, no_progress
from dimvida.training.latents import LatentStore, Variant, object_variants

CPU = torch.device("cpu")
VARIANTS = object_variants(3, mirror=True, recolour=False)
BATCHES = 1 + 2 * 3  # held out, and twice the training objects


@pytest.fixture
def autoencoder() -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_autoencoder(AutoencoderConfig("patch", image_size=16, latent_dim=4, base=8)).eval()


@pytest.fixture
def encoded(autoencoder: Autoencoder) -> list[int]:
    """Sizes of the batches that were encoded."""
    sizes: list[int] = []
    autoencoder.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


IMAGES = torch.randint(0, 256, (10, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
HELD_OUT = IMAGES[:3].flip(-2)


def store(path: Path, autoencoder: Autoencoder, variants: list[Variant] = VARIANTS, key: str = "boxes") -> LatentStore:
    there = torch.ones(len(IMAGES), 2, dtype=torch.bool)
    return LatentStore(path, autoencoder, IMAGES, HELD_OUT, there, there[: len(HELD_OUT)], variants, key, CPU, batch=8)


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
