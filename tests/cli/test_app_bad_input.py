"""Bad input gets one line that names the file or option, exit code 2, and loses nothing."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.objects import tree
from PIL import Image

from dimvida.generation.formats import NAMES
from dimvida.models.checkpoint import load_checkpoint, save_checkpoint


def bomb(edge: int = 60_000) -> bytes:
    """A small PNG that would decode to gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")


class TestInput:
    def test_empty_folder(self, refused, tmp_path: Path):
        (tmp_path / "nothing").mkdir()
        assert f"{tmp_path / 'nothing'}: empty" in refused(tmp_path / "nothing", "--view", "front")

    def test_missing_folder(self, refused, tmp_path: Path):
        assert f"{tmp_path / 'nowhere'}: no such file or folder" in refused(tmp_path / "nowhere")

    def test_a_single_file(self, refused, fronts: Path):
        assert f"{fronts / 'chair' / 'a.png'}: neither a folder nor a zip" in refused(fronts / "chair" / "a.png")

    def test_no_view_said(self, refused, fronts: Path):
        line = refused(fronts)
        assert "which view is it?" in line and "--view" in line

    def test_a_view_that_the_checkpoint_lacks(self, refused, fronts: Path):
        line = refused(fronts, "--view", "top")
        assert "--view top" in line and "front, right, back, left" in line

    def test_a_view_that_the_input_lacks(self, refused, tmp_path: Path, write_objects):
        root = write_objects(tmp_path / "sides", {"chair/a": ("left", "right"), "chair/b": ("left", "right")})
        line = refused(root, "--view", "front")
        assert "--view front" in line and "it has right, left" in line

    def test_a_target_that_the_checkpoint_lacks(self, refused, objects: Path):
        assert "--target top: the checkpoint has no such view" in refused(objects, "--view", "front", "--target", "top")

    def test_two_views_for_images_that_name_none(self, refused, fronts: Path):
        assert "which view is it?" in refused(fronts, "--view", "front,left")

    def test_a_view_both_given_and_wanted(self, refused, objects: Path):
        assert "--view left: is also in --target" in refused(objects, "--view", "front,left", "--target", "left")

    def test_nothing_missing(self, refused, objects: Path):
        assert "nothing is missing" in refused(objects)

    def test_one_view_only_in_multi_view_data(self, refused, tmp_path: Path, write_objects):
        root = write_objects(tmp_path / "one", {"chair/a": ("front",), "chair/b": ("front",)})
        assert "only one view ('front')" in refused(root)

    def test_no_such_split(self, refused, objects: Path):
        assert "no split 'test'" in refused(objects, "--view", "front", "--split", "test")

    def test_a_zip_that_is_none(self, refused, tmp_path: Path):
        (tmp_path / "views.zip").write_bytes(b"PK\x03\x04 and nothing")
        assert "views.zip: not a readable zip" in refused(tmp_path / "views.zip")

    @pytest.mark.parametrize("name", ["../evil/chair/a/front.png", "/evil/front.png", "chair\\..\\..\\front.png"])
    def test_a_path_that_leaves_the_zip(self, refused, tmp_path: Path, name: str):
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
            archive.writestr("chair/a/front.png", b"")
            archive.writestr(name, b"")
        line = refused(tmp_path / "evil.zip")
        assert "evil.zip!" in line and "refused" in line

    def test_two_files_for_one_view(self, refused, objects: Path, tiny_image):
        tiny_image().save(objects / "chair" / "a" / "front.jpg")
        line = refused(objects, "--view", "front")
        assert "front.png" in line and "front.jpg" in line and "two files for one view" in line

    def test_an_image_listed_twice(self, refused, fronts: Path):
        entry = json.dumps({"file_name": "chair/a.png", "view": "front"}) + "\n"
        (fronts / "metadata.jsonl").write_text(entry * 2)
        assert "metadata.jsonl, line 2: names the same file as line 1" in refused(fronts)

    def test_metadata_that_leave_the_folder(self, refused, fronts: Path):
        (fronts / "metadata.jsonl").write_text(json.dumps({"file_name": "../../a.png", "view": "front"}) + "\n")
        assert "metadata.jsonl, line 1" in refused(fronts)

    def test_two_objects_for_one_output_file(self, refused, tmp_path: Path, write_objects):
        views = ("front", "left")
        root = write_objects(tmp_path / "splits", {"train/chair/a": views, "test/chair/a": views})
        line = refused(root)
        assert "train/chair/a" in line and "test/chair/a" in line and "--split" in line

    def test_an_image_of_another_size_with_strict(self, refused, fronts: Path, tiny_image):
        tiny_image(0, size=24).save(fronts / "chair" / "b.png")
        line = refused(fronts, "--view", "front", "--strict")
        assert "b.png: 24 x 24 pixels instead of 16 x 16" in line and "--strict" in line


