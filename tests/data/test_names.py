"""One rule says what a view may be called."""

from __future__ import annotations

import pytest

from dimvida.data.names import VIEW_NAME_LIMIT, split_of_file
from dimvida.data.opening import open_source
from dimvida.data.render import RenderSettings
from dimvida.errors import InputError


@pytest.mark.parametrize(
    "view", ["_x", "a__b", "__", "x.", ".x", "x" * (VIEW_NAME_LIMIT + 1), "a,b", "a(1)", "\u00e9" * 30]
)
def test_names_that_no_view_can_have_anywhere(make, tmp_path, view):
    png = make.png()
    by_folder = make.folder(tmp_path / "folder", {f"chair/{o}/{v}.png": png for o in "ab" for v in ("front", view)})
    by_metadata = make.folder(
        tmp_path / "single",
        {"chair/a.png": png, "metadata.jsonl": make.lines({"file_name": "chair/a.png", "view": view})},
    )
    for path, options in ((by_folder, {}), (by_metadata, {}), (by_folder.parent / "option", {"view": view})):
        make.folder(tmp_path / "option", {"chair/a.png": png})
        with pytest.raises(InputError, match=r"cannot name a view|hidden|only one view"):
            open_source(path, **options)
    with pytest.raises(InputError, match="cannot name a view"):
        RenderSettings(azimuths=(0.0, 90.0), names=("front", view))


@pytest.mark.parametrize("view", ["x_", "view 1", "0000", "left+up", "a.b", "caf\u00e9", "x" * VIEW_NAME_LIMIT])
def test_names_that_views_can_have(make, tmp_path, view):
    files = {f"chair/{o}/{v}.png": make.png() for o in "ab" for v in ("front", view)}
    assert set(open_source(make.folder(tmp_path / "set", files)).view_names) == {"front", view}
    generated = {f"chair/a__{view}.png": make.png()}
    assert open_source(make.folder(tmp_path / "out", generated)).records[0].views == (view,)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00004.parquet", "train"), ("data/odd.one-00000-of-00004.parquet", "odd.one"),
        ("test/0000.parquet", "test"), ("default/validation/0000.parquet", "validation"), ("shapes_val.tar", "val"),
        ("Test.parquet", "Test"), ("train-003.tar", "train"), ("training.parquet", "training"),
        ("contest-00.tar", ""), ("shard-000000.tar", ""), ("part-0.parquet", ""),
    ],
)  # fmt: skip
def test_splits_of_files_are_found_as_datasets_does(name, split):
    assert split_of_file(name) == split
