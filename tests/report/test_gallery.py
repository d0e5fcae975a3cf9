"""Galleries of generated views: what they hold, that no name is markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.objects import VIEWS
from PIL import Image

from dimvida.report import gallery
from dimvida.report.writing import escape

from .conftest import write_output

EVIL = "<script>alert(1)<script>"
CLASSES = {"chair": [f"c{place:03d}" for place in range(60)], EVIL: ["x", "y&amp;"], "Tür & Öl": ["ä\u2028ö"]}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write_output(tmp_path / "views", CLASSES)


@pytest.fixture
def room(report, output: Path) -> Path:
    """The gallery of an output."""
    return report(output).folder / "gallery" / "views"


def value(path: Path) -> object:
    """What a script hands over, which is ASCII and one statement."""
    text = path.read_bytes().decode("ascii")
    assert text.count("\n") == 1
    return json.loads(
        re.fullmatch(r"(?:const overview = |allNames\.push\(\.\.\.|arrived\.set\(\d+, )(.*?)\)?;\n", text)[1]
    )


class Elements(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_pages_hold_objects_of_one_class_and_their_pictures(room: Path, output: Path):
    overview = value(room / "overview.js")
    assert overview["classes"] == [[EVIL, 0, 2], ["Tür & Öl", 1, 1], ["chair", 2, 60]]
    assert (overview["views"], overview["perPage"], overview["edge"]) == (list(VIEWS), 48, 16)
    names = value(room / "names.js")
    assert [len(page) for page in names] == [2, 1, 48, 12]
    for number, page in enumerate(names):
        assert value(room / f"{number:05d}.js") == [[name, "1222"] for name in page]
        sheet = np.asarray(Image.open(room / f"{number:05d}.webp").convert("RGB")).astype(int)
        rows = -(-len(page) * 4 // overview["columns"])
        assert sheet.shape == (rows * 16, overview["columns"] * 16, 3)
        for row, name in enumerate(page):
            folder = list(CLASSES).index(name.rpartition("/")[0])
            for place, view in enumerate(VIEWS):
                y, x = divmod(row * 4 + place, overview["columns"])
                drawn = sheet[y * 16 + 4 : y * 16 + 12, x * 16 + 4 : x * 16 + 12].mean((0, 1))
                own = np.asarray(Image.open(output / f"class{folder}" / f"{name.rpartition('/')[2]}__{view}.png"))
                assert np.abs(drawn - own[0, 0]).max() < 12, (name, view)


def test_names_are_text_everywhere(room: Path):
    page = Elements((room / "index.html").read_text(encoding="utf-8"))
    assert [values.get("src") for tag, values in page.tags if tag == "script"] == ["overview.js", "gallery.js"]
    assert not [tag for tag, _ in page.tags if tag in ("b", "i")]
    for text in (EVIL, "Tür & Öl", "<b>bad</b>.png: damaged <i>or</i> truncated", "stray.png: beside the classes"):
        assert text in page.text
    assert not [name for _, values in page.tags for name in values if name.startswith("on")]
    policy = next(values["content"] for tag, values in page.tags if "http-equiv" in values)
    assert "default-src 'none'" in policy and "script-src 'self' file:;" in policy
    scripts = (room / "gallery.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch|XMLHttp|https?:", scripts)


def test_draws_are_told_from_objects(report, output: Path):
    path = output / "generation.json"
    generation = json.loads(path.read_bytes())
    generation["configuration"]["samples_per_view"] = 4
    path.write_text(json.dumps(generation), encoding="utf-8")
    text = Elements((report(output).folder / "gallery/views/index.html").read_text(encoding="utf-8")).text
    assert "of objects: 63. Below, each of the 4 draws of an object is one." in text


def test_counts_skips_and_notes_are_said(room: Path, report, output: Path):
    text = Elements((room / "index.html").read_text(encoding="utf-8")).text
    for said in ("Generated views: 189, of objects: 63.", "2 skipped files", "1 × beside the classes"):
        assert said in text
    assert "2 objects left out: all of its views are known" in text and "resized to 16 x 16: 7 images" in text
    folder = room.parents[1]
    page = Elements((folder / "report.html").read_text(encoding="utf-8"))
    assert ("a", {"class": "door", "href": "gallery/views/index.html"}) in page.tags
    assert "views: 2 left out" in page.text and "[Look through views](gallery/views/index.html)" in (
        folder / "report.md"
    ).read_text(encoding="utf-8")
    assert escape("<b>bad</b>.png") not in page.text and "<b>bad</b>.png" in page.text
    (run,) = json.loads((folder / "report.json").read_bytes())["runs"]
    assert (run["result"], run["content"]["report"]["objects"]) == ("generated", 63)


def test_the_same_output_gives_the_same_bytes_and_leaves_nothing_of_another(report, output: Path, room: Path):
    before = {path.name: path.read_bytes() for path in room.iterdir()}
    (room / "00099.js").write_text("")
    (room / "notes.txt").write_text("mine")
    report(output)
    after = {path.name: path.read_bytes() for path in room.iterdir()}
    assert after.pop("notes.txt") == b"mine" and after == before


def test_a_large_output_is_shown_in_part_and_says_so(report, output: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "MOST_PICTURES", 40)
    room = report(output).folder / "gallery" / "views"
    assert sum(count for _, _, count in value(room / "overview.js")["classes"]) == 10
    assert "Shown are 10 of 63, at even distances" in (room / "index.html").read_text(encoding="utf-8")


def test_given_views_come_from_the_data_if_asked(report, tmp_path: Path):
    output = write_output(tmp_path / "views", {"chair": ["a", "b"]}, include_known=False)
    data = tmp_path / "data" / "chair"
    data.mkdir(parents=True)
    Image.new("RGB", (30, 20), (250, 10, 10)).save(data / "a.png")
    room = report(output).folder / "gallery" / "views"
    assert value(room / "overview.js")["views"] == list(VIEWS[1:])
    assert value(room / "00000.js") == [["chair/a", "222"], ["chair/b", "222"]]
    assert "Every view shown was generated" in Elements((room / "index.html").read_text(encoding="utf-8")).text
    report(output, options=["--data", str(data.parent), "--view", "front"])
    assert value(room / "00000.js") == [["chair/a", "1222"], ["chair/b", "0222"]]
    red = np.asarray(Image.open(room / "00000.webp").convert("RGB"))[8, 8]
    assert red[0] > 230 and red[1] < 40


def test_damaged_pictures_are_left_out(report, output: Path):
    (output / "class2" / "ä\u2028ö__back.png").write_bytes(b"")
    room = report(output).folder / "gallery" / "views"
    assert value(room / "00001.js") == [["Tür & Öl/ä\u2028ö", "1202"]]


def test_outputs_that_are_not_finished_or_damaged(output: Path, dimvida_refuses):
    counts = (output / "report.json").read_bytes()
    (output / "report.json").unlink()
    assert "not finished, it has no report.json; the command that began it continues" in dimvida_refuses(output)
    (output / "report.json").write_text("{}")
    assert "generation.json or report.json is damaged" in dimvida_refuses(output)
    (output / "report.json").write_bytes(counts)
    (output / "generation.json").write_text('{"configuration": {}}')
    assert "generation.json or report.json is damaged" in dimvida_refuses(output)
    assert "give that, too" in dimvida_refuses(output, "--view", "front")


@pytest.fixture
def dimvida_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from dimvida.cli.app import run

    def call(*arguments: object) -> str:
        assert run(["report", *map(str, arguments), "--out", str(tmp_path / "refused")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return call
