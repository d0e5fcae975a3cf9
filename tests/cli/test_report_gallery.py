"""``dimvida report`` of what ``dimvida generate`` really wrote, in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
