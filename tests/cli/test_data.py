from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dimvida.cli.data import app, summarise
from dimvida.data.partitions import load_partitions
from dimvida.errors import InputError


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs ``dimvida data ...`` in an empty folder and gives exit code and standard output."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: object) -> tuple[int, str]:
        code = app([str(argument) for argument in arguments], standalone_mode=False)
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def path(make, tmp_path):
    files = make.multi_view({"chair": 10, "table": 5}, "train") | make.multi_view({"chair": 5}, "test", start=15)
    return make.zip(tmp_path / "views.zip", files)


def test_inspect(run, path):
    code, output = run("inspect", path)
    assert code == 0
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[0] == str(path)
    assert "form zip" in lines
    assert "objects 20" in lines
    assert "views front 20, right 20, back 20, left 20" in lines
    assert "images 8 x 8 (all 80 looked at)" in lines
    assert "class train test objects" in lines
    assert "chair 10 5 15" in lines
    assert "table 5 0 5" in lines
    assert "2 classes 15 5 20" in lines
    assert "unreadable: none of 80" in lines
    assert lines[-1] == "contact sheet: views-sheet.png"
    assert all(len(line) <= 80 for line in output.splitlines()[1:])
    with Image.open("views-sheet.png") as sheet:
        # Eight rows of a 128-pixel picture.
        assert sheet.height > 8 * 128
        assert sheet.width > 4 * 128


@pytest.mark.parametrize("below", ["", "cat"])
def test_the_sheet_is_no_image_of_the_data(run, make, tmp_path, monkeypatch, below):
    data = make.folder(tmp_path / "pets", {f"cat/{number}.png": make.png() for number in range(3)})
    monkeypatch.chdir(data / below)
    for _ in range(2):
        code, output = run("inspect", data, "--view", "front")
        assert code == 0
        assert "views front 3" in " ".join(output.split())
        assert output.endswith(f"contact sheet: {tmp_path}/pets-sheet.png\n")
    with pytest.raises(InputError, match=r"--sheet sheet\.png: is inside the input"):
        run("inspect", data, "--view", "front", "--sheet", "sheet.png")
    assert len(list(data.rglob("*.png"))) == 3


def test_inspect_one_split_with_a_sheet_of_its_own(run, path):
    code, output = run("inspect", path, "--split", "test", "--sheet", "pictures.png", "--rows", 1)
    assert code == 0
    assert [entry.name for entry in Path().iterdir()] == ["pictures.png"]
    assert "contact sheet: pictures.png" in output
    with Image.open("pictures.png") as sheet:
        assert sheet.height < 2 * 128 + 64


def test_the_sample_sheet_is_called_after_the_sample(run):
    code, output = run("inspect", "sample", "--rows", 1)
    assert (code, output.splitlines()[-1]) == (0, "contact sheet: sample-sheet.png")
    assert Path("sample-sheet.png").stat().st_size > 0


def test_inspect_as_json(run, path):
    code, output = run("inspect", path, "--json", "--rows", 0)
    assert code == 0
    report = json.loads(output)
    assert report["path"] == str(path)
    assert (report["form"], report["objects"], report["images"], report["decoded"]) == ("zip", 20, 80, 80)
    assert report["views"] == {"front": 20, "right": 20, "back": 20, "left": 20}
    assert report["classes"] == {"chair": {"test": 5, "train": 10}, "table": {"train": 5}}
    assert report["splits"] == ["train", "test"]
    assert report["sizes"] == {"8 x 8": 80}
    assert (report["unreadable"], report["left_out"], report["sheet"]) == ([], [], None)
    assert report["cameras"] is None
    assert list(Path().iterdir()) == []


def test_inspect_shows_cameras(run, make, tmp_path):
    cameras = {"front": {"azimuth": 0, "elevation": 30}, "side": {"azimuth": -22.5, "elevation": -5}}
    files = {f"chair/{name}/{view}.png": make.png() for name in "ab" for view in cameras}
    folder = make.folder(tmp_path / "chairs", {**files, "cameras.json": json.dumps(cameras)})
    assert json.loads(run("inspect", folder, "--json", "--rows", 0)[1])["cameras"] == cameras
    output = " ".join(run("inspect", folder, "--rows", 0)[1].split())
    assert "cameras front 0/30, side -22.5/-5 (azimuth/elevation)" in output


def test_inspect_checks_every_image(run, make, tmp_path):
    files = {f"cat/{number:04d}.png": make.png() for number in range(300)} | {"cat/0006.png": b"no image"}
    folder = make.folder(tmp_path / "cats", files)
    code, output = run("inspect", folder, "--view", "front")
    assert code == 0
    assert "unreadable: none of 256; --check looks at every image" in output
    code, output = run("inspect", folder, "--view", "front", "--check")
    assert code == 1
    assert "unreadable: 1 of 300" in output
    assert f"{folder}/cat/0006.png: not an image" in output


