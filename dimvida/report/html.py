"""A report as one page that needs nothing else: style and pictures inside, no script, no network."""

from __future__ import annotations

import base64
from importlib import resources

from dimvida.report.document import Document, Picture

FOLDED_ROWS = 24  # tables with more are closed at first


def render_page(document: Document) -> str:
    """The page, with every text of the document escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dimvida.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["kind"] = lambda block: type(block).__name__
    style = resources.files("dimvida.report").joinpath("page", "style.css").read_text(encoding="utf-8")
    template = environment.get_template("page.html")
    return template.render(document=document, style=style, folded_rows=FOLDED_ROWS)


def _data_uri(picture: Picture) -> str:
    media = "image/svg+xml" if picture.name.endswith(".svg") else "image/png"
    return f"data:{media};base64,{base64.b64encode(picture.data).decode()}"
