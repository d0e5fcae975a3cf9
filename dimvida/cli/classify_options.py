"""Options of ``dimvida classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dimvida.errors import InputError

_DATA, _STUDY, _MODEL = "Data", "Study", "Generator"


def _option(panel: str, help_: str, *names: str, metavar: str | None = None, **more: Any) -> Any:
    # Defaults stand in the text, in less room.
    return typer.Option(*names, metavar=metavar, help=help_, rich_help_panel=panel, show_default=False, **more)


Data = Annotated[Path, _option(_DATA, "Views: folder, zip or NMR.", metavar="PATH")]
Out = Annotated[Path, _option(_DATA, "To make, or to continue.", metavar="DIR")]
Partition = Annotated[Path | None, _option(_DATA, "Take its parts c and e.", metavar="FILE")]
Split = Annotated[str | None, _option(_DATA, "Or divide this split (default: test) ...", metavar="NAME")]
CShare = Annotated[float, _option(_DATA, "... into c and e; share of c, 0.5.", "--c-share", metavar="F")]
Limit = Annotated[int | None, _option(_DATA, "At most N objects in each of c and e.", metavar="N")]
SkipBad = Annotated[bool, _option(_DATA, "Unreadable files are no error (exit 0).", "--skip-bad")]

Classifiers = Annotated[str, _option(_STUDY, "resnet18,mobilenet-v3-large; or -small.", metavar="LIST")]
Weights = Annotated[list[str] | None, _option(_STUDY, "NAME=FILE or imagenet: fine-tune.", metavar="TEXT")]
Preset = Annotated[str, _option(_STUDY, "paper, small (default) or tiny.", metavar="NAME")]
Set = Annotated[list[str] | None, _option(_STUDY, "classifier_stage.steps=2000 and alike.", "--set", metavar="X=Y")]
Seeds = Annotated[int, _option(_STUDY, "Classifiers of each kind; default 3.", metavar="N")]
Seed = Annotated[int, _option(_STUDY, "The first of them; also of all else.", metavar="S")]
Budget = Annotated[str, _option(_STUDY, "Equal steps (default), epochs or both.", metavar="NAME")]
Average = Annotated[str, _option(_STUDY, "probabilities, logits or confidence.", metavar="NAME")]
Beyond = Annotated[str | None, _option(_STUDY, "Further tables, or all.", metavar="LIST")]
SamplesPerView = Annotated[int, _option(_STUDY, "Of samples: most; default 4.", metavar="K")]
SamplerSteps = Annotated[str | None, _option(_STUDY, "Of steps: which; default: four.", metavar="LIST")]
Minutes = Annotated[float, _option(_STUDY, "Stop after M minutes; 0: never.", metavar="M")]

CheckpointOption = Annotated[str, _option(_MODEL, "Default: bundled.", "--checkpoint", metavar="DIR")]
Judge = Annotated[Path | None, _option(_MODEL, "Its classifier; default: made of d.", "--judge", metavar="DIR")]
Steps = Annotated[int | None, _option(_MODEL, "Evaluations; default: its own.", metavar="N")]
Solver = Annotated[str | None, _option(_MODEL, "Such as ddim; default: its own.", metavar="NAME")]
Backend = Annotated[str, _option(_MODEL, "auto, eager or fused.", metavar="NAME")]
DType = Annotated[str, _option(_MODEL, "Of its products; default: auto.", "--dtype", metavar="NAME")]
Device = Annotated[str, _option(_MODEL, "auto, cpu, cuda, cuda:1, ...", metavar="NAME")]
Batch = Annotated[int, _option(_MODEL, "Objects at a time; default 256.", metavar="N")]


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
