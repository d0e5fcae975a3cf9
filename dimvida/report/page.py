"""A report as one page that needs nothing else: style and pictures inside, no script, no network."""

from __future__ import annotations

import base64
from importlib import resources

from dimvida.report.document import Document, Illustration

FOLDED_ROWS = 24  # tables with more are closed at first


def render_page(document: Document) -> str:
    """The page, with every text of the document escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.filters["kind"] = lambda block: type(block).__name__
    files = resources.files("dimvida.report")
    template = environment.from_string(files.joinpath("page.html").read_text(encoding="utf-8"))
    style = files.joinpath("style.css").read_text(encoding="utf-8")
    return template.render(document=document, style=style, folded_rows=FOLDED_ROWS)


def _data_uri(picture: Illustration) -> str:
    media = "image/svg+xml" if picture.name.endswith(".svg") else "image/png"
    return f"data:{media};base64,{base64.b64encode(picture.data).decode()}"
