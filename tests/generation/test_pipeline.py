"""The stages together: bounded, in order, and all of them stopped by whatever stops one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.objects import tree

from dimvida.data.opening import open_source
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.auto_batch import largest_batch
from dimvida.generation.complete import _host_memory, is_out_of_memory
from dimvida.generation.formats import FORMATS
from dimvida.generation.lock import FileLock
from dimvida.generation.pipeline import WAITING
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.generation.times import STAGES
from dimvida.sampling.multiview import MultiViewModel, load

OBJECTS = 24


class HungryModel(MultiViewModel):
    """Runs out of memory, really, with more rows than ``rows``."""

    rows = 1 << 30

    def sample_missing(self, latents: torch.Tensor, known: torch.Tensor, **options) -> torch.Tensor:
        if len(known) > self.rows:
            torch.empty(1 << 60, dtype=torch.uint8)
        return super().sample_missing(latents, known, **options)


@pytest.fixture
def model(tiny_checkpoint: Path) -> MultiViewModel:
    model = load(tiny_checkpoint)
    model.__class__ = HungryModel
    return model


@pytest.fixture
def start(model: MultiViewModel, tmp_path: Path, tiny_image) -> Callable[..., Generation]:
    """A run over images of which two cannot be read."""
    folder = tmp_path / "images" / "chair"
    folder.mkdir(parents=True)
    for number in range(OBJECTS):
        tiny_image(number).save(folder / f"{number:02d}__front.png")
    for number in (3, 4):
        (folder / f"{number:02d}__front.png").write_bytes(b"no image")

    def start(output: Path, *, batch: int = 2, shard_size: int = 4, workers: int = 0, **options) -> Generation:
        plan = make_plan(open_source(folder.parent), model.view_names)
        settings = resolve_settings(model, batch=batch, shard_size=shard_size, **options)
        return Generation(model, plan, settings, output, workers=workers)

    return start


def no_thread_is_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("dimvida-")]


def test_reading_processes_give_the_same_bytes(start, tmp_path: Path):
    for workers in (0, 2):
        with start(tmp_path / str(workers), workers=workers) as generation:
            generation.run()
    assert tree(tmp_path / "0") == tree(tmp_path / "2")
    assert no_thread_is_left()


def test_what_is_reported_while_it_runs(start, tmp_path: Path):
    views, skipped = [], []
    with start(tmp_path / "out") as generation:
        report = generation.run(views.append, lambda file, reason: skipped.append(file))
    assert sum(views) == 3 * OBJECTS == generation.plan.views
    assert skipped == ["chair/03__front.png", "chair/04__front.png"]
    assert report.views == 3 * (OBJECTS - 2)
    times = generation.times.totals()
    assert set(times) == set(STAGES) and all(seconds > 0 for seconds in times.values())


def test_no_more_batches_are_on_the_way_than_said(start, tmp_path: Path, monkeypatch):
    """A writer that does not write: reading and sampling stop after the batches that fit in between."""
    from dimvida.generation import pipeline
    from dimvida.generation import write as writing

    read, made, gate = [], [], threading.Event()
    add = writing.WriterStage.add
    monkeypatch.setattr(writing.WriterStage, "add", lambda self, *rest: (gate.wait(60), add(self, *rest)))
    batches = pipeline.read_batches

    def counted(*arguments):
        for batch in batches(*arguments):
            read.append(batch)
            yield batch

    monkeypatch.setattr(pipeline, "read_batches", counted)
    complete = pipeline.Completer.complete
    monkeypatch.setattr(pipeline.Completer, "complete", lambda self, given: (made.append(1), complete(self, given))[1])
    looks = []

    def watch(*_: object) -> None:
        looks.append((len(read), len(made)))

    with start(tmp_path / "out", shard_size=2) as generation:
        timer = threading.Timer(3, lambda: (watch(), gate.set()))
        timer.start()
        generation.run()
        timer.join()
    read_then, made_then = looks[0]
    assert len(read) == OBJECTS // 2
    assert made_then <= WAITING + 2
    assert read_then <= 2 * WAITING + 3


class TestOutOfMemory:
    def test_the_batch_is_halved_with_a_note_and_nothing_is_lost(self, start, model, tmp_path: Path):
        with start(tmp_path / "small", batch=8, shard_size=8) as generation:
            generation.run()
        model.rows = 3
        notes = []
        with start(tmp_path / "hungry", batch=8, shard_size=8) as generation:
            report = generation.run(on_note=notes.append)
        assert notes == ["out of memory with 6 rows; going on with batches of 3"]
        assert report.views == 3 * (OBJECTS - 2)
        small, hungry = tree(tmp_path / "small"), tree(tmp_path / "hungry")
        assert small.keys() == hungry.keys()

    def test_one_row_that_does_not_fit_is_a_failure(self, start, model, tmp_path: Path):
        model.rows = 0
        with pytest.raises(RuntimeError, match="allocate memory"), start(tmp_path / "out") as generation:
            generation.run()
        assert no_thread_is_left()

    def test_what_is_out_of_memory(self):
        assert is_out_of_memory(torch.OutOfMemoryError("x"))
        assert is_out_of_memory(MemoryError())
        with pytest.raises(RuntimeError) as caught:
            torch.empty(1 << 60, dtype=torch.uint8)
        assert is_out_of_memory(caught.value)
        assert not is_out_of_memory(RuntimeError("shapes do not fit"))

    @pytest.mark.parametrize(
        "text",
        [
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
            "CUDA driver error: out of memory",
            "GET was unable to find an engine to execute this computation",
            "FIND was unable to find an engine to execute this computation",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "unable to mmap 1024 bytes from file </x>: Cannot allocate memory (12)",
        ],
    )
    def test_what_a_gpu_says_when_memory_does_not_suffice(self, text: str):
        kind = getattr(torch, "AcceleratorError", RuntimeError)
        for error in (RuntimeError(text), kind(text)):
            assert is_out_of_memory(error)
        assert not is_out_of_memory(ValueError(text))

    def test_an_error_that_came_of_one(self):
        """As where a capture runs out of memory and then cannot be ended."""
        with pytest.raises(RuntimeError) as caught:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        assert is_out_of_memory(caught.value)
        assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_the_largest_batch_is_tried_with_what_the_run_multiplies_in(self, model, monkeypatch, dtype: str):
        settings = resolve_settings(model, backend="fused", dtype=dtype, solver="ddim")
        asked = []
        generate = type(model).generate
        monkeypatch.setattr(
            type(model), "generate", lambda *given, **more: asked.append(more) or generate(*given, **more)
        )
        assert largest_batch(model, settings, 4) == 4
        assert asked == [{"steps": 2, "solver": "ddim", "backend": "fused", "dtype": getattr(torch, dtype)}]

    def test_where_no_memory_can_be_pinned_the_copy_is_an_ordinary_one(self, monkeypatch):
        empty = torch.empty

        def out_of_pinned(*shape, pin_memory=False, **options):
            if pin_memory:
                raise RuntimeError("CUDA error: out of memory")
            return empty(*shape, **options)

        monkeypatch.setattr(torch, "empty", out_of_pinned)
        made = torch.arange(6, dtype=torch.uint8).view(2, 3)
        assert torch.equal(_host_memory(made).copy_(made), made)

    @pytest.mark.parametrize(("rows", "asked", "found"), [(5, 100, 4), (300, 100, 128), (1, 9, 1)])
    def test_the_largest_batch_is_found_by_halving(self, model, rows: int, asked: int, found: int):
        model.rows = rows
        assert largest_batch(model, resolve_settings(model), asked) == found


class OverflowingModel(MultiViewModel):
    """Whose latents of some rows are no numbers."""

    rows: tuple[int, ...] = ()

    def sample_missing(self, latents: torch.Tensor, known: torch.Tensor, **options) -> torch.Tensor:
        latents = super().sample_missing(latents, known, **options)
        latents[[row for row in self.rows if row < len(latents)]] = torch.nan
        return latents


@pytest.mark.parametrize("batch", [8, 3])
def test_objects_whose_numbers_overflow_are_named_and_nothing_of_them_is_written(
    start, model, tmp_path: Path, batch: int
):
    model.__class__, model.rows = OverflowingModel, (1, 2)
    with pytest.raises(DimvidaError) as caught, start(tmp_path / "out", batch=batch, shard_size=8) as generation:
        generation.run()
    assert str(caught.value).startswith("chair/01, chair/02: latents are not finite (NaN or infinity)")
    assert not list((tmp_path / "out").rglob("*.png"))
    assert no_thread_is_left()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stage", ["read", "complete", "pack", "write", "commit"])
def test_an_error_in_any_stage_stops_all_of_them_and_loses_nothing(start, tmp_path, monkeypatch, stage: str, workers):
    from dimvida.generation import complete as completing
    from dimvida.generation import loading
    from dimvida.generation import pack as packing
    from dimvida.generation.formats.imagefolder import ImageFolderWriter

    with start(tmp_path / "whole") as generation:
        generation.run()
    owner, name = {
        "read": (loading.ChunkReader, "read"),
        "complete": (completing.Completer, "complete"),
        "pack": (packing.Packer, "pack"),
        "write": (ImageFolderWriter, "add"),
        "commit": (ImageFolderWriter, "commit"),
    }[stage]
    original, calls = getattr(owner, name), []

    def fail(self, *arguments):
        calls.append(1)
        if arguments[0].start >= 12 if stage == "read" else len(calls) == 4:
            raise InputError("broken")
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        patch.setattr(multiprocessing, "get_start_method", lambda: "fork")  # which takes what is patched along
        with pytest.raises(InputError, match="broken"), start(tmp_path / "out", workers=workers) as generation:
            generation.run()
    assert no_thread_is_left()
    assert not [path for path in (tmp_path / "out").glob(".*")]
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*.json")}
    with start(tmp_path / "out", workers=workers) as generation:
        generation.run()
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())


@pytest.mark.parametrize("form", FORMATS)
def test_an_interrupt_leaves_finished_shards_and_nothing_temporary(start, tmp_path: Path, form: str):
    with start(tmp_path / "whole", format=form) as generation:
        generation.run()

    def interrupt(views: int) -> None:
        if len(list((tmp_path / "out").glob("shard-*.json"))) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), start(tmp_path / "out", format=form) as generation:
        generation.run(interrupt)
    assert no_thread_is_left()
    assert not [path for path in (tmp_path / "out").glob(".*")]
    with start(tmp_path / "out", format=form) as generation:
        assert len(generation.pending) <= len(generation.shards) - 2
        generation.run()
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_ctrl_c_while_a_shard_is_claimed(start, tmp_path: Path, monkeypatch):
    acquire = FileLock.acquire

    def interrupted(self, **options) -> bool:
        taken = acquire(self, **options)
        if self.path.name.endswith(".claim"):
            os.kill(os.getpid(), signal.SIGINT)
        return taken

    monkeypatch.setattr(FileLock, "acquire", interrupted)
    with pytest.raises(KeyboardInterrupt), start(tmp_path / "out") as generation:
        generation.run()
    assert no_thread_is_left()
    assert not list((tmp_path / "out").glob(".*"))


def test_a_run_that_is_asked_to_stop_finishes_what_it_has_in_hand(start, tmp_path: Path):
    with start(tmp_path / "out") as generation:

        def stop(views: int) -> None:
            generation.stopping = True

        with pytest.raises(DimvidaError, match="stopped by a signal; the same command continues"):
            generation.run(stop)
        done = len(list((tmp_path / "out").glob("shard-*.json")))
        assert 1 <= done < len(generation.shards)
    assert not [path for path in (tmp_path / "out").glob(".*")]


def test_two_runs_at_once_in_one_process(start, tmp_path: Path):
    with start(tmp_path / "out") as first:
        with pytest.raises(InputError, match="another run is writing to it"), start(tmp_path / "out"):
            pass
        first.run()
    with start(tmp_path / "out") as again:
        assert not again.pending
