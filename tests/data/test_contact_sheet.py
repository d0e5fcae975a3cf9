from __future__ import annotations

import numpy as np
import pytest
from helpers.objects import VIEWS
from PIL import Image

from dimvida.data.contact_sheet import SheetRow, Tile, draw_contact_sheet, save_contact_sheet
from dimvida.data.sheets import compared_rows
from dimvida.errors import InputError

ORANGE, BLUE, GRAY = (0xD9, 0x5F, 0x02), (0x2B, 0x6C, 0xB0), (0x9A, 0x9A, 0x9A)


def solid(color: tuple[int, int, int], size: int = 64) -> np.ndarray:
    return np.full((size, size, 3), color, np.uint8)


def drawn(rows, **options) -> np.ndarray:
    return np.asarray(draw_contact_sheet(rows, **{"header": "", **options}))


def count(sheet: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((sheet == color).all(axis=-1).sum())


def row(kinds: str, title: str = "object", color=(1, 2, 3), captions=VIEWS, size: int = 64) -> SheetRow:
    words = {"g": "given", "n": "generated", "t": "true", "m": "missing"}
    tiles = [
        Tile(None if kind == "m" else solid(color, size), caption, words[kind])
        for kind, caption in zip(kinds, captions, strict=False)
    ]
    return SheetRow(title, tiles)


def test_every_picture_is_shown_whole():
    sheet = drawn([row("gnnn"), row("ngnn")])
    # 64 pixels are doubled; frames are outside the pictures.
    assert count(sheet, (1, 2, 3)) == 8 * 128 * 128
    assert sheet.dtype == np.uint8


@pytest.mark.parametrize(("size", "shown"), [(16, 128), (32, 128), (48, 96), (64, 128), (128, 128), (500, 128)])
def test_pictures_of_every_size_are_legible(size, shown):
    assert count(drawn([row("nn", size=size)]), (1, 2, 3)) == 2 * shown**2


@pytest.mark.parametrize(("views", "rows"), [(2, 1), (12, 1), (13, 2), (24, 2)])
def test_true_views_are_beside_few_views_and_below_many(views: int, rows: int):
    names = [f"view{number:02d}" for number in range(views)]
    tiles = [Tile(solid((1, 2, 3)), name, "generated") for name in names]
    tiles[0] = Tile(solid((9, 9, 9)), names[0], "given")
    true = [None, *(Tile(solid((4, 5, 6)), name, "true") for name in names[1:])]
    made = compared_rows("object", tiles, true)
    assert len(compared_rows("object", tiles, [None] * views)) == 1
    assert len(made) == rows
    sheet = drawn(made)
    size = 64 if views == 24 or len(made[0].tiles) > 12 else 128
    assert count(sheet, (1, 2, 3)) == count(sheet, (4, 5, 6)) == (views - 1) * size**2
    assert count(sheet, (9, 9, 9)) == rows * size**2
    if rows == 2:  # each below its own
        columns = [np.flatnonzero((sheet == colour).all(-1).any(0)) for colour in ((1, 2, 3), (4, 5, 6))]
        assert np.array_equal(*columns)


def test_gray_pictures_are_drawn_like_those_of_three_equal_channels():
    gray = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 16
    rows = [[SheetRow("x", [Tile(np.repeat(gray, repeats, axis=2), "front", "true")])] for repeats in (1, 3)]
    assert np.array_equal(*(drawn(rows) for rows in rows))


def test_many_columns_get_smaller_pictures():
    tiles = [Tile(solid((1, 2, 3)), str(view), "true") for view in range(24)]
    sheet = drawn([SheetRow("x", tiles)])
    assert count(sheet, (1, 2, 3)) == 24 * 64 * 64


def test_small_pictures_are_enlarged_by_a_whole_factor():
    assert count(drawn([row("nn", size=10)]), (1, 2, 3)) == 2 * 120 * 120


def test_given_views_have_a_thick_frame_and_a_label():
    none, one, two = (count(drawn([row(kinds)]), ORANGE) for kinds in ("nnnn", "gnnn", "ggnn"))
    frame = 136 * 136 - 128 * 128
    label = 136 * 15 - 300  # without the letters
    assert none == 0
    assert two - one > frame + label
    # The legend has a small frame too.
    assert one > two - one


def test_kinds_have_frames_of_their_own():
    sheet = drawn([row("gntm")])
    assert count(sheet, ORANGE) > count(sheet, BLUE) > count(sheet, GRAY) > 128 * 4


def test_true_views_stand_apart():
    together = drawn([row("nn")]).shape[1]
    apart = drawn([row("nt")]).shape[1]
    assert apart - together == 20


def test_without_anything_to_tell_apart_there_is_no_legend():
    # Rows of true views alone save the legend's line and the labels.
    assert drawn([row("tttt")]).shape[0] == drawn([row("nnnn")]).shape[0] - 26


def test_shared_captions_are_written_once_above():
    shared = drawn([row("nn"), row("nn")])
    several = drawn([row("nn"), row("nn", captions=("back", "left"))])
    # A line below every row instead of one above all.
    assert several.shape[0] - shared.shape[0] == 2 * 18 - 22


def test_missing_views_are_drawn_empty():
    sheet = drawn([row("nm")])
    assert count(sheet, (1, 2, 3)) == 128 * 128
    assert count(sheet, (0xF4, 0xF4, 0xF4)) > 120 * 120


def test_rows_may_differ_in_length():
    assert count(drawn([row("gnn"), row("g")]), (1, 2, 3)) == 4 * 128 * 128


def test_other_shapes_keep_their_aspect():
    tile = Tile(np.full((32, 64, 3), (1, 2, 3), np.uint8), "front", "true")
    assert count(drawn([SheetRow("x", [tile])]), (1, 2, 3)) == 128 * 64


def test_long_titles_are_elided():
    long, longer = (drawn([row("nn", title="object_" * count)]) for count in (10, 1000))
    assert long.shape == longer.shape
    # No letter reaches the pictures: below the legend they look as without titles.
    narrow = drawn([row("nn", title="")])
    assert long.shape[1] - narrow.shape[1] == 212
    assert np.array_equal(long[40:, 12 + 216 :], narrow[40:, 16:])


def test_long_headers_are_wrapped():
    one, many = (drawn([row("nn")], header="word " * count) for count in (1, 100))
    assert many.shape[0] > one.shape[0] + 100
    assert many.shape[1] == one.shape[1]


def test_titles_of_two_lines():
    assert not np.array_equal(drawn([row("nn", title="a\nb")]), drawn([row("nn", title="a")]))


def test_same_input_same_sheet():
    rows = [row("gnnn"), row("ngtm")]
    assert np.array_equal(drawn(rows, header="x"), drawn(rows, header="x"))


@pytest.mark.parametrize("rows", [[], [SheetRow("x", [])]])
def test_nothing_to_draw(rows):
    with pytest.raises(ValueError, match="needs rows"):
        draw_contact_sheet(rows, header="x")


@pytest.mark.parametrize(
    ("image", "kind"), [(None, "other"), (np.zeros((4, 4, 3)), "true"), (np.zeros((4, 4), np.uint8), "true")]
)
def test_unusable_tiles(image, kind):
    with pytest.raises(ValueError, match=r"is not one of|not uint8"):
        Tile(image, "front", kind)


def test_saved_sheet_is_the_drawn_one(tmp_path):
    sheet = draw_contact_sheet([row("gn")], header="x")
    save_contact_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(sheet))
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize("name", ["gone/sheet.png", "sheet.unknown", "sheet"])
def test_sheet_that_cannot_be_saved(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name}: (cannot be written|unknown image format)"):
        save_contact_sheet(draw_contact_sheet([row("gn")], header="x"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_sheet_can_be_made(tmp_path):
    save_contact_sheet(draw_contact_sheet([row("gn")], header="x"), tmp_path / "a" / "b" / "sheet.png", parents=True)
    assert (tmp_path / "a" / "b" / "sheet.png").stat().st_size > 0
