"""A report as one page that needs nothing else, and as Markdown (GitHub's) with its pictures as files beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from dimvida.report.document import (
    Block,
    Document,
    Gallery,
    Heading,
    Illustration,
    Lines,
    Link,
    Matrices,
    Matrix,
    Note,
    Text,
)
from dimvida.results.tables import Table, TableCell

IMAGES = "images"  # the folder of the pictures
FOLDED_ROWS = 24  # tables with more are closed at first in the page


def render_page(document: Document) -> str:
    """The page: style and pictures inside, no script, no network, every text of the document escaped."""
    return render_template("page.html", document=document, folded_rows=FOLDED_ROWS)


def render_template(name: str, **values: Any) -> str:
    """One of the pages beside this file, every value in it escaped; the style is inside."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.filters["kind"] = lambda block: type(block).__name__
    files = resources.files("dimvida.report")
    text = {file: files.joinpath(file).read_text(encoding="utf-8") for file in (name, "style.css", "gallery.css")}
    template = environment.from_string(text[name])
    return template.render(style=text["style.css"], gallery_style=text["gallery.css"], **values)


def render_markdown(document: Document) -> str:
    """The report's text, with everything in it that is not ours escaped."""
    blocks = [f"# {escape(document.title)}", escape(document.introduction)]
    for section in document.sections:
        blocks.append(f"## {escape(section.title)}")
        for block in section.blocks:
            blocks += _render(block)
    return "\n\n".join(blocks) + "\n"


def pictures_of(document: Document) -> Iterator[Illustration]:
    """Every picture that the Markdown refers to."""
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Gallery):
                yield from block.pictures


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#$!])", r"\\\1", text)


def _render(block: Block) -> list[str]:
    if isinstance(block, Text):
        return [escape(block.text)]
    if isinstance(block, Link):
        return [f"[{escape(block.text)}]({block.address})"]
    if isinstance(block, Heading):
        return [f"### {escape(block.text)}"]
    if isinstance(block, Note):
        label = "**Warning:** " if block.kind == "warning" else ""
        return [f"> {label}{escape(block.text)}", *([_fenced([block.command])] if block.command else [])]
    if isinstance(block, Table):
        return [escape(block.caption), render_table(block), *map(escape, block.notes)]
    if isinstance(block, Matrices):
        return [text for matrix in block.matrices for text in (escape(matrix.caption), _matrix(matrix))]
    if isinstance(block, Lines):
        return [f"{escape(block.caption)}:", _fenced(block.lines)]
    return [_picture(picture) for picture in block.pictures]


def render_table(table: Table) -> str:
    """The rows of a table in Markdown, without its caption and notes."""
    titles = [escape(column.heading) for column in table.columns]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return _grid(titles, [column.numeric for column in table.columns], rows)


def _matrix(matrix: Matrix) -> str:
    names = [escape(name) for name in matrix.names]
    rows = [[name, *map(str, counts)] for name, counts in zip(names, matrix.counts, strict=True)]
    return _grid(["true \\\\ predicted", *names], [False, *(True for _ in names)], rows)


def _grid(titles: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    rule = f"|{'|'.join('---:' if right else '---' for right in numeric)}|"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (titles, *rows))
    return "\n".join([first, rule, *others])


def _cell(cell: TableCell) -> str:
    return escape(cell.text) + (f" ({escape(cell.detail)})" if cell.detail else "")


def _picture(picture: Illustration) -> str:
    image = f"![{escape(picture.alternative)}]({IMAGES}/{picture.name})"
    return f"{image}\n\n*{escape(picture.caption)}*" if picture.caption else image


def _fenced(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _data_uri(picture: Illustration) -> str:
    media = "image/svg+xml" if picture.name.endswith(".svg") else "image/png"
    return f"data:{media};base64,{base64.b64encode(picture.data).decode()}"
