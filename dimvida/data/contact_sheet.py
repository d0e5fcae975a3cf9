"""Contact sheets: rows of views side by side, with given, generated and true views told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dimvida.data.images import to_picture
from dimvida.errors import InputError
from dimvida.files import atomic_path

TILE_KINDS = ("given", "generated", "true", "missing")
WIDE = 12
"""Most columns of a sheet whose pictures have their full size; those of a wider one are smaller."""


@dataclass(frozen=True)
class Tile:
    """One picture of a row.

    Attributes:
        image: uint8 ``[H, W, 3]``, gray ``[H, W, 1]``, or None for an empty place.
        caption: The view's name.
        kind: "given", "generated", "true" (for comparison) or "missing".
    """

    image: np.ndarray | None
    caption: str
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in TILE_KINDS:
            raise ValueError(f"kind {self.kind!r} is not one of {', '.join(TILE_KINDS)}")
        if self.image is not None and (self.image.dtype != np.uint8 or self.image.shape[2:] not in ((1,), (3,))):
            raise ValueError(f"image is {self.image.dtype} {list(self.image.shape)}, not uint8 [H, W, 1 or 3]")


@dataclass(frozen=True)
class SheetRow:
    """One object: a title (lines divided by newlines, "" for none) and its tiles."""

    title: str
    tiles: Sequence[Tile] = field(default_factory=tuple)


def draw_contact_sheet(rows: Sequence[SheetRow], *, header: str) -> Image.Image:
    """Draw rows of tiles under a header and a legend.

    Pictures are about 128 pixels wide, or 64 where there are more than 12 in a row.
    Given views have a coloured frame and a label, so that they stand out without colour too. Captions
    are written once above a column when all its tiles share theirs, otherwise below each tile.

    Args:
        rows: At least one, each with at least one tile; rows may differ in length.
        header: Text above everything, wrapped to the sheet's width.

    Returns:
        RGB image.

    Raises:
        ValueError: No rows or no tiles.
    """
    if not rows or not all(row.tiles for row in rows):
        raise ValueError("a contact sheet needs rows, and every row tiles")
    return _Sheet(rows, header).draw()


def save_contact_sheet(sheet: Image.Image, path: str | Path, *, parents: bool = False) -> None:
    """Write a sheet in the format of the path's suffix, atomically.

    Args:
        sheet: The sheet, as :func:`draw_contact_sheet` returns it.
        path: The file to write.
        parents: Make the folders around it where they are missing.

    Raises:
        InputError: The suffix is unknown or the place cannot be written.
    """
    try:
        if parents:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            sheet.save(temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{path}: unknown image format; name it .png or .jpg") from error


_INK = "#1a1a1a"
_FAINT = "#6b6b6b"
_RULE = "#d0d0d0"
# Orange and blue are told apart with every common colour blindness.
_FRAMES = {
    "given": ("#d95f02", 4),
    "generated": ("#9a9a9a", 1),
    "true": ("#2b6cb0", 2),
    "missing": (_RULE, 1),
}
_MARGIN = 16
_FRAME = 4  # room for the thickest
_GAP = 8  # between columns
_GROUP_GAP = 28  # between the generated columns and the true ones
_TITLE_WIDTH = 200  # at most
_LABEL_HEIGHT = 18


class _Sheet:
    """Measures first, then draws."""

    def __init__(self, rows: Sequence[SheetRow], header: str) -> None:
        self._rows = rows
        self._header_font = ImageFont.load_default(19)
        self._font = ImageFont.load_default(14)
        self._small = ImageFont.load_default(12)
        self._columns = max(len(row.tiles) for row in rows)
        self._tile = self._tile_size()
        self._captions = self._column_captions()
        used = {tile.kind for row in rows for tile in row.tiles}
        # Where all are true there is nothing to tell apart.
        self._kinds = [kind for kind in TILE_KINDS if kind in used] if used != {"true"} else []
        self._labels = any(self._label(tile) for row in rows for tile in row.tiles)

        titles = [line for row in rows for line in row.title.split("\n")]
        widest = max(self._font.getlength(line[:_TITLE_WIDTH]) for line in titles)
        self._title_width = min(_TITLE_WIDTH, int(widest) + 1)
        self._x = self._column_positions()
        self._width = self._x[-1] + self._tile + 2 * _FRAME + _MARGIN
        self._header = _wrap(header, self._header_font, self._width - 2 * _MARGIN)

    def draw(self) -> Image.Image:
        row_height = self._tile + 2 * _FRAME + (_LABEL_HEIGHT if self._labels else 0) + _GAP
        legend_top = _MARGIN + 25 * len(self._header)
        captions_top = legend_top + (30 if self._kinds else 4)
        rows_top = captions_top + (22 if self._captions else 0)
        height = rows_top + row_height * len(self._rows) + _MARGIN - _GAP
        sheet = Image.new("RGB", (self._width, height), "white")
        draw = ImageDraw.Draw(sheet)

        for number, line in enumerate(self._header):
            draw.text((_MARGIN, _MARGIN - 4 + 25 * number), line, fill=_INK, font=self._header_font)
        self._draw_legend(draw, legend_top)
        for x, caption in zip(self._x, self._captions, strict=False):
            self._centred(draw, x, captions_top, caption, self._font, _INK)
        for number, row in enumerate(self._rows):
            self._draw_row(sheet, draw, row, rows_top + number * row_height)
        return sheet

    def _tile_size(self) -> int:
        images = [tile.image for row in self._rows for tile in row.tiles if tile.image is not None]
        edge = max((max(image.shape[:2]) for image in images), default=64)
        target = 128 if self._columns <= WIDE else 64
        # Whole factors keep small pictures even.
        return edge * (target // edge) if edge <= target else target

    def _column_captions(self) -> list[str]:
        """The captions of all columns, or nothing if one has several."""
        captions = []
        for column in range(self._columns):
            distinct = {row.tiles[column].caption for row in self._rows if column < len(row.tiles)}
            if len(distinct) > 1:
                return []
            captions.append(distinct.pop())
        return captions

    def _column_positions(self) -> list[int]:
        x = _MARGIN + (self._title_width + 12 if self._title_width > 1 else 0)
        positions, last = [], None
        for column in range(self._columns):
            kinds = {row.tiles[column].kind for row in self._rows if column < len(row.tiles)}
            comparison = "true" in kinds and kinds <= {"true", "missing"}
            if last is not None:
                x += self._tile + 2 * _FRAME + (_GAP if comparison == last else _GROUP_GAP)
            positions.append(x)
            last = comparison
        return positions

    def _draw_legend(self, draw: ImageDraw.ImageDraw, top: int) -> None:
        x = _MARGIN
        for kind in self._kinds:
            colour, width = _FRAMES[kind]
            draw.rectangle((x, top, x + 15, top + 15), outline=colour, width=width)
            x += 22
            draw.text((x, top + 7), kind, fill=_INK, font=self._font, anchor="lm")
            x += int(self._font.getlength(kind)) + 22

    def _draw_row(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, row: SheetRow, top: int) -> None:
        lines = row.title.split("\n")
        middle = top + _FRAME + self._tile / 2 - 10 * (len(lines) - 1)
        for number, line in enumerate(lines):
            text = _elide(line, self._font, self._title_width)
            ink = _INK if number == 0 else _FAINT
            draw.text((_MARGIN, middle + 20 * number), text, fill=ink, font=self._font, anchor="lm")
        for x, tile in zip(self._x, row.tiles, strict=False):
            self._draw_tile(sheet, draw, tile, x, top)

    def _draw_tile(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, x: int, y: int) -> None:
        left, top = x + _FRAME, y + _FRAME
        colour, width = _FRAMES[tile.kind]
        # The frame is outside the picture and hides nothing of it.
        outer = (left - width, top - width, left + self._tile - 1 + width, top + self._tile - 1 + width)
        draw.rectangle(outer, outline=colour, width=width)
        if tile.image is None:
            self._draw_absent(draw, left, top)
        else:
            sheet.paste(self._fit(tile.image), (left, top))
        label = self._label(tile)
        if label:
            self._draw_label(draw, x, top + self._tile + _FRAME, label, tile.kind)

    def _draw_absent(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        right, bottom = left + self._tile - 1, top + self._tile - 1
        draw.rectangle((left, top, right, bottom), fill="#f4f4f4")
        draw.line((left, top, right, bottom), fill=_RULE)
        draw.line((left, bottom, right, top), fill=_RULE)

    def _fit(self, image: np.ndarray) -> Image.Image:
        picture = to_picture(image)
        factor = self._tile / max(picture.size)
        size = tuple(max(1, round(edge * factor)) for edge in picture.size)
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        if picture.size == (self._tile, self._tile):
            return picture
        square = Image.new("RGB", (self._tile, self._tile), "white")
        square.paste(picture, ((self._tile - size[0]) // 2, (self._tile - size[1]) // 2))
        return square

    def _label(self, tile: Tile) -> str:
        """What is written below a tile."""
        words = [] if self._captions else [tile.caption]
        if tile.kind in ("given", "missing"):
            words.append(tile.kind)
        return " \N{MIDDLE DOT} ".join(word for word in words if word)

    def _draw_label(self, draw: ImageDraw.ImageDraw, x: int, top: int, label: str, kind: str) -> None:
        if kind != "given":
            self._centred(draw, x, top + 2, label, self._small, _FAINT)
            return
        draw.rectangle((x, top, x + self._tile + 2 * _FRAME - 1, top + _LABEL_HEIGHT - 3), fill=_FRAMES[kind][0])
        self._centred(draw, x, top, label, self._small, "white")

    def _centred(
        self, draw: ImageDraw.ImageDraw, x: int, top: int, text: str, font: ImageFont.FreeTypeFont, ink: str
    ) -> None:
        width = self._tile + 2 * _FRAME
        draw.text((x + width / 2, top), _elide(text, font, width), fill=ink, font=font, anchor="ma")


def _elide(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The longest beginning that fits, with an ellipsis if that is not all."""
    if len(text) <= width and font.getlength(text) <= width:
        return text
    # No letter is narrower than a pixel, so the search need not measure more of a very long text.
    fits, too_long = 0, min(len(text), int(width)) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(text[:middle] + "…") <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…"


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_elide(word, font, width))
    return lines
