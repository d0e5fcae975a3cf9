"""The floor of the host side writes what a run writes, and both are timed in turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.objects import VIEWS

from dimvida.bench import host
from dimvida.bench.floor import FloorProcesses, Work
from dimvida.bench.generation import repeated_inputs
from dimvida.bench.host import model_of
from dimvida.data.opening import open_source
from dimvida.data.source import MultiViewSource
from dimvida.generation.formats import FORMATS
from dimvida.generation.plan import cut_shards, make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.results.generation import HostTimes, host_table

BATCH, ROWS = 2, 3
SHARDS = tuple((shard.stem, shard.start, shard.stop - shard.start) for shard in cut_shards(7, ROWS))


@pytest.fixture
def source(tmp_path: Path, write_objects) -> MultiViewSource:
    return open_source(write_objects(tmp_path / "data", {"chair/a": VIEWS, "table/b": VIEWS}))


@pytest.mark.parametrize("form", FORMATS)
def test_the_floor_writes_the_files_of_a_run(source, tmp_path: Path, form: str, one_thread):
    model = model_of(source, "front", BATCH)
    settings = resolve_settings(model, batch=BATCH, shard_size=ROWS, format=form, backend="eager")
    output, again = tmp_path / "out", tmp_path / "again"
    with repeated_inputs(source, "front", 7, "npy") as inputs:
        with Generation(model, make_plan(open_source(inputs), VIEWS), settings, output) as generation:
            generation.run()
        np.save(tmp_path / "pictures.npy", model.pictures.numpy())
        work = Work(
            inputs=inputs / "shard-000000.npy",
            pictures=tmp_path / "pictures.npy",
            output=output,
            shards=SHARDS,
            views=3,
            encoded=settings.image_format is not None,
        )
        (again / "chair").mkdir(parents=True)
        (again / "table").mkdir()
        with FloorProcesses(work, 2) as processes:
            seconds, processors = processes.run(again)
    assert seconds > 0 and processors > 0
    files = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    left = {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert left == {path for path in files if (output / path).stat().st_size}  # the lock is empty
    for path in left - {path for path in left if path.suffix == ".png"}:
        assert (again / path).read_bytes() == (output / path).read_bytes()


@pytest.mark.parametrize(
    ("objects", "cores", "batch", "rows"),
    [(4096, 2, 256, 1024), (1024, 2, 256, 512), (4096, 16, 256, 256), (1024, 2, 1024, 1024), (5, 16, 2, 2)],
)
def test_each_core_has_a_shard_where_batches_suffice(objects: int, cores: int, batch: int, rows: int):
    assert host.rows_of_shards(objects, cores, batch) == rows


def test_both_are_timed_in_turn(source, one_thread, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "ROUNDS", 2)
    done = []
    times = host.measure_host(source, "front", 5, "npy", BATCH, done.append)
    assert done == [5, 5]
    assert (times.format, times.batch, times.objects) == ("npy", BATCH, 5)
    kinds = (times.seconds, times.floor_seconds, times.processor_seconds, times.floor_processor_seconds)
    assert all(len(kind) == 2 and min(kind) > 0 for kind in kinds)


def test_shares_are_of_the_same_round():
    times = HostTimes(
        format="npy",
        batch=256,
        objects=600,
        cores=2,
        seconds=[2.0, 8.0, 3.0],
        floor_seconds=[1.0, 6.0, 3.0],
        processor_seconds=[3.0, 3.0, 3.0],
        floor_processor_seconds=[1.5, 1.5, 1.5],
    )
    assert (times.objects_per_second, times.floor_per_second) == (200, 200)
    assert (times.of_floor, times.of_floor_processors) == (0.75, 0.5)
    (row,) = host_table([times]).rows
    assert [cell.text for cell in row] == ["npy", "256", "200", "200", "75 %", "5000", "2500", "50 %"]
