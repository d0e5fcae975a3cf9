"""Options that only ``dimvida classify`` has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from dimvida.cli.options import DATA, MODEL, TRAINING, option, parse_names
from dimvida.errors import InputError

CShare = Annotated[float, option(DATA, "Share of c without a partition; default 0.5.", "--c-share", metavar="F")]
Limit = Annotated[int | None, option(DATA, "At most N objects in each of c and e.", metavar="N")]

Budget = Annotated[str, option(TRAINING, "Equal steps (default), epochs or both.", metavar="NAME")]
Average = Annotated[str, option(TRAINING, "probabilities (default), logits, confidence.", metavar="NAME")]
SamplesPerView = Annotated[int, option(TRAINING, "Of samples: most; default 4.", metavar="K")]
SamplerSteps = Annotated[str | None, option(TRAINING, "Of steps: which; default: four.", metavar="LIST")]

Judge = Annotated[Path | None, option(MODEL, "Its classifier; default: made of d.", "--judge", metavar="DIR")]


def parse_weights(given: list[str] | None, classifiers: tuple[str, ...]) -> dict[str, str]:
    """``imagenet`` for all classifiers, or ``NAME=FILE`` (or ``NAME=imagenet``) for one.

    Raises:
        InputError: A name is not one of the classifiers, or comes twice.
    """
    weights: dict[str, str] = {}
    for text in given or []:
        name, separator, value = text.partition("=")
        if not separator and text != "imagenet":
            raise InputError(f"--weights {text}: give imagenet, or NAME=FILE for one of {', '.join(classifiers)}")
        for target in (name,) if separator else classifiers:
            if target not in classifiers:
                raise InputError(f"--weights {text}: {target!r} is not one of --classifiers {','.join(classifiers)}")
            if separator and target in weights:
                raise InputError(f"--weights {text}: {target} has weights already")
            weights[target] = value if separator else text
            if separator and value != "imagenet" and not Path(value).is_file():
                raise InputError(f"--weights {text}: no such file")
    return weights


def parse_beyond(text: str | None) -> tuple[str, ...]:
    """Groups of cells beyond the paper's tables, ``all`` or by name; ``StudyDesign`` refuses what is none."""
    from dimvida.classification.design import GROUPS

    return GROUPS if text == "all" else parse_names("--beyond", text) or ()
