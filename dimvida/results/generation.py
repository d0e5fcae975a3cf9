"""The file of ``dimvida bench generation``: what it holds, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from dimvida.results.benchmarks import Spread
from dimvida.results.metrics import metric, number, percent, significant
from dimvida.results.tables import Column, Table, TableCell, plain_table, text_column

# What runs side by side in generation, and the stages that each does one after the other.
LANES = {"reader": ("read",), "model": ("encode", "sample", "decode"), "packers": ("pack",), "writer": ("write",)}


@dataclass(slots=True)
class RunTimes:
    """One run of mass generation from files to files.

    Attributes:
        format: Form of the output.
        batch: Rows of a batch.
        steps: Network evaluations of a trajectory.
        objects, views: Numbers of objects and of views that were generated.
        seconds: On the wall, from locking the folder to the report.
        stages: Seconds that each stage was at work; they overlap.
        size: Bytes that were written to the output.
        packers: Threads that pack.
        memory: Bytes that the process held with the last batch, as Linux counts them; None where nobody looked.
        growth: How much more that was towards the end than near the beginning, as a share.
        share_of_wall: Each stage's share of the time on the wall.
        other_share: All stages but sampling and decoding, as a share of the time on the wall.
        lanes: Share of the time on the wall in which each lane was at work; a time contains waiting for processors.
        bound_by: The lane that the others wait for.
    """

    format: str
    batch: int
    steps: int
    objects: int
    views: int
    seconds: float
    stages: dict[str, float]
    size: int = field(metadata={"key": "bytes"})
    packers: int = 1
    memory: int | None = field(default=None, metadata={"key": "memory_bytes"})
    growth: float | None = field(default=None, metadata={"key": "memory_growth"})
    objects_per_second: float = field(init=False)
    views_per_second: float = field(init=False)
    share_of_wall: dict[str, float] = field(init=False)
    other_share: float = field(init=False, metadata={"key": "other_than_sample_and_decode"})
    lanes: dict[str, float] = field(init=False)
    bound_by: str = field(init=False)

    def __post_init__(self) -> None:
        self.objects_per_second, self.views_per_second = self.objects / self.seconds, self.views / self.seconds
        self.share_of_wall = {name: value / self.seconds for name, value in self.stages.items()}
        other = sum(value for name, value in self.stages.items() if name not in ("sample", "decode"))
        self.other_share = other / self.seconds
        busy = {lane: sum(self.stages.get(name, 0.0) for name in names) for lane, names in LANES.items()}
        busy["packers"] /= self.packers
        self.lanes = {lane: value / self.seconds for lane, value in busy.items()}
        self.bound_by = max(self.lanes, key=self.lanes.__getitem__)

    @property
    def name(self) -> str:
        """What tells runs apart."""
        return f"{self.format}, batch {self.batch}, {self.steps} steps"


@dataclass(slots=True, kw_only=True)
class StageAndFloor:
    """A stage of the model's work on a batch, the library's products and convolutions of it alone, and the same stage
    by the eager backend, in turn.

    Attributes:
        stage: ``encode``, ``sample`` or ``decode``.
        batch: Rows of the batch, one for each object.
        ms, floor_ms, eager_ms: Milliseconds of a batch.
        of_floor: The floor's time over the stage's, at the medians.
        speed_up: The eager backend's time over the stage's, at the medians.
        steps: Network evaluations of ``sample``.
    """

    stage: str
    batch: int
    steps: int | None
    ms: Spread
    floor_ms: Spread
    eager_ms: Spread
    of_floor: float = field(init=False)
    speed_up: float = field(init=False)

    def __post_init__(self) -> None:
        self.of_floor = self.floor_ms.median / self.ms.median
        self.speed_up = self.eager_ms.median / self.ms.median


@dataclass(slots=True, kw_only=True)
class HostTimes:
    """Runs of mass generation with a model that only hands back pictures, and of their floor, in turn.

    The floor reads, hashes, encodes and writes the same bytes in a plain loop in each of as many processes as there are
    cores.

    Attributes:
        format: Form of the output.
        batch: Rows of a batch.
        objects: Objects of a run.
        cores: Processors that both may use.
        seconds, floor_seconds: On the wall, of each run.
        processor_seconds, floor_processor_seconds: Of all processors together. Where other programs share them, these
            are what can be compared between machines.
        objects_per_second, floor_per_second: At the median.
        of_floor: Median of the rounds' ratios of the floor's time to the run's.
        of_floor_processors: The same of the processors' time.
    """

    format: str
    batch: int
    objects: int
    cores: int
    seconds: list[float]
    floor_seconds: list[float]
    processor_seconds: list[float]
    floor_processor_seconds: list[float]
    objects_per_second: float = field(init=False)
    floor_per_second: float = field(init=False)
    of_floor: float = field(init=False)
    of_floor_processors: float = field(init=False)

    def __post_init__(self) -> None:
        self.objects_per_second = self.objects / median(self.seconds)
        self.floor_per_second = self.objects / median(self.floor_seconds)
        self.of_floor = _ratio(self.floor_seconds, self.seconds)
        self.of_floor_processors = _ratio(self.floor_processor_seconds, self.processor_seconds)


def _ratio(floor: Sequence[float], run: Sequence[float]) -> float:
    return median(below / above for below, above in zip(floor, run, strict=True))


@dataclass(slots=True, kw_only=True)
class GenerationBenchmark:
    """The file of ``dimvida bench generation``, which is written again after each run.

    Attributes:
        filesystem: Type of the file system that is written to.
        network: Instead of a checkpoint, as ``preset tiny, random weights``.
        inputs, runs: What was generated from, and how long that took.
        quality: PSNR and SSIM of the loop's sampler and the model's own.
        host: Instead of runs: all but the networks, by form of output.
        stages: Beside runs: the model's stages and their floors.
    """

    benchmark: str = "generation"
    schema: int = 3  # 2: no encoders, no samples of nvidia-smi; 3: each run's memory, and no run for that alone
    versions: dict[str, str | None]
    hardware: dict[str, Any]
    filesystem: str | None
    network: str | None
    checkpoint: str
    solver: str
    host: list[HostTimes] | None = field(default=None, metadata={"optional": True})
    stages: list[StageAndFloor] | None = field(default=None, metadata={"optional": True})
    inputs: dict[str, Any] | None = field(default=None, metadata={"optional": True})
    runs: list[RunTimes] | None = field(default=None, metadata={"optional": True})
    quality: dict[str, dict[str, float]] | None = field(default=None, metadata={"optional": True})


def rate_columns() -> list[Column]:
    """Columns of the table of runs, whose rows are printed as they end."""
    widths = {"batch": 5, "steps": 5, "objects/s": 9, "views/s": 9, "MiB": 6, "growth": 7}
    named = [Column(title, width=width) for title, width in widths.items()]
    return [text_column("format", 11), *named, text_column("bound by", 8)]


def rate_row(run: RunTimes) -> list[TableCell]:
    """One run: its rates, the memory that it held, and the lane that the others wait for."""
    rates = f"{run.objects_per_second:.1f}", f"{run.views_per_second:.1f}"
    held = ("", "") if run.memory is None else (f"{run.memory / 2**20:.0f}", percent(run.growth))
    cells = [*_names(run), *rates, *held, run.bound_by]
    return [TableCell(cell) for cell in cells]


def shares_table(runs: Sequence[RunTimes], loop: RunTimes | None) -> Table:
    """What the stages of runs took, and how many times the rate of the plain loop they have, if that was run."""
    stages = list(dict.fromkeys(name for run in runs for name in run.share_of_wall))
    rows = []
    for run in runs:
        shares = (run.share_of_wall.get(name) for name in stages)
        times = [] if loop is None else [f"{run.views_per_second / loop.views_per_second:.1f}"]
        rows.append([*_names(run), *("" if share is None else number(100 * share, 1) for share in shares), *times])
    numbers = ["batch", "steps", *stages, *(["loops"] if loop else [])]
    notes = ["loops: how many times the rate of the plain loop"] if loop else []
    return plain_table("stages at work, % of the time on the wall (they overlap)", ["format"], numbers, rows, notes)


def _names(run: RunTimes) -> list[str]:
    return [run.format, str(run.batch), str(run.steps)]


def compared_table(quality: Mapping[str, Mapping[str, float]]) -> Table:
    """PSNR and SSIM of ways to sample, by their names."""
    shown = metric("psnr"), metric("ssim")
    rows = [
        [name, *(one.number(score[one.name]) for one in shown), str(score["views"])] for name, score in quality.items()
    ]
    return plain_table("against the true views", ["sampler"], [*(one.heading for one in shown), "views"], rows)


def host_table(runs: Sequence[HostTimes]) -> Table:
    """Rates of the host side beside their floors."""
    rows = []
    for run in runs:
        used = 1e6 * median(run.processor_seconds) / run.objects
        least = 1e6 * median(run.floor_processor_seconds) / run.objects
        cells = [
            run.format,
            str(run.batch),
            f"{run.objects_per_second:,.0f}",
            f"{run.floor_per_second:,.0f}",
            percent(run.of_floor, 0),
            f"{used:.0f}",
            f"{least:.0f}",
            percent(run.of_floor_processors, 0),
        ]
        rows.append([TableCell(cell) for cell in cells])
    titles = ["batch", "objects/s", "floor", "of floor", "µs/object", "floor", "of floor"]
    groups = ["", *["on the wall"] * 3, *["processors"] * 3]
    columns = [Column(title, group=group) for title, group in zip(titles, groups, strict=True)]
    caption = f"the host side of mass generation, {runs[0].cores} cores" if runs else ""
    return Table(caption, [text_column("format"), *columns], rows)


def stages_table(stages: Sequence[StageAndFloor]) -> Table:
    """The model's stages beside their floors."""
    rows = [
        [
            one.stage,
            str(one.batch),
            "" if one.steps is None else str(one.steps),
            significant(one.ms.median),
            significant(one.floor_ms.median),
            percent(one.of_floor, 0),
            significant(one.eager_ms.median),
            f"{one.speed_up:.2f}",
        ]
        for one in stages
    ]
    numbers = ["batch", "steps", "ms", "products, ms", "share", "eager, ms", "speed-up"]
    caption = "stages of a batch, their products and convolutions alone, and the eager backend"
    return plain_table(caption, ["stage"], numbers, rows)
