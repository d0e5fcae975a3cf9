"""``dimvida report`` of what ``dimvida generate`` really wrote, in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.objects import tree
from helpers.servers import s3_server
from PIL import Image

from dimvida.generation.formats import FORMATS


@pytest.mark.parametrize("form", FORMATS)
def test_a_gallery_of_every_form(dimvida, generation, objects: Path, tmp_path: Path, form: str):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "views"
    arguments = generation(objects, out, "--view", "front,left", "--format", form, "--include-known")
    assert dimvida(*arguments).code == 0
    result = dimvida("report", out, "--out", tmp_path / "report")
    assert (result.code, result.out) == (0, f"report: {tmp_path / 'report' / 'report.html'}\n"), result.err
    room = tmp_path / "report" / "gallery" / "views"
    assert (room / "overview.js").read_text().endswith('"classes":[["chair",0,2],["table",1,1]]};\n')
    assert (room / "00000.js").read_text() == 'arrived.set(0, [["chair/a","1221"],["chair/b","1221"]]);\n'
    assert (room / "00001.js").read_text() == 'arrived.set(1, [["table/c","1221"]]);\n'
    with Image.open(room / "00001.webp") as sheet, Image.open(objects / "table" / "c" / "front.png") as front:
        tile, own = (np.asarray(picture.convert("RGB")).astype(int) for picture in (sheet.crop((0, 0, 16, 16)), front))
    assert np.abs(tile.mean((0, 1)) - own.mean((0, 1))).max() < 12


def test_an_output_in_a_bucket_has_the_report_of_a_folder(
    dimvida, generation, fronts: Path, tmp_path: Path, monkeypatch
):
    pytest.importorskip("s3fs")
    out = tmp_path / "views"
    assert dimvida(*generation(fronts, out, "--view", "front", "--format", "webdataset")).code == 0
    assert dimvida("report", out, "--out", tmp_path / "local").code == 0
    with s3_server(monkeypatch) as system:
        system.mkdir("bucket")
        system.put(f"{out}/", "bucket/some/views", recursive=True)
        url = "s3://bucket/some/views"
        result = dimvida("report", "--paper", f"{url}/", "--out", tmp_path / "remote")
        assert result.code == 0, result.err
        assert tree(tmp_path / "remote") == tree(tmp_path / "local")
        system.rm("bucket/some/views/report.json")
        refusal = dimvida("report", url, "--out", tmp_path / "remote").refusal()
        assert f"{url}: not finished, it has no report.json; the command that began it continues" in refusal
        system.rm("bucket/some/views/generation.json")
        refusal = dimvida("report", url, "--out", tmp_path / "remote").refusal()
        assert f"{url}: not an output of dimvida generate; it has no generation.json" in refusal
