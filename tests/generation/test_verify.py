"""What an output asks of its input: that it lies elsewhere, and is the same when a run goes on."""

from __future__ import annotations

import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.objects import VIEWS, tree
from PIL import Image

from dimvida.data.opening import open_source
from dimvida.data.tree import READ_LIMIT
from dimvida.errors import DimvidaError, InputError
from dimvida.generation.formats import FORMATS
from dimvida.generation.plan import make_plan
from dimvida.generation.run import Generation
from dimvida.generation.settings import resolve_settings
from dimvida.sampling.multiview import MultiViewModel


@pytest.fixture
def data(tmp_path: Path, write_objects) -> Path:
    return write_objects(tmp_path / "data", {f"chair/{letter}": ("front", "left") for letter in "abcd"})


@pytest.fixture
def generate(model: MultiViewModel, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a generation in shards of two objects, and returns what was found damaged before."""

    def generate(path: Path, form: str, name: str = "out", overwrite: bool = False, split: str | None = None):
        plan = make_plan(open_source(path, split=split), VIEWS)
        settings = resolve_settings(model, batch=2, shard_size=2, steps=1, format=form)
        with Generation(model, plan, settings, tmp_path / name, overwrite=overwrite) as generation:
            generation.run()
            return generation.damaged

    return generate


def replace(path: Path) -> None:
    """Another picture in place of a file, of the same size and of the same time."""
    status, data = path.stat(), path.read_bytes()
    with Image.open(path) as picture:
        picture.convert("RGB").rotate(90).save(path)
    changed = path.read_bytes()
    assert changed != data
    path.write_bytes((changed + bytes(len(data)))[: max(len(data), len(changed))])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(folder: Path) -> None:
    """Leave an output as a run that was killed before its last shard."""
    for name in ("report.json", "metadata.jsonl", "shard-000001.json"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("finished", [False, True])
def test_a_picture_of_a_finished_shard_that_was_replaced(generate, data: Path, tmp_path: Path, form: str, finished):
    generate(data, form)
    if not finished:
        cut(tmp_path / "out")
    before = tree(tmp_path / "out")
    replace(data / "chair/b/left.png")
    with pytest.raises(
        InputError, match=r"chair/b/left\.png: has changed since shard-000000 of .*/out was made from it; .*--overwrite"
    ):
        generate(data, form)
    assert tree(tmp_path / "out") == before
    generate(data, form, overwrite=True)
    generate(data, form, "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_with_overwrite_an_unfinished_output_keeps_what_is_right(generate, data: Path, tmp_path: Path):
    generate(data, "npy")
    (tmp_path / "out" / "report.json").unlink()
    replace(data / "chair/c/front.png")
    kept = (tmp_path / "out" / "shard-000000.npy").stat().st_ino
    damaged = generate(data, "npy", overwrite=True)
    assert [line.removeprefix(f"{data}/") for line in damaged] == ["chair/c/front.png: has changed"]
    assert (tmp_path / "out" / "shard-000000.npy").stat().st_ino == kept


@pytest.mark.parametrize("form", FORMATS)
def test_times_alone_are_no_change(generate, data: Path, tmp_path: Path, form: str):
    generate(data, form)
    before = tree(tmp_path / "out")
    cut(tmp_path / "out")
    for path in data.rglob("*.png"):
        copy = path.with_name("copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
        os.utime(path, (0, 0))
    assert generate(data, form) == []
    assert tree(tmp_path / "out") == before


def test_threads_that_cannot_be_started(generate, data: Path, monkeypatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    generate(data, "npy")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(DimvidaError, match=r"^can't start new thread; .* \(ulimit -u\)$"):
        generate(data, "npy")


def test_a_picture_of_a_shard_that_is_still_to_be_made_may_change(generate, data: Path, tmp_path: Path):
    generate(data, "imagefolder")
    cut(tmp_path / "out")
    replace(data / "chair/d/front.png")
    generate(data, "imagefolder")
    generate(data, "imagefolder", "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_picture_that_became_unreadable(generate, data: Path, tmp_path: Path):
    generate(data, "imagefolder")
    os.truncate(data / "chair/a/front.png", READ_LIMIT + 1)
    before = tree(tmp_path / "out")
    with pytest.raises(InputError, match=r"chair/a/front\.png: cannot be read any more"):
        generate(data, "imagefolder")
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_picture_that_can_be_read_now_is_made_up_for(generate, data: Path, tmp_path: Path, form: str):
    whole = (data / "chair/b/front.png").read_bytes()
    (data / "chair/b/front.png").write_bytes(whole[:40])
    generate(data, form)
    assert generate(data, form) == []
    (data / "chair/b/front.png").write_bytes(whole)
    assert generate(data, form) == ["chair/b: can be read now"]
    generate(data, form, "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_picture_in_a_zip_file(generate, data: Path, tmp_path: Path):
    def pack() -> Path:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in sorted(data.rglob("*.png")):
                archive.write(path, path.relative_to(data))
        return tmp_path / "data.zip"

    generate(pack(), "imagefolder")
    assert generate(pack(), "imagefolder") == []
    replace(data / "chair/a/left.png")
    with pytest.raises(InputError, match=r"data\.zip!chair/a/left\.png: has changed"):
        generate(pack(), "imagefolder")


def test_a_class_elsewhere_that_shifts_the_numbers_of_labels(generate, tmp_path: Path, write_objects):
    objects = {f"train/{name}/{number}": ("front",) for name in ("chair", "sofa") for number in range(2)}
    data = write_objects(tmp_path / "data", {**objects, "test/chair/t": ("front", "left")})
    for form in ("webdataset", "imagefolder"):
        generate(data, form, form, split="train")
        cut(tmp_path / form)
    write_objects(tmp_path / "data", {"test/airplane/t": ("front", "left")})
    with pytest.raises(InputError, match=r"its classes number the labels, and 'airplane' was not among them"):
        generate(data, "webdataset", "webdataset", split="train")
    generate(data, "imagefolder", "imagefolder", split="train")
