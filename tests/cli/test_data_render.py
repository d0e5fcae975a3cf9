"""``dimvida data render`` as a process: interruptions, full and forbidden places, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import is_alive, wait_until
from helpers.objects import save_box, tree

from dimvida.cli.app import run
from dimvida.data.opening import open_source

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")

SMALL = ["--size", "16", "--samples", "1", "--workers", "1"]


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    for k in range(12):
        save_box(tmp_path / f"meshes/box/m{k:02d}.off", 1 + k)
    return tmp_path / "meshes"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "dimvida", "data", "render", *map(str, arguments)]


def children(pid: int) -> list[int]:
    """Processes below ``pid``, at any depth."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_killed_rendering_is_continued(tmp_path: Path, meshes: Path, name: str) -> None:
    options = ["--size", "64", "--samples", "10", "--workers", "2"]  # slow enough to be killed on the way
    for k in range(12, 36):  # and many: they come in fours
        save_box(meshes / f"box/m{k:02d}.off", 1 + k)
    output = tmp_path / name
    folder = output if name == "out" else tmp_path / "out.zip.unfinished"
    journal = folder / ".unfinished.jsonl"
    process = subprocess.Popen(command(meshes, output, *options), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2)
        workers = children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(workers) >= 2
    wait_until(lambda: not any(map(is_alive, workers)))
    assert not (tmp_path / "out.zip").exists() and not (folder / "index.csv").exists()
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()[1:]]
    done = [folder.joinpath(*line["object"]) for line in lines]
    assert 1 <= len(done) < 36
    numbers = {place: (place / "front.png").stat().st_ino for place in done}

    process = subprocess.Popen(command(meshes, output, *options), stderr=subprocess.DEVNULL)
    assert process.wait() == 0
    if name == "out":
        assert all((place / "front.png").stat().st_ino == number for place, number in numbers.items())
    else:
        assert not folder.exists()
    assert subprocess.run(command(meshes, tmp_path / f"fresh-{name}", *options), capture_output=True).returncode == 0
    if name == "out":
        assert tree(output) == tree(tmp_path / "fresh-out")
    else:
        assert output.read_bytes() == (tmp_path / "fresh-out.zip").read_bytes()


@pytest.mark.slow
def test_ctrl_c_is_said_in_one_word_and_continued(tmp_path: Path, meshes: Path) -> None:
    options = ["--size", "64", "--samples", "6", "--workers", "2"]
    journal = tmp_path / "out/.unfinished.jsonl"
    process = subprocess.Popen(
        command(meshes, tmp_path / "out", *options), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to the workers too
    error = process.communicate()[1]
    assert process.returncode == 130
    assert error.splitlines()[-1] == "error: interrupted"
    assert "died" not in error and "Traceback" not in error
    assert run(["data", "render", str(meshes), str(tmp_path / "out"), *options]) == 0
    assert len(open_source(tmp_path / "out")) == 12


def test_an_unfinished_rendering_with_other_options_is_refused(tmp_path, meshes, capsys) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".unfinished.jsonl").write_text('{"image_size": 64}\n')
    assert run(["data", "render", str(meshes), str(output), *SMALL]) == 2
    assert "unfinished output with another " in capsys.readouterr().err


def test_names_with_commas(tmp_path: Path, meshes: Path) -> None:
    (meshes / "box/m01.off").rename(meshes / 'box/b, "low" poly.off')
    assert run(["data", "render", str(meshes), str(tmp_path / "out.zip"), *SMALL]) == 0
    assert 'b, "low" poly' in {record.name for record in open_source(tmp_path / "out.zip").records}


@pytest.mark.parametrize("views", ["a/b,c", "a:b,c", "...,c", "a,,c"])
def test_view_names_that_cannot_be_generated_are_refused(tmp_path, meshes, capsys, views) -> None:
    azimuths = f"--azimuths={','.join(str(k) for k in range(views.count(',') + 1))}"
    assert run(["data", "render", str(meshes), str(tmp_path / "out"), azimuths, "--views", views, *SMALL]) == 2
    assert "cannot name a view" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--elevation", "90.5", "an elevation is between -90 and 90 degrees"),
        ("--elevation", "nan", "an elevation is between -90 and 90 degrees"),
        ("--azimuths", "0,nan", "not numbers separated by commas"),
        ("--light", "0,inf,1", "not numbers separated by commas"),
    ],
)
def test_angles_that_are_none_are_refused_by_their_option(tmp_path, meshes, capsys, option, value, message) -> None:
    assert run(["data", "render", str(meshes), str(tmp_path / "out"), *SMALL, f"{option}={value}"]) == 2
    assert f"{option} {value}: {message}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_object_names_that_cannot_be_written_are_refused_before_the_work(tmp_path, meshes, capsys) -> None:
    (meshes / "box/m11.off").rename(meshes / "box/z\nz.off")
    assert run(["data", "render", str(meshes), str(tmp_path / "out"), *SMALL]) == 2
    assert "not usable as a split, class or object name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("kind", ["render", "shapes"])
