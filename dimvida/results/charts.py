"""Bar and line charts: as SVG that follows the reader's colour scheme, or as panels of one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_COLUMNS = 2
WIDTH, HEIGHT = 4.4, 3.1  # inches; small, so that text stays legible on a phone
SIZE = (round(WIDTH * 96), round(HEIGHT * 96))  # pixels
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Groups of bars from zero up, one group per place, with their values above them.

    Attributes:
        name: Name of the chart's file, without a suffix.
        title: The line above the chart.
        places: Names of the groups.
        series: A bar in each group.
        labels: Labels of the x and the y axis.
        digits: Decimals of the values.
        caption: Text below it.
    """

    name: str
    title: str
    places: Sequence[str]
    series: Sequence[Series]
    labels: tuple[str, str]
    digits: int
    caption: str = ""

    def draw(self, axes: Axes) -> None:
        """Draw the series on axes that are empty."""
        width = 0.8 / max(len(self.series), 1)
        for number, line in enumerate(self.series):
            offset = (number - (len(self.series) - 1) / 2) * width
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
                text = f"{value:.{self.digits}f}"
                axes.annotate(text, (x, top), (0, 2), textcoords="offset points", ha="center", fontsize=7.5)
        axes.set_xticks(range(len(self.places)), self.places)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
        axes.margins(y=0.12)

    def described(self) -> str:
        """Its figures in words."""
        return _described(self.title, self.places, self.series, self.digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Lines through points.

    Attributes:
        name: Name of the chart's file, without a suffix.
        title: The line above the chart.
        places: Where the points are on the x axis.
        series: The lines, with a value for each place.
        labels: Labels of the x and the y axis.
        digits: Decimals in the description.
        caption: Text below it.
        logarithmic: Axes with a logarithmic scale: "", "x", "y" or "xy".
        marked: Whether each point has a mark and the x axis a tick there.
        level: Name and height of a dashed line across.
    """

    name: str
    title: str
    places: Sequence[float]
    series: Sequence[Series]
    labels: tuple[str, str]
    digits: int = 2
    caption: str = ""
    logarithmic: str = ""
    marked: bool = True
    level: tuple[str, float] | None = None

    def draw(self, axes: Axes) -> None:
        """Draw the series on axes that are empty."""
        for number, line in enumerate(self.series):
            points = [
                (x, y, line.interval(i))
                for i, (x, y) in enumerate(zip(self.places, line.values, strict=True))
                if y is not None
            ]
            colour = SERIES[number % len(SERIES)]
            axes.plot(
                [x for x, _, _ in points],
                [y for _, y, _ in points],
                marker=MARKERS[number % len(MARKERS)] if self.marked else None,
                markersize=3.5,
                linewidth=1.4,
                color=colour,
                label=line.label,
            )
            for x, y, interval in points:
                if interval is not None:
                    errors = [[max(y - interval[0], 0)], [max(interval[1] - y, 0)]]
                    axes.errorbar(x, y, errors, color=colour, capsize=2.5, linewidth=1)
        if self.level is not None:
            axes.axhline(self.level[1], linestyle="--", color=INK, linewidth=1, label=self.level[0])
        _scale(axes, self.logarithmic, self.places if self.marked else ())
        axes.grid()

    def described(self) -> str:
        """Its figures in words."""
        places = [f"{x:g}" for x in self.places] if self.marked else ()
        return _described(self.title, places, self.series, self.digits)


Chart = BarChart | LineChart


def render_svg(chart: Chart) -> bytes:
    """A chart as SVG of ``SIZE`` pixels, the same bytes for the same chart."""
    import matplotlib  # slow to import
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        _draw(chart, axes)
        _arrange(figure, axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head, start, rest = buffer.getvalue().partition("<defs>")
    rules = "".join(
        f'[style*="{use}: {light}"]{{{use}:{dark} !important}}'
        for light, dark in DARK.items()
        for use in ("fill", "stroke")
    )
    return f"{head}<style>@media (prefers-color-scheme: dark){{{rules}}}</style>{start}{rest}".encode()


def save_panels(path: Path, columns: Sequence[Sequence[Chart]]) -> None:
    """Draw charts as the panels of one picture; those beside each other have the same y axis.

    Args:
        path: PNG, or what its suffix says.
        columns: The charts of each column, from top to bottom.

    Raises:
        OSError, ValueError: It cannot be drawn.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        rows = len(columns[0])
        figure = Figure(figsize=(WIDTH * len(columns), (HEIGHT + 0.6) * rows), layout="constrained")
        panels = figure.subplots(rows, len(columns), squeeze=False, sharey="row")
        for number, charts in enumerate(columns):
            for axes, chart in zip(panels[:, number], charts, strict=True):
                _draw(chart, axes)
        panels[0, 0].legend()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120)


def _draw(chart: Chart, axes: Axes) -> None:
    axes.set_title(chart.title)
    axes.set_axisbelow(True)
    chart.draw(axes)
    axes.set(xlabel=chart.labels[0], ylabel=chart.labels[1])


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
