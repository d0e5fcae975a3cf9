"""Bar and line charts as SVG that follows the reader's colour scheme."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimvida.report.document import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_COLUMNS = 2
WIDTH, HEIGHT = 4.4, 3.1  # inches; small, so that text stays legible on a phone
INK, GRID, BACKGROUND = "#24292f", "#d8dee4", "#ffffff"
DARK = {INK: "#d5dbe1", GRID: "#3b424a", BACKGROUND: "#161b22"}

# In the middle between white and black, and told apart with every common colour blindness.
SERIES = ("#4c86c6", "#e0803a", "#4a9f78", "#b3679b", "#8c8c3c", "#8f6f5b")
MARKERS = "osD^vP"

_STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "figure.facecolor": BACKGROUND,
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "dimvida",  # the same figures give the same file
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True, slots=True)
class Series:
    """Values against places, with error bars from ``low`` to ``high`` where there are any; None leaves a gap."""

    label: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] = ()

    def interval(self, number: int) -> tuple[float, float] | None:
        """The ends of one error bar."""
        return self.intervals[number] if number < len(self.intervals) else None


def bars(
    name: str,
    title: str,
    places: Sequence[str],
    series: Sequence[Series],
    *,
    labels: tuple[str, str],
    digits: int,
    caption: str = "",
) -> Picture:
    """Groups of bars from zero up, one group per place, with their values above them; labels are the axes'."""
    with _chart(title) as (figure, axes):
        width = 0.8 / max(len(series), 1)
        for number, line in enumerate(series):
            offset = (number - (len(series) - 1) / 2) * width
            for place, value in enumerate(line.values):
                if value is None:
                    continue
                x, colour = place + offset, SERIES[number % len(SERIES)]
                named = line.label if place == _first(line) else None
                axes.bar(x, value, width * 0.92, color=colour, label=named)
                top = value
                if (interval := line.interval(place)) is not None:
                    below, above = max(value - interval[0], 0), max(interval[1] - value, 0)
                    axes.errorbar(x, value, [[below], [above]], color=INK, capsize=2.5, linewidth=1)
                    top = value + above
                axes.annotate(
                    f"{value:.{digits}f}", (x, top), (0, 2), textcoords="offset points", ha="center", fontsize=7.5
                )
        axes.set_xticks(range(len(places)), places)
        axes.tick_params(axis="x", length=0)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.grid(axis="y")
        axes.margins(y=0.12)
        _arrange(figure, axes)
        return _picture(figure, name, _described(title, places, series, digits), caption)


def lines(
    name: str,
    title: str,
    places: Sequence[float],
    series: Sequence[Series],
    *,
    labels: tuple[str, str],
    digits: int = 2,
    logarithmic: str = "",
    marked: bool = True,
    level: tuple[str, float] | None = None,
    caption: str = "",
) -> Picture:
    """Lines through points.

    Args:
        name: Of the picture's file.
        title: Above the chart.
        places: Where the points are on the x axis.
        series: The lines.
        labels: Of the x and the y axis.
        digits: Decimals in the description.
        logarithmic: Axes with a logarithmic scale: "", "x", "y" or "xy".
        marked: Whether each point has a mark and the x axis a tick there.
        level: Name and height of a dashed line across.
        caption: Text below the picture.
    """
    with _chart(title) as (figure, axes):
        for number, line in enumerate(series):
            points = [
                (x, y, line.interval(i))
                for i, (x, y) in enumerate(zip(places, line.values, strict=True))
                if y is not None
            ]
            marker = MARKERS[number % len(MARKERS)] if marked else None
            colour = SERIES[number % len(SERIES)]
            axes.plot(
                [x for x, _, _ in points],
                [y for _, y, _ in points],
                marker=marker,
                markersize=3.5,
                linewidth=1.4,
                color=colour,
                label=line.label,
            )
            for x, y, interval in points:
                if interval is not None:
                    errors = [[max(y - interval[0], 0)], [max(interval[1] - y, 0)]]
                    axes.errorbar(x, y, errors, color=colour, capsize=2.5, linewidth=1)
        if level is not None:
            axes.axhline(level[1], linestyle="--", color=INK, linewidth=1, label=level[0])
        _scale(axes, logarithmic, places if marked else ())
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.grid()
        _arrange(figure, axes)
        return _picture(
            figure, name, _described(title, [f"{x:g}" for x in places] if marked else (), series, digits), caption
        )


@contextmanager
def _chart(title: str) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib  # slow to import
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        axes.set_title(title)
        axes.set_axisbelow(True)
        yield figure, axes


def _scale(axes: Axes, logarithmic: str, ticks: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    if "y" in logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if "x" in logarithmic:
        axes.set_xscale("log")
    if ticks:
        axes.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks], minor=False)
        axes.set_xticks([], minor=True)


def _arrange(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    rows = -(-len(labels) // LEGEND_COLUMNS) if len(labels) > 1 else 0
    if rows:  # below the chart, where no line or bar is
        figure.legend(handles, labels, loc="lower center", ncols=LEGEND_COLUMNS, borderpad=0.2, labelspacing=0.3)
    under = 0.46 + 0.18 * rows + (0.14 if "\n" in axes.get_xticklabels()[0].get_text() else 0)
    # Margins given rather than found, which would draw everything once more.
    figure.subplots_adjust(0.65 / WIDTH, under / HEIGHT, 1 - 0.12 / WIDTH, 1 - 0.3 / HEIGHT)


def _picture(figure: Figure, name: str, alternative: str, caption: str) -> Picture:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head, start, rest = buffer.getvalue().partition("<defs>")
    rules = "".join(
        f'[style*="{use}: {light}"]{{{use}:{dark} !important}}'
        for light, dark in DARK.items()
        for use in ("fill", "stroke")
    )
    text = f"{head}<style>@media (prefers-color-scheme: dark){{{rules}}}</style>{start}{rest}"
    return Picture(f"{name}.svg", text.encode(), alternative, caption, (round(WIDTH * 96), round(HEIGHT * 96)))


def _first(line: Series) -> int:
    return next((place for place, value in enumerate(line.values) if value is not None), 0)


def _described(title: str, places: Sequence[str], series: Sequence[Series], digits: int) -> str:
    """The chart's figures in words."""
    sentences = []
    for line in series:
        shown = [
            f"{place}: {value:.{digits}f}"
            for place, value in zip(places, line.values, strict=False)
            if value is not None
        ]
        sentences.append(f"{line.label}: {', '.join(shown)}" if shown else line.label)
    return f"{title}. {'; '.join(sentences)}"
