"""The stages together: bounded, in order, and all of them stopped by whatever stops one; and the time they take."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from helpers.objects import tree

from dimvida.errors import DimvidaError, InputError
from dimvida.generation import run
from dimvida.generation.formats import FORMATS
from dimvida.generation.formats.imagefolder import ImageFolderWriter
from dimvida.generation.lock import FolderLock
from dimvida.generation.pack import Packer
from dimvida.generation.pipeline import AHEAD, PIPELINE_STAGES, Pipeline, StageTimes
from dimvida.generation.read import RowReader
from dimvida.generation.write import ShardInProgress
from dimvida.sampling.completion import BatchCompleter
from dimvida.sampling.multiview import MultiViewModel

OBJECTS = 24


def no_thread_is_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("dimvida-")]


def test_what_is_reported_while_it_runs(start, tmp_path: Path):
    views, skipped = [], []
    with start(tmp_path / "out") as generation:
        report = generation.run(views.append, lambda file, reason: skipped.append(file))
    assert sum(views) == 3 * OBJECTS == generation.plan.views
    assert skipped == ["chair/03__front.png", "chair/04__front.png"]
    assert report.views == 3 * (OBJECTS - 2)
    times = generation.times.totals()
    assert set(times) == set(PIPELINE_STAGES) and all(seconds > 0 for seconds in times.values())


def test_no_more_batches_are_on_the_way_than_said(start, tmp_path: Path, monkeypatch):
    """Before each batch is written, the others fill all places that there are, and then wait, as can be seen."""
    most, still = 2 * AHEAD + 1, 3  # batches on the way; times that the waiting thread looks and nothing has changed
    read, written, held = 0, 0, []
    waits = threading.Semaphore(0)
    read_batches, write = run.read_batches, ShardInProgress.write

    def counted(*arguments, **options):
        nonlocal read
        for batch in read_batches(*arguments, **options):
            read += 1
            yield batch

    def write_late(self, *arguments):
        nonlocal written
        full = min(written + most, OBJECTS // 2)
        while read < full:
            assert waits.acquire(timeout=60)
        for _ in range(still if full < OBJECTS // 2 else 0):
            assert waits.acquire(timeout=60)
        held.append(read - written)
        written += 1
        return write(self, *arguments)

    look = Pipeline._look
    with start(tmp_path / "out", shard_size=2) as generation:
        monkeypatch.setattr(run, "read_batches", counted)
        monkeypatch.setattr(ShardInProgress, "write", write_late)
        monkeypatch.setattr(Pipeline, "_look", lambda self: (waits.release(), look(self)))
        generation.run()
    assert read == written == OBJECTS // 2
    assert held == [min(most, OBJECTS // 2 - number) for number in range(OBJECTS // 2)]


def test_nothing_is_written_after_what_could_not_be():
    """Else a shard would be finished that lacks the rows before."""
    gate, written = threading.Event(), []

    def fail() -> None:
        gate.wait(60)
        raise InputError("no")

    with (
        pytest.raises(InputError, match="no"),
        Pipeline(StageTimes(torch.device("cpu")), lambda result: None, lambda: None) as pipeline,
    ):
        pipeline.write(fail)
        pipeline.write(written.append, 1)
        gate.set()
    assert written == [] and no_thread_is_left()


@pytest.mark.parametrize("form", FORMATS)
def test_a_shard_is_forced_to_disk_while_the_next_one_is_written(start, tmp_path: Path, monkeypatch, form: str):
    writer, next_written, waited = FORMATS[form], threading.Event(), []
    add, commit = writer.add, writer.commit

    def add_and_tell(self, *arguments) -> None:
        add(self, *arguments)
        if self.stem == "shard-000001":
            next_written.set()

    def commit_late(self) -> list:
        if self.stem == "shard-000000":
            waited.append(next_written.wait(60))
        return commit(self)

    monkeypatch.setattr(writer, "add", add_and_tell)
    monkeypatch.setattr(writer, "commit", commit_late)
    with start(tmp_path / "out", format=form) as generation:
        generation.run()
    assert waited == [True]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stage", ["read", "complete", "pack", "write", "commit"])
def test_an_error_in_any_stage_stops_all_of_them_and_loses_nothing(start, tmp_path, monkeypatch, stage: str, workers):
    with start(tmp_path / "whole") as generation:
        generation.run()
    owner, name = {
        "read": (RowReader, "read"),
        "complete": (BatchCompleter, "complete"),
        "pack": (Packer, "pack"),
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


def test_ctrl_c_while_the_folder_is_locked(start, tmp_path: Path, monkeypatch):
    take = FolderLock.take

    def interrupted(self, part: int) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return take(self, part)

    monkeypatch.setattr(FolderLock, "take", interrupted)
    with pytest.raises(KeyboardInterrupt), start(tmp_path / "out"):
        pass
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


def test_host_and_device_stages_add_up_on_a_cpu():
    times = StageTimes(torch.device("cpu"))
    with times.host("read"), times.device("sample"):
        torch.randn(64, 64) @ torch.randn(64, 64)
    times.add("read", 100)
    totals = times.totals()
    assert tuple(totals) == PIPELINE_STAGES
    assert totals["read"] > 100 and 0 < totals["sample"] < totals["read"] and totals["write"] == 0


class Event:
    """In place of ``torch.cuda.Event``: remembers the stream it was recorded on."""

    made: ClassVar[list[Event]] = []

    def __init__(self, enable_timing: bool, blocking: bool) -> None:
        assert enable_timing and blocking  # blocking: whoever waits leaves its core to others
        self.streams: list[object] = []
        self.made.append(self)

    def record(self, stream: object = "of the current device") -> None:
        self.streams.append(stream)

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return 2500.0


@pytest.mark.parametrize("failing", [False, True])
def test_events_are_recorded_on_the_device_that_works(monkeypatch, failing: bool):
    """There is no GPU on most machines: what is asked of torch.cuda stands for it."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    monkeypatch.setattr(Event, "made", [])
    times = StageTimes(torch.device("cuda:1"))
    with pytest.raises(ZeroDivisionError) if failing else nullcontext(), times.device("decode"):
        assert not failing or 1 / 0
    assert Event.made[0].streams[:1] == ["stream of cuda:1"]
    if failing:
        assert times.totals()["decode"] == 0
    else:
        assert [event.streams for event in Event.made] == [["stream of cuda:1"]] * 2
        assert times.totals()["decode"] == 2.5


def test_a_batch_that_does_not_fit_is_halved_with_a_note_and_nothing_is_lost(start, hungry_model, tmp_path: Path):
    def names(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*")}

    with start(tmp_path / "small", batch=8, shard_size=8) as generation:
        generation.run()
    hungry_model.rows = 3
    notes = []
    with start(tmp_path / "hungry", batch=8, shard_size=8) as generation:
        report = generation.run(on_note=notes.append)
    assert notes == ["out of memory with 6 rows; going on with batches of 3"]
    assert report.views == 3 * (OBJECTS - 2)
    assert names(tmp_path / "small") == names(tmp_path / "hungry")


def test_objects_whose_numbers_overflow_are_named_and_nothing_of_them_is_written(start, tmp_path: Path, monkeypatch):
    def overflow(self, latents, known, **options):
        return torch.full_like(latents, torch.nan)

    monkeypatch.setattr(MultiViewModel, "sample_missing", overflow)
    with pytest.raises(DimvidaError) as caught, start(tmp_path / "out", batch=2, shard_size=8) as generation:
        generation.run()
    assert str(caught.value).startswith("chair/00, chair/01: latents are not finite (NaN or infinity)")
    assert not list((tmp_path / "out").rglob("*.png"))
