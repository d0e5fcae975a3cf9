"""Batches ahead of their steps: the same as without, and gone with the training."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.commands import Forked, is_alive, wait_until
from helpers.networks import FAST, curve, has_reached, options
from helpers.objects import write_boxes

from dimvida.errors import DimvidaError
from dimvida.models import AutoencoderConfig
from dimvida.models.autoencoder import build_autoencoder
from dimvida.training.autoencoder import AutoencoderObjective
from dimvida.training.batches import CachedRows, Draws, default_workers, feed
from dimvida.training.folder import RunFolder
from dimvida.training.ranks import Ranks
from dimvida.training.seeds import BatchOrder
from dimvida.training.stage_config import AutoencoderStageConfig


def augmenting(images: torch.Tensor, **config: object) -> AutoencoderObjective:
    network = build_autoencoder(AutoencoderConfig(image_size=16, latent_dim=8, base=8))
    stage = AutoencoderStageConfig(**{"augment": "trivial-augment-wide", "latent_noise": 0.1, **config})
    return AutoencoderObjective(network, images, images, stage, torch.device("cpu"), Ranks())


def test_workers_draw_what_is_drawn_in_place():
    images = torch.randint(256, (10, 3, 16, 16), dtype=torch.uint8)
    draws = Draws(augmenting(images, recolour=True), BatchOrder(10, 4, 0, "test"), 3, Ranks())
    expected = [draws.batch(step) for step in range(2, 9)]
    assert [len(batch["images"]) for _, batch in expected] == [2, 4, 4, 2, 4, 4, 2]
    for workers in (0, 1, 3):
        with feed(draws, range(2, 9), workers) as batches:
            for (share, batch), (same_share, same) in zip(batches, expected, strict=True):
                assert share == same_share and batch.keys() == same.keys()
                assert all(torch.equal(batch[name], same[name]) for name in same)


def test_each_image_is_augmented_by_a_draw_of_its_own():
    images = torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8).expand(40, -1, -1, -1)
    batch = augmenting(images).draw(torch.arange(40), 0, 0, slice(0, 40))["images"]
    assert len({image.numpy().tobytes() for image in batch}) > 20


def test_workers_end_before_their_work_is_done():
    draws = Draws(augmenting(torch.zeros(10, 3, 16, 16, dtype=torch.uint8)), BatchOrder(10, 4, 0, "test"), 0, Ranks())
    with feed(draws, range(10**9), 1) as batches:
        next(batches)
        workers = multiprocessing.active_children()
        assert workers
    assert not any(worker.is_alive() for worker in workers)


def test_an_error_of_a_worker_is_that_of_the_draw():
    draws = Draws(augmenting(torch.zeros(3, 3, 16, 16, dtype=torch.uint8)), BatchOrder(9, 9, 0, "test"), 0, Ranks())
    with pytest.raises(IndexError), feed(draws, range(4), 1) as batches:
        next(batches)


def test_a_worker_that_is_killed_is_told_of():
    """As where memory is short: the system kills one of them."""
    objective = augmenting(torch.zeros(3, 3, 16, 16, dtype=torch.uint8))
    objective.draw = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    draws = Draws(objective, BatchOrder(3, 2, 0, "test"), 0, Ranks())
    killed = pytest.raises(DimvidaError, match="a process that augments images was killed")
    with killed, feed(draws, range(10), 1) as batches:
        next(batches)


def test_only_what_takes_long_gets_workers_unasked():
    images = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    assert default_workers(augmenting(images)) >= 1
    assert default_workers(augmenting(images, augment="none")) == 0


CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_items_are_the_same_wherever_they_are(device: str):
    values = torch.randint(256, (9, 3, 4), dtype=torch.uint8)
    items, places = CachedRows(values, torch.device(device)), torch.tensor([7, 0, 7])
    assert items.resident == (device == "cuda")
    assert torch.equal(items.on_device(items.for_batch(places).to(device)).cpu(), values[places])


@pytest.mark.slow
def test_workers_neither_stop_a_training_nor_outlive_it(tmp_path: Path):
    data, out = write_boxes(tmp_path / "data", 20), tmp_path / "run"
    settings = (*FAST, "autoencoder_stage.augment=trivial-augment-wide", "autoencoder_stage.steps=100000")
    command = ["train", "--data", str(data), "--out", str(out), "--preset", "tiny", "--workers", "2"]
    training = Forked([*command, *options(settings)], tmp_path / "log")
    wait_until(lambda: has_reached(out, "autoencoder", 10), training)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(training.pid)], capture_output=True, text=True)
    workers = [int(number) for number in children.stdout.split()]
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGTERM)  # as a batch system does to all of a job
    further = int(curve(out / "autoencoder.csv")[-1]["step"]) + 20
    wait_until(lambda: has_reached(out, "autoencoder", further), training)
    training.send(signal.SIGKILL)
    assert training.finish().code == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, workers)))
    with RunFolder(out).owned():
        assert (out / "run.json").exists()