def test_inspect_shows_what_is_unusual(run, make, tmp_path):
    files = make.multi_view({"a[b]": 2}) | {
        "stray.png": make.png(),
        "a[b]/x/front.png": make.encode(make.pixels(0, 9, 7)[..., 0]),
    }
    code, output = run("inspect", make.folder(tmp_path / "set", files))
    assert code == 1
    flat = " ".join(output.split())
    assert "1 objects with 1, 2 objects with 4 views" in flat
    assert "8 x 8: 8, 7 x 9: 1" in flat
    assert "converted grayscale converted to RGB" in flat
    assert "note left out: 1 file, at another depth than most images (first: stray.png)" in flat
    assert "a[b] 3" in flat


def test_counts(source):
    summary = summarise(source, 10)
    assert summary.views == {"front": 36, "right": 35, "back": 36, "left": 36}
    assert summary.views_per_object == {3: 1, 4: 35}
    assert summary.classes == {"chair": {"test": 4, "train": 30}, "table": {"train": 2}}
    assert summary.image_count == 143
    assert summary.decoded == 10
    assert summary.sizes == {"8 x 8": 10}


def test_every_image_is_looked_at(source):
    done = []
    summary = summarise(source, None, done.append)
    assert summary.decoded == 143
    assert done == list(range(1, 144))
    assert summary.sizes == {"8 x 8": 141, "6 x 4": 1}
    assert summary.conversions == {"grayscale converted to RGB": 1}
    ((location, reason),) = summary.unreadable
    assert location.endswith("train/chair/chair_0002/left.png")
    assert reason.startswith("not an image")


def test_a_sample_is_spread_over_the_set(source, monkeypatch):
    seen, read_view = [], source.read_view
    monkeypatch.setattr(source, "read_view", lambda index, view: seen.append(index) or read_view(index, view))
    assert summarise(source, 20).decoded == 20
    assert len(set(seen)) == 20
    assert seen[0] == 0
    assert seen[-1] >= 33


def test_inspect_bad_input(run, tmp_path, path):
    with pytest.raises(InputError, match="nowhere: no such file"):
        run("inspect", tmp_path / "nowhere")
    with pytest.raises(InputError, match="no split 'val'; it has test, train"):
        run("inspect", path, "--split", "val")
    with pytest.raises(InputError, match=r"gone/sheet\.png: cannot be written"):
        run("inspect", path, "--sheet", "gone/sheet.png")


def test_inspect_real_data(run, modelnet_zip):
    code, output = run("inspect", modelnet_zip)
    assert code == 0
    assert "10 classes 3727 626 4353" in " ".join(output.split())
    assert Path("modelnet10_views-sheet.png").stat().st_size > 10_000


def test_partition(run, path):
    code, output = run("partition", path, "--out", "p.json", "--seed", 4)
    assert code == 0
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "chair 9 3 3" in lines
    assert "table 3 1 1" in lines
    assert "all 12 4 4" in lines
    assert lines[-1] == "partitions: p.json"
    partitions = load_partitions("p.json")
    assert (partitions.seed, partitions.source, len(partitions.d)) == (4, "views.zip", 12)


def test_partition_of_one_split_by_other_fractions(run, path):
    run("partition", path, "--out", "p.json", "--split", "train", "--fractions", "0.2,0,0.8")
    partitions = load_partitions("p.json")
    assert [len(partitions.part(part)) for part in "dce"] == [3, 0, 12]
    assert all(identity.startswith("train/") for identity in partitions.e)


def test_partition_keeps_an_existing_file(run, path):
    run("partition", path, "--out", "p.json")
    before = Path("p.json").read_bytes()
    with pytest.raises(InputError, match=r"--out p\.json: exists; choose another name or give --overwrite"):
        run("partition", path, "--out", "p.json", "--seed", 1)
    assert Path("p.json").read_bytes() == before
    run("partition", path, "--out", "p.json", "--overwrite")
    assert Path("p.json").read_bytes() == before
    run("partition", path, "--out", "p.json", "--seed", 1, "--overwrite")
    assert Path("p.json").read_bytes() != before


@pytest.mark.parametrize("fractions", ["a,b,c", "0.5,0.5", "1,1,1", ""])
def test_partition_with_unusable_fractions(run, path, fractions):
    with pytest.raises(InputError, match="fractions"):
        run("partition", path, "--out", "p.json", "--fractions", fractions)
    assert not Path("p.json").exists()
