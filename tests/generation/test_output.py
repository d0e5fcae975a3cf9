"""The output folder: what may be written, continued and replaced, and what is never touched."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.objects import tree

from dimvida.errors import DimvidaError, InputError
from dimvida.generation.formats import FORMATS
from dimvida.generation.settings import check_same
from dimvida.generation.stats import ShardStats
from dimvida.generation.verify import find_damage, open_output
from dimvida.results.schema import SkippedInput

from .conftest import Writer, draw

EVERY = tuple(FORMATS)
END = (".contact-sheet.png", "README.md", "report.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def finished(tmp_path: Path) -> Callable[[str], Path]:
    """A finished output of a form."""

    def make(form: str = "imagefolder", name: str = "whole") -> Path:
        Writer(tmp_path / name, form).write(0, 1, 2, finish=True)
        return tmp_path / name

    return make


def test_a_finished_image_folder(folder: Path):
    report = Writer(folder).write(0, 1, 2, finish=True)
    assert report.views == 6
    names = [f"chair/{number}{letter}__left.png" for number in range(3) for letter in "ab"]
    shards = [f"shard-00000{number}.{suffix}" for number in range(3) for suffix in ("json", "jsonl")]
    assert sorted(tree(folder)) == sorted([*names, *shards, "generation.json", "metadata.jsonl", *END])
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == names
    assert json.loads((folder / "report.json").read_text())["views_generated"] == 6


@pytest.mark.parametrize("form", EVERY)
@pytest.mark.parametrize("stop", ["commit", "stats"])
def test_a_shard_that_was_cut_is_made_again(folder: Path, finished, form: str, stop: str):
    Writer(folder, form).write(0, 1, stop=stop)
    writer = Writer(folder, form)
    assert [writer.output.stats(shard) is not None for shard in writer.output.shards] == [True, False, False]
    writer.write(0, 1, 2, finish=True)
    assert tree(folder) == tree(finished(form))


@pytest.mark.parametrize("form", EVERY)
def test_what_is_damaged_is_found_and_only_that_is_made_again(finished, form: str):
    folder = finished(form)
    whole = tree(folder)
    assert find_damage(open_output(folder)) == []
    for name in sorted(whole):
        if name == "generation.json":
            continue
        data = bytearray(whole[name])
        for damaged in (bytes(data[:-1]), bytes(data[:-2]) + bytes([data[-2] ^ 1]) + bytes(data[-1:]), None):
            if damaged is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(damaged)
            found = find_damage(open_output(folder))
            if name == "report.json" and damaged is None:  # without it the output is an unfinished one
                assert found == []
            else:
                assert any(line.startswith(name) for line in found), (name, found)
            times = {path: path.stat().st_mtime_ns for path in folder.rglob("shard-*.json")}
            Writer(folder, form).write(0, 1, 2, finish=True)
            assert tree(folder) == whole
            same = [path for path, before in times.items() if path.stat().st_mtime_ns == before]
            assert len(same) >= 2


def test_an_input_without_a_single_picture_is_refused_at_the_end(folder: Path):
    writer = Writer(folder)
    writer.output.open("job")
    for number in range(3):
        skipped = [SkippedInput(f"{number}.png", "empty file", str(number))]
        writer.output.add(ShardStats(number, writer.output.hash, 2, 0, 0, [], skipped))
    with pytest.raises(InputError, match=r"none of the 3 input files can be read; the first: 0.png: empty file"):
        writer.output.finish(draw)
    assert not writer.output.finished


def test_what_a_killed_run_leaves_does_not_stay(folder: Path, finished):
    Writer(folder).write(0)
    (folder / ".generation.abc123_x.json").write_text("{")
    (folder / ".metadata.abc123_x.jsonl").write_text("{")
    (folder / ".shard-000001.claim").write_text("")
    (folder / ".generation.lock").write_text("another job")
    (folder / ".shard-000001.part").mkdir()
    (folder / ".shard-000001.part" / "0").write_bytes(b"half")
    Writer(folder).write(0)
    assert not list(folder.glob(".shard-*"))  # although this run stopped before it came to that shard
    Writer(folder).write(0, 1, 2, finish=True)
    assert tree(folder) == tree(finished())
    assert [path.name for path in folder.glob(".*")] == [".contact-sheet.png"]


def test_what_a_dead_process_of_the_same_job_leaves_goes_at_the_end(folder: Path, finished):
    writer = Writer(folder)
    writer.write(0, 1, 2)
    writer.output.open("job")
    (folder / ".shard-000001.claim").write_text("")
    (folder / ".shard-000001.abc123_x.json").write_text("{")
    writer.output.finish(draw)
    writer.output.close()
    assert tree(folder) == tree(finished())


def test_a_picture_whose_input_is_gone_goes_when_its_shard_is_made_again(folder: Path, finished):
    Writer(folder).write(0, 1, stop="stats")
    record = folder / "shard-000001.jsonl"
    with open(record, "a") as file:
        file.write(json.dumps({"file_name": "chair/gone__left.png"}) + "\n")
    (folder / "chair" / "gone__left.png").write_bytes(b"old")
    Writer(folder).write(0, 1, 2, finish=True)
    assert tree(folder) == tree(finished())


def test_another_configuration_is_refused_and_named(finished):
    folder = finished()
    before = tree(folder)
    with pytest.raises(InputError, match=r"another configuration \(seed was 0, is 1\).*--overwrite"):
        Writer(folder, seed=1)
    assert tree(folder) == before


@pytest.mark.parametrize("key", ["checkpoint", "plan"])
def test_a_difference_of_hashes_is_said_in_words(folder: Path, key: str):
    with pytest.raises(InputError, match=r"another configuration \(of (another checkpoint|other inputs)") as refused:
        check_same(folder, {key: "0f" * 32}, {key: "f0" * 32})
    assert "0f0f" not in str(refused.value) and "f0f0" not in str(refused.value)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_never_touched(folder: Path, overwrite: bool):
    (folder / "chair").mkdir(parents=True)
    (folder / "chair" / "mine.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="not an output of dimvida generate"):
        Writer(folder, overwrite=overwrite)
    assert tree(folder) == {"chair/mine.png": b"mine"}


@pytest.mark.parametrize("form", EVERY)
@pytest.mark.parametrize("unfinished", [False, True])
def test_overwriting_removes_what_a_generator_wrote_and_nothing_else(folder: Path, finished, form, unfinished):
    if unfinished:
        Writer(folder, form).write(0, 1, stop="stats")
    else:
        Writer(folder, form).write(0, 1, 2, finish=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "chair").mkdir(exist_ok=True)
    (folder / "chair" / "mine.png").write_bytes(b"mine")
    Writer(folder, "npy", seed=1, overwrite=True).write(0, 1, 2, finish=True)
    expected = [f"shard-00000{number}.{suffix}" for number in range(3) for suffix in ("json", "jsonl", "npy")]
    assert sorted(tree(folder)) == sorted(["chair/mine.png", "generation.json", *expected, "notes.txt", *END])
    assert json.loads((folder / "generation.json").read_text())["configuration"]["seed"] == 1


def test_overwriting_an_unfinished_output_of_the_same_configuration_continues_it(folder: Path, finished):
    Writer(folder).write(0)
    before = (folder / "shard-000000.json").stat().st_mtime_ns
    Writer(folder, overwrite=True).write(0, 1, 2, finish=True)
    assert (folder / "shard-000000.json").stat().st_mtime_ns == before
    assert tree(folder) == tree(finished())


def test_overwriting_never_leaves_the_folder(folder: Path, tmp_path: Path):
    Writer(folder).write(0, 1, 2, finish=True)
    (tmp_path / "precious.png").write_bytes(b"mine")
    names = ("../precious.png", str(tmp_path / "precious.png"), "a/../../precious.png", "notes.txt")
    (folder / "notes.txt").write_text("mine")
    (folder / "shard-000000.jsonl").write_text("".join(json.dumps({"file_name": name}) + "\n" for name in names))
    Writer(folder, seed=1, overwrite=True).write(0, 1, 2, finish=True)
    assert (tmp_path / "precious.png").read_bytes() == b"mine"
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["{", "[]", '{"configuration": 3}', '{"hash": "0", "configuration": {"seed": 0}}'])
def test_a_damaged_configuration_is_refused(finished, content: str):
    folder = finished()
    (folder / "generation.json").write_text(content)
    with pytest.raises(InputError, match=r"generation.json: damaged"):
        Writer(folder)


def test_stats_that_name_a_file_elsewhere_are_damaged(finished):
    folder = finished()
    stats = ShardStats.read(folder / "shard-000000.json")
    outside = stats.files[0].__class__("../outside.png", 1, "0")
    ShardStats(0, stats.configuration, 2, 2, 2, [outside]).write(folder / "shard-000000.json")
    assert find_damage(open_output(folder)) == ["shard-000000.json: damaged"]


def test_a_file_in_the_way(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="is a file; choose another --out"):
            Writer(folder)
    Writer(tmp_path / "out").write()
    picture = tmp_path / "out" / "chair" / "0a__left.png"
    picture.parent.write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        Writer(tmp_path / "out").write(0)
    picture.parent.unlink()
    picture.mkdir(parents=True)
    with pytest.raises(InputError, match=rf"^{picture}: cannot be written \(Is a dir"):
        Writer(tmp_path / "out").write(0)


@pytest.mark.parametrize("name", ["generation.json", "shard-000000.json"])
def test_what_cannot_be_read_is_not_called_damaged(finished, name: str):
    folder = finished()
    (folder / name).rename(folder / "aside")
    (folder / name).mkdir()  # a read error that root gets, too
    before = tree(folder)
    for overwrite in (False, name == "generation.json"):
        with pytest.raises(
            InputError, match=rf"{name}: cannot be read \(Is a directory\); nothing was changed"
        ) as caught:
            Writer(folder, overwrite=overwrite).write(0, 1, 2, finish=True)
        assert "remove" not in str(caught.value)
    assert tree(folder) == before
    (folder / name).rmdir()
    (folder / "aside").rename(folder / name)
    assert find_damage(open_output(folder)) == []


@pytest.mark.parametrize("form", EVERY)
def test_links_among_our_files_are_replaced_and_not_followed(folder: Path, tmp_path: Path, finished, form: str):
    (tmp_path / "precious").write_text("mine")
    Writer(folder, form).write(0)
    for name in (
        "report.json",
        "metadata.jsonl",
        "shard-000001.jsonl",
        ".shard-000001.npy.part",
        ".shard-000001.tar.part",
        ".shard-000001.parquet.part",
    ):
        (folder / name).symlink_to(tmp_path / "precious")
    Writer(folder, form).write(0, 1, 2, finish=True)
    assert (tmp_path / "precious").read_text() == "mine"
    expected = tree(finished(form))
    assert {name: data for name, data in tree(folder).items() if name in expected} == expected


@pytest.mark.parametrize("form", EVERY)
def test_a_full_disk_is_a_failure_and_not_the_users_mistake(folder: Path, finished, form: str):
    Writer(folder, form).write(0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
        with pytest.raises(
            DimvidaError, match=r"writing failed \(File too large\); the same command continues"
        ) as caught:
            Writer(folder, form).write(0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not isinstance(caught.value, InputError)
    Writer(folder, form).write(0, 1, 2, finish=True)
    assert tree(folder) == tree(finished(form))


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_removed_under_a_run_ends_it(folder: Path, again: bool):
    output = Writer(folder).output
    output.open("job")
    shutil.rmtree(folder)
    if again:  # by another run
        other = Writer(folder).output
        other.open("other")
    with pytest.raises(DimvidaError, match="was removed while the run was writing"):
        output.add(ShardStats(0, output.hash, 2, 2, 2, []))
    output.close()
    assert not folder.exists() or not list(folder.glob("shard-*"))
