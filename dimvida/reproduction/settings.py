"""What a chain is asked to do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimvida.data.opening import open_source
from dimvida.data.sample import locate
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.training.config import load_preset

NMR_PREFIX = "nmr:"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a chain that decide about its results.

    Attributes:
        data: The data set.
        preset: Of training and of classification.
        budget: Minutes for all of it, or 0 for the preset's own lengths.
        seeds: Classifiers of each kind.
        seed: Of everything else that is random.
        classifiers: Names, divided by commas.
        weights: For classifiers that are fine-tuned too, as ``dimvida classify`` takes them.
        inception_weights, lpips_weights: Files for FID and LPIPS.
        beyond: Questions beyond the paper's tables, as ``dimvida classify`` takes them.
        values: Replaced values of the preset, as ``table.option=value``.
        init: Checkpoint whose weights training starts from, as ``dimvida train`` takes it.

    Raises:
        InputError: A preset's value does not fit, or a number is out of range.
    """

    data: Path
    preset: str = "paper"
    budget: float = 0
    seeds: int = 3
    seed: int = 0
    classifiers: str = "resnet18,mobilenet-v3-large"
    weights: tuple[str, ...] = ()
    inception_weights: Path | None = None
    lpips_weights: Path | None = None
    beyond: str | None = None
    values: tuple[str, ...] = ()
    init: str | None = None

    def __post_init__(self) -> None:
        load_preset(self.preset, self.overrides)
        if not self.budget >= 0 or self.seeds < 1 or self.seed < 0:
            raise InputError(
                f"--minutes {self.budget:g}, --seeds {self.seeds}, --seed {self.seed}: must be at least 0, 1 and 0"
            )

    @property
    def overrides(self) -> tuple[str, ...]:
        """All replaced values of the preset."""
        return (*((f"seed={self.seed}",) if self.seed else ()), *self.values)

    def describe(self, source: MultiViewSource) -> dict[str, Any]:
        """For JSON: the options, the data's name and form. Equal descriptions may continue each other."""
        options = {
            field.name: str(value) if isinstance(value := getattr(self, field.name), Path) else value
            for field in dataclasses.fields(self)
        }
        options |= {"data": str(self.data.resolve()), "weights": list(self.weights), "values": list(self.values)}
        return {**options, "name": self.data.name, "form": source.form, "objects": len(source)}


def parse_data(text: str) -> Path:
    """The path in ``--data``, which may say ``nmr:`` to insist on that data set."""
    return locate(text.removeprefix(NMR_PREFIX))


def open_data(text: str) -> MultiViewSource:
    """Open what ``--data`` names.

    Raises:
        InputError: It cannot be opened, is not NMR though it should be, or has one view or no classes.
    """
    source = open_source(parse_data(text))
    if text.startswith(NMR_PREFIX) and not source.form.startswith("nmr-"):
        raise InputError(f"--data {text}: not the NMR data set but {source.form}; leave out {NMR_PREFIX!r} to use it")
    if len(source.view_names) < 2:
        raise InputError(f"--data {text}: has one view per object; a chain needs several")
    if len([name for name in source.classes if name]) < 2:
        raise InputError(f"--data {text}: has fewer than two classes; classifiers need them")
    return source
