"""Options that only ``dimvida classify`` has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from dimvida.cli.options import DATA, MODEL, TRAINING, option

CShare = Annotated[float, option(DATA, "Share of c without a partition; default 0.5.", "--c-share", metavar="F")]
Limit = Annotated[int | None, option(DATA, "At most N objects in each of c and e.", metavar="N")]

Budget = Annotated[str, option(TRAINING, "Equal steps (default), epochs or both.", metavar="NAME")]
Average = Annotated[str, option(TRAINING, "probabilities (default), logits, confidence.", metavar="NAME")]
SamplesPerView = Annotated[int, option(TRAINING, "Of samples: most; default 4.", metavar="K")]
SamplerSteps = Annotated[str | None, option(TRAINING, "Of steps: which; default: four.", metavar="LIST")]

Judge = Annotated[Path | None, option(MODEL, "Its classifier; default: made of d.", "--judge", metavar="DIR")]