BROKEN = {
    "text": lambda good: b"this is not an image",
    "empty": lambda good: b"",
    "truncated": lambda good: good[:200],
    "bomb": lambda good: bomb(),
}


class TestUnreadableFiles:
    """Alone they are an error; among others they are skipped, listed and counted."""

    @pytest.mark.parametrize("kind", BROKEN)
    def test_alone(self, refused, tmp_path: Path, fronts: Path, kind: str):
        data = BROKEN[kind]((fronts / "chair" / "a.png").read_bytes())
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "only.png").write_bytes(data)
        line = refused(tmp_path / "bad", "--view", "front")
        assert "none of the 1 input files can be read" in line and "only.png: " in line

    @pytest.mark.parametrize("kind", BROKEN)
    def test_among_others(self, dimvida, tiny_checkpoint: Path, tmp_path: Path, fronts: Path, kind: str):
        bad = fronts / "chair" / "b.png"
        bad.write_bytes(BROKEN[kind](bad.read_bytes()))
        command = ["generate", "--data", fronts, "--out", tmp_path / "out", "--checkpoint", tiny_checkpoint]
        command += ["--view", "front"]
        result = dimvida(*command)
        assert result.code == 1
        assert (
            len(result.errors) == 1
            and "1 input file that cannot be read" in result.errors[0]
            and "--skip-bad" in result.errors[0]
        )
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert [entry["file"] for entry in report["skipped"]] == ["chair/b.png"]
        assert report["skipped"][0]["reason"]
        assert (report["objects"], report["views_generated"], report["skipped_files"]) == (3, 9, 1)
        assert len((tmp_path / "out" / "metadata.jsonl").read_text().splitlines()) == 9
        # The same command again says the same; accepting the loss is a matter of the option alone.
        assert dimvida(*command).code == 1
        assert dimvida(*command, "--skip-bad").code == 0


CONVERSIONS = {
    "grayscale": (lambda image: image.convert("L"), "png", "grayscale converted to RGB"),
    "palette": (lambda image: image.quantize(16), "png", "palette converted to RGB"),
    "rgba": (lambda image: image.convert("RGBA"), "png", "transparency composited on white"),
    "16-bit": (
        lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257),
        "png",
        "16-bit grayscale scaled to 8-bit RGB",
    ),
    "cmyk": (lambda image: image.convert("CMYK"), "jpg", "CMYK converted to RGB"),
    "size": (lambda image: image.resize((40, 30)), "png", "resized to 16 x 16"),
}


class TestConversions:
    @pytest.mark.parametrize("kind", CONVERSIONS)
    def test_converted_with_a_note(self, accepted, fronts: Path, tmp_path: Path, tiny_image, kind: str):
        convert, suffix, note = CONVERSIONS[kind]
        (fronts / "chair" / "a.png").unlink()
        convert(tiny_image(0)).save(fronts / "chair" / f"a.{suffix}")
        out = accepted(fronts, "--view", "front", "--include-known")
        assert f"note: {note}: 1 image (first: chair/a.{suffix})" in out
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["notes"] == [{"note": note, "images": 1, "first": f"chair/a.{suffix}"}]
        known = Image.open(tmp_path / "out" / "chair" / "a__front.png")
        assert (known.mode, known.size) == ("RGB", (16, 16))


