"""The output folder: what may be written, continued and replaced, and what is never touched."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimvida.errors import DimvidaError, InputError
from dimvida.generation.imagefolder import ImageFolderOutput, encode_png
from dimvida.generation.journal import BatchResult

CONFIGURATION = {"seed": 0, "batch": 2}


def batch(number: int) -> tuple[BatchResult, dict[str, bytes]]:
    images = {f"chair/{number}{letter}__left.png": f"{number}{letter}".encode() for letter in "ab"}
    rows = [
        {"file_name": name, "sha256": hashlib.sha256(data).hexdigest(), "number": number}
        for name, data in images.items()
    ]
    return BatchResult(number, rows, objects=2, views=2), images


def empty_batch(number: int) -> tuple[BatchResult, dict[str, bytes]]:
    skipped = [{"file": f"{number}.png", "reason": "empty file", "source": str(number)}]
    return BatchResult(number, [], objects=0, views=0, skipped=skipped), {}


def write(folder: Path, *numbers: int, finish: bool = False, **options) -> ImageFolderOutput:
    output = ImageFolderOutput(folder, options.pop("configuration", CONFIGURATION), **options)
    for number in numbers:
        output.add(*batch(number))
    if finish:
        output.finish({})
    return output


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_finished_output(folder: Path):
    write(folder, 0, 1, finish=True)
    assert sorted(tree(folder)) == [
        "chair/0a__left.png",
        "chair/0b__left.png",
        "chair/1a__left.png",
        "chair/1b__left.png",
        "generation.json",
        "metadata.jsonl",
        "report.json",
    ]
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == sorted(name for name in tree(folder) if "/" in name)
    assert json.loads((folder / "report.json").read_text())["views_generated"] == 4
    again = ImageFolderOutput(folder, CONFIGURATION)
    assert again.finished and again.report().views == 4


def test_nothing_is_made_before_the_first_picture(folder: Path):
    output = ImageFolderOutput(folder, CONFIGURATION)
    output.add(*empty_batch(0))
    assert not folder.exists()
    output.add(*batch(1))
    report = output.finish({})
    assert [entry["file"] for entry in report.skipped] == ["0.png"]


def test_an_input_without_a_single_readable_file_makes_nothing(folder: Path):
    output = ImageFolderOutput(folder, CONFIGURATION)
    output.add(*empty_batch(0))
    output.add(*empty_batch(1))
    with pytest.raises(InputError, match=r"none of the 2 input files can be read; the first: 0.png: empty file"):
        output.finish({})
    assert not folder.exists()


def test_continuing_redoes_what_is_missing_or_changed(tmp_path: Path):
    write(tmp_path / "whole", 0, 1, 2, finish=True)
    folder = tmp_path / "cut"
    write(folder, 0, 1)
    (folder / "chair" / "0a__left.png").write_bytes(b"damaged")
    output = ImageFolderOutput(folder, CONFIGURATION)
    assert not output.finished
    assert output.done == {1}
    write(folder, 0, 2, finish=True)
    assert tree(folder) == tree(tmp_path / "whole")


def test_what_a_killed_run_leaves_does_not_stay(tmp_path: Path):
    write(tmp_path / "whole", 0, finish=True)
    folder = tmp_path / "cut"
    write(folder)
    write(folder, 0)
    (folder / ".generation.abc123_x.json").write_text("{")
    (folder / ".metadata.abc123_x.jsonl").write_text("{")
    (folder / "chair" / ".0a__left.png.part").write_bytes(b"half")
    (folder / "chair" / "0b__left.png").unlink()
    write(folder, 0, finish=True)
    assert tree(folder) == tree(tmp_path / "whole")


def test_a_folder_that_only_got_as_far_as_a_temporary_file_is_new(folder: Path):
    folder.mkdir()
    (folder / ".generation.abc123_x.json").write_text("{")
    write(folder, 0, finish=True)
    assert not list(folder.glob(".*"))


def test_another_configuration_is_refused_and_named(folder: Path):
    write(folder, 0, finish=True)
    before = tree(folder)
    with pytest.raises(InputError, match=r"another configuration \(seed was 0, is 1\).*--overwrite"):
        ImageFolderOutput(folder, {**CONFIGURATION, "seed": 1})
    assert tree(folder) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_never_touched(folder: Path, overwrite: bool):
    (folder / "chair").mkdir(parents=True)
    (folder / "chair" / "mine.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="not an output of dimvida generate"):
        ImageFolderOutput(folder, CONFIGURATION, overwrite=overwrite)
    assert tree(folder) == {"chair/mine.png": b"mine"}


@pytest.mark.parametrize("finished", [False, True])
def test_overwriting_removes_what_a_generator_wrote_and_nothing_else(folder: Path, finished: bool):
    write(folder, 0, 1, finish=finished)
    (folder / "notes.txt").write_text("mine")
    (folder / "chair" / "mine.png").write_bytes(b"mine")
    other = {**CONFIGURATION, "seed": 1}
    write(folder, 2, finish=True, configuration=other, overwrite=True)
    assert sorted(tree(folder)) == [
        "chair/2a__left.png",
        "chair/2b__left.png",
        "chair/mine.png",
        "generation.json",
        "metadata.jsonl",
        "notes.txt",
        "report.json",
    ]
    assert json.loads((folder / "generation.json").read_text())["configuration"] == other


def test_overwriting_waits_for_the_first_picture(folder: Path):
    write(folder, 0, finish=True)
    before = tree(folder)
    output = ImageFolderOutput(folder, CONFIGURATION, overwrite=True)
    output.add(*empty_batch(0))
    assert tree(folder) == before


def test_an_overwrite_that_was_killed_is_completed_by_the_next_start(folder: Path):
    write(folder, 0, 1, finish=True)
    (folder / "metadata.jsonl").rename(folder / "metadata.jsonl.discarded")
    (folder / "chair" / "0a__left.png").unlink()
    write(folder, 2, finish=True)
    assert [name for name in sorted(tree(folder)) if "/" in name] == ["chair/2a__left.png", "chair/2b__left.png"]
    assert not (folder / "metadata.jsonl.discarded").exists()


def test_overwriting_never_leaves_the_folder(folder: Path, tmp_path: Path):
    write(folder, 0, finish=True)
    (tmp_path / "precious.png").write_bytes(b"mine")
    lines = [
        {"file_name": name} for name in ("../precious.png", str(tmp_path / "precious.png"), "a/../../precious.png")
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write(folder, 1, finish=True, overwrite=True)
    assert (tmp_path / "precious.png").read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["{", "[]", '{"configuration": 3}'])
def test_a_damaged_configuration_is_refused(folder: Path, content: str):
    write(folder, 0, finish=True)
    (folder / "generation.json").write_text(content)
    with pytest.raises(InputError, match=r"generation.json: damaged"):
        ImageFolderOutput(folder, CONFIGURATION)


def test_a_file_in_the_way(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="is a file; choose another --output"):
            ImageFolderOutput(folder, CONFIGURATION)
    write(tmp_path / "out")
    (tmp_path / "out").mkdir()
    output = ImageFolderOutput(tmp_path / "out", CONFIGURATION)
    (tmp_path / "out" / "chair").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        output.add(*batch(0))


def test_a_run_killed_between_its_last_two_steps_is_finished(folder: Path):
    write(folder, 0, finish=True)
    before = tree(folder)
    (folder / "metadata.jsonl.part").write_text("")
    assert ImageFolderOutput(folder, CONFIGURATION).finished
    assert tree(folder) == before


def test_a_full_disk_is_a_failure_and_not_the_users_mistake(folder: Path):
    output = write(folder, 0)
    result, images = batch(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(
            DimvidaError, match=r"writing failed \(File too large\); the same command continues"
        ) as caught:
            output.add(result, dict.fromkeys(images, bytes(5000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not isinstance(caught.value, InputError)
    write(folder, 1, finish=True)
    write(folder.with_name("whole"), 0, 1, finish=True)
    assert tree(folder) == tree(folder.with_name("whole"))


def test_png_keeps_pixels_and_has_the_same_bytes_every_time(tiny_image):
    pixels = np.asarray(tiny_image(3))
    data = encode_png(pixels)
    assert data == encode_png(pixels.copy())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