def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path, meshes, capsys, monkeypatch, name, kind):
    def work(*arguments, **options):
        raise AssertionError("it began to work")

    monkeypatch.setattr("dimvida.data.render_jobs.render_items", work)
    inputs = [str(meshes)] if kind == "render" else []
    for place in ("/proc/dimvida", "/dev/null"):
        assert run(["data", kind, *inputs, f"{place}/{name}", *SMALL]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"{place}/{name}: cannot write here (" in error


def test_what_a_mesh_names_and_lacks_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "meshes/box"
    folder.mkdir(parents=True)
    for name in "ab":
        text = "mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl red\nf 1 2 3\n"
        (folder / f"{name}.obj").write_text(text)
    assert run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "out"), *SMALL]) == 0
    error = capsys.readouterr().err
    assert f"note: material library is missing: 2 (first: gone.mtl of {folder}/a.obj)" in error
    assert f"note: materials are not defined: 2 (first: red of {folder}/a.obj)" in error


def test_a_mesh_of_another_format_counts_as_skipped(tmp_path, meshes, capsys) -> None:
    (meshes / "box/z.fbx").write_bytes(b"Kaydara")
    assert run(["data", "render", str(meshes), str(tmp_path / "out"), *SMALL]) == 1
    assert f"skipped {meshes}/box/z.fbx: fbx meshes are not read" in capsys.readouterr().err


def test_a_changed_mesh_is_rendered_again(tmp_path: Path, meshes: Path) -> None:
    # Interrupted by a limit on the size of files, which the journal of twelve objects exceeds.
    limited = f"ulimit -f 2; exec {' '.join(command(meshes, tmp_path / 'out', *SMALL))}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written (" in done.stderr
    assert "); the same command continues what is done" in done.stderr
    before = open_source(tmp_path / "out").read_view(0, "front").pixels
    trimesh.creation.icosphere().export(meshes / "box/m00.off")
    assert run(["data", "render", str(meshes), str(tmp_path / "out"), *SMALL]) == 0
    source = open_source(tmp_path / "out")
    assert len(source) == 12
    assert (source.read_view(0, "front").pixels != before).any()
    assert not np.array_equal(source.read_view(0, "front").pixels, source.read_view(1, "front").pixels)
    assert not os.path.exists(tmp_path / "out/.unfinished.jsonl")


def test_command_renders_a_folder(tmp_path: Path) -> None:
    save_box(tmp_path / "meshes/box/a.off")
    save_box(tmp_path / "meshes/box/test/b.stl")
    arguments = ["--azimuths=0,90,180", "--views", "x,y,z", "--size", "48", "--workers", "1", "--split", "val"]
    assert run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "out.zip"), *arguments]) == 0
    source = open_source(tmp_path / "out.zip")
    assert {r.id for r in source.records} == {"val/box/a", "test/box/b"}
    assert set(source.view_names) == {"x", "y", "z"}
    assert source.read_view(0, "y").pixels.shape == (48, 48, 3)


def test_a_seed_colours_each_object_without_colours(tmp_path: Path) -> None:
    for name in "ab":
        save_box(tmp_path / f"meshes/box/{name}.off")
    common = ["--views-count", "2", "--workers", "1"]
    run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "grey.zip"), *common])
    run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "coloured.zip"), *common, "--color-seed", "1"])
    grey, coloured = open_source(tmp_path / "grey.zip"), open_source(tmp_path / "coloured.zip")
    view = grey.view_names[0]
    np.testing.assert_array_equal(grey.read_view(0, view).pixels, grey.read_view(1, view).pixels)
    assert (coloured.read_view(0, view).pixels != coloured.read_view(1, view).pixels).any()


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--skip-bad"], 0)])
def test_bad_meshes_are_skipped_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int
) -> None:
    save_box(tmp_path / "meshes/box/good.off")
    (tmp_path / "meshes/box/bad.off").write_text("OFF\n3 1 0\n")
    (tmp_path / "meshes/box/flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    assert run(["data", "render", str(tmp_path / "meshes"), str(tmp_path / "out"), "--workers", "2", *options]) == code
    printed = capsys.readouterr()
    assert "bad.off: cannot be read" in printed.err
    assert "flat.off: the mesh has no area" in printed.err
    assert "1 objects" in printed.out and "2 skipped" in printed.out
    assert [r.name for r in open_source(tmp_path / "out").records] == ["good"]


def test_command_refuses_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_box(tmp_path / "meshes/box/a.off")
    meshes, output = str(tmp_path / "meshes"), str(tmp_path / "out")
    for arguments, word in [
        ([str(tmp_path / "none"), output], "none"),
        ([meshes, output, "--up", "x"], "--up"),
        ([meshes, output, "--azimuths", "a"], "--azimuths"),
        ([meshes, output, "--azimuths", "0", "--views-count", "3"], "--views-count"),
        ([meshes, output, "--views", "a,b"], "one name each"),
        ([meshes, meshes], "not an empty folder"),
    ]:
        assert run(["data", "render", *arguments]) == 2
        assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
