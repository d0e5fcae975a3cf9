"""A page of the report, as a test reads it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """The parts of a page that tests ask for: rows of cells, pictures, attributes that load something, tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.images: list[dict[str, str | None]] = []
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "srcset", "href", "data", "action")]
        if tag == "img":
            self.images.append(values)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, *starts: str) -> list[str]:
        """The first row that begins with these cells, white space made even."""
        for row in self.rows:
            cells = [" ".join(text.split()) for text in row]
            if cells[: len(starts)] == list(starts):
                return cells[len(starts) :]
        raise AssertionError(f"no row {starts}")
