"""What benchmarks have in common, and the file of ``dimvida bench training``: what it holds, and its table.

The other files are in ``sampling``, ``generation`` and ``solvers``. Fields that follow from others are worked out where
they are declared.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dimvida.results.metrics import percent, significant
from dimvida.results.tables import Table, plain_table


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of repeated measurements.

    Attributes:
        median, q1, q3: In the unit of the values.
        runs: Number of values.
    """

    median: float
    q1: float
    q3: float
    runs: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Quartiles by linear interpolation between the sorted values; a single value is all three."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, q1, q3, len(values))

    def scaled(self, factor: float) -> Spread:
        """The spread in another unit, of which there are ``factor`` in one of the old."""
        return Spread(self.median * factor, self.q1 * factor, self.q3 * factor, self.runs)


def machine_line(versions: dict[str, str | None], hardware: dict[str, Any]) -> str:
    """The line that says with which versions and on which machine something was measured."""
    gpu = hardware["gpu"]
    flags = " ".join(hardware["cpu_flags"])
    return (
        f"dimvida {versions['dimvida']}, torch {versions['torch']}, Python {versions['python']}; "
        f"{hardware['cpu']} ({flags or 'no known flags'}), threads: {hardware['threads']}"
        + (f"; {gpu['name']}, {gpu['memory_gib']} GiB, CUDA {versions['cuda']}" if gpu else "")
    )


@dataclass(slots=True)
class StepTimes:
    """Milliseconds of a training step and of its parts.

    Attributes:
        stage: ``autoencoder`` or ``diffusion``.
        parameters: Weights of the network.
        batch: Images or objects.
        floor: Forward and backward pass of this network on a batch that is there already, and nothing else.
        step: A whole step of the loop.
        draw: What the step draws and gathers, by itself.
        adam: The step of its optimiser, by itself.
        average: The moving average of the weights, by itself; None where the stage has none.
        preset: The preset that the sizes and settings are of.
        step_over_floor: How many floors a step takes.
        overhead: What the step takes beyond its floor, the optimiser and the average, as a share of the floor.
    """

    stage: str
    parameters: int
    batch: int
    floor: Spread
    step: Spread
    draw: Spread
    adam: Spread
    average: Spread | None
    preset: str = ""
    step_over_floor: float = field(init=False)
    overhead: float = field(init=False)

    def __post_init__(self) -> None:
        needed = self.adam.median + (self.average.median if self.average else 0.0)
        self.step_over_floor = self.step.median / self.floor.median
        self.overhead = (self.step.median - needed) / self.floor.median - 1


@dataclass(slots=True, kw_only=True)
class TrainingBenchmark:
    """The file of ``dimvida bench training``."""

    benchmark: str = "training"
    schema: int = 1
    versions: dict[str, str | None]
    hardware: dict[str, Any]
    settings: dict[str, Any]
    results: list[StepTimes] = field(default_factory=list)


def steps_table(rows: Sequence[StepTimes]) -> Table:
    """Training steps beside their floors, medians in milliseconds."""
    cells = [
        [
            row.preset,
            row.stage,
            str(row.batch),
            *(
                "" if piece is None else significant(piece.median)
                for piece in (row.floor, row.step, row.draw, row.adam, row.average)
            ),
            percent(row.overhead),
        ]
        for row in rows
    ]
    note = "ms; overhead: the step less optimiser and EMA, over its floor (forward and backward alone)"
    return plain_table(
        "", ["preset", "stage"], ["batch", "floor", "step", "draw", "optimiser", "EMA", "overhead"], cells, [note]
    )