class TestCheckpoint:
    """What all can be wrong with one is in ``tests/models/test_checkpoint.py``."""

    def test_missing(self, refused, fronts: Path, tmp_path: Path):
        assert f"{tmp_path / 'none'} does not exist" in refused(fronts, "--view", "front", checkpoint=tmp_path / "none")

    def test_a_folder_that_is_none(self, refused, fronts: Path):
        assert "is not a checkpoint: it has no config.json" in refused(fronts, "--view", "front", checkpoint=fronts)

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("config.json", b'{"schema": 99}', "config.json: schema 99 is newer"),
            ("score.safetensors", pickle.dumps({"weight": 1}), "score.safetensors: is a pickle"),
            ("latents.safetensors", b"", "latents.safetensors: not a valid safetensors file"),
        ],
    )
    def test_damaged(self, refused, fronts: Path, tiny_checkpoint: Path, tmp_path: Path, file, content, message):
        copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
        (copy / file).write_bytes(content)
        assert message in refused(fronts, "--view", "front", checkpoint=copy)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--batch", "0"), "--batch 0"),
        (("--batch", "many"), "--batch many"),
        (("--steps", "0"), "steps must be at least 1"),
        (("--steps", "few"), "--steps"),
        (("--solver", "nope"), "unknown solver 'nope'"),
        (("--seed", "-1"), "--seed -1"),
        (("--samples-per-view", "0"), "--samples-per-view 0"),
        (("--backend", "nope"), "unknown backend 'nope'"),
        (("--format", "zip"), f"--format zip: choose from {', '.join(NAMES)}"),
        (("--image-format", "gif"), "--image-format gif: choose from png, jpeg, webp"),
        (("--quality", "80"), "--quality 80: PNG has none"),
        (("--format", "npy", "--image-format", "png"), "--format npy: holds pixels"),
        (("--shard-size", "0"), "--shard-size 0"),
        (("--shard", "2/2"), "--shard 2/2: give i/n"),
        (("--shard", "first"), "--shard first: give i/n"),
        (("--shard", "0/2", "--overwrite"), "--shard 0/2: --overwrite"),
        (("--shard", "0/2", "--sheet", "s.png"), "--shard 0/2: has no --sheet"),
        (("--device", "nope"), "--device nope"),
        (("--sheet", "sheet.txt"), "--sheet sheet.txt"),
        (("--sheet-rows", "0"), "--sheet-rows 0"),
        (("--truth", "nowhere"), "nowhere: no such file or folder"),
        (("--view", "front,,left"), "--view 'front,,left'"),
        (("--view", "front,front"), "--view front,front"),
    ],
)
def test_options(refused, fronts: Path, options: tuple[str, ...], named: str):
    view = () if options[0] == "--view" else ("--view", "front")
    assert named in refused(fronts, *view, *options)


class TestProcess:
    """The same through a process of its own."""

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (("--data", "nothing", "--out", "out"), "nothing: empty"),
            (("--out", "out"), "--data"),
        ],
    )
    def test_exit_code_and_one_line(self, dimvida_process, tiny_checkpoint, tmp_path: Path, options, named):
        (tmp_path / "nothing").mkdir()
        before = tree(tmp_path)
        result = dimvida_process("generate", "--checkpoint", tiny_checkpoint, *options)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert named in result.errors[0]
        assert tree(tmp_path) == before

    def test_where_the_output_goes_nothing_is_touched(self, dimvida, tiny_checkpoint, tmp_path: Path):
        (tmp_path / "nothing").mkdir()
        (tmp_path / "taken").write_text("mine")
        before = tree(tmp_path)
        asked = ("--data", tmp_path / "nothing", "--out", tmp_path / "taken", "--checkpoint", tiny_checkpoint)
        assert "nothing: empty" in dimvida("generate", *asked).refusal()
        assert tree(tmp_path) == before

    def test_debug_shows_the_trace(self, dimvida_process, tiny_checkpoint):
        options = ("--data", "nowhere", "--out", "out", "--checkpoint", tiny_checkpoint)
        result = dimvida_process("--debug", "generate", *options)
        assert result.code != 0
        assert "Traceback" in result.err and "nowhere: no such file or folder" in result.err


@pytest.mark.parametrize("kind", ["norm", "decoder"])
def test_weights_that_overflow_make_no_pictures(
    dimvida, fronts: Path, tiny_checkpoint: Path, tmp_path: Path, kind: str
):
    """Finite in the file, and not in what is computed with them."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    if kind == "norm":
        checkpoint.score.state_dict()["mid_blocks.0.norm2.weight"].fill_(3e38)
    else:
        for name, weight in checkpoint.autoencoder.state_dict().items():
            if name.startswith("decoder") and weight.ndim == 4:
                weight.mul_(1e30)
    save_checkpoint(tmp_path / "checkpoint", checkpoint)
    options = ("--input", fronts, "--view", "front", "--checkpoint", tmp_path / "checkpoint", "--batch", 2)
    result = dimvida("generate", *options, "--output", tmp_path / "out")
    assert result.code == 1
    (error,) = result.errors
    assert "chair/a" in error and "are not finite" in error
    assert not list((tmp_path / "out").glob("shard-*")) and not (tmp_path / "out" / "report.json").exists()
