"""Options that several commands have, each declared once, and what their text means.

A command takes one by its annotation, ``device: options.Device = "auto"``. Where an option does different things in
different commands, such as ``--partition``, one declaration for each says which. Options of one command alone stand
with it, declared with the same ``option`` where the command's help is divided into panels, which are boxes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.data.names import counted
from dimvida.errors import DimvidaError, InputError
from dimvida.remote import shown_words

if TYPE_CHECKING:
    import torch

    from dimvida.data.source import BadFile

DATA, MODEL, SCORES, TRAINING, CAMERAS, OUTPUT = "Data", "Model", "Metrics", "Training", "Views", "Output"

FLOAT32_PRODUCTS, FLOAT32_CONVOLUTIONS = "ieee", "tf32"
"""What a GPU computes float32 in, in PyTorch's words.

Matrix products, which are the score network, are exact: that is what ``--dtype float32`` is asked for. Convolutions,
which are the autoencoder, are rounded to TF32: several times as fast, and far below one of 255 levels.
"""


def option(panel: str, text: str, *names: str, metavar: str | None = None, **more: Any) -> Any:
    """An option of a panel; without names it is called as the parameter that it annotates.

    The default is shown, unless the text, which has less room then, names it.
    """
    shown = "default" not in text.lower()
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel, show_default=shown, **more)


Data = Annotated[Path, option(DATA, "A folder, a zip, or NMR.", "--data", metavar="PATH")]
Split = Annotated[str | None, option(DATA, "Only the objects of this split.", metavar="NAME")]
TrainSplit = Annotated[str | None, option(DATA, "Default: train, training or alike.", metavar="NAME")]
TestSplit = Annotated[str | None, option(DATA, "Default: test, testing or alike.", metavar="NAME")]
DividedSplit = Annotated[str | None, option(DATA, "Or divide this split (default: test) ...", metavar="NAME")]
Classes = Annotated[str | None, option(DATA, "Only objects of these classes.", "--classes", metavar="NAMES")]
Limit = Annotated[int | None, option(DATA, "Only the first N objects.", min=1, metavar="N")]
SpreadLimit = Annotated[int | None, option(DATA, "Only N objects, spread over all.", "--limit", min=1, metavar="N")]
PartLimit = Annotated[int | None, option(DATA, "At most N objects in each of c and e.", "--limit", metavar="N")]
SingleView = Annotated[
    str | None, option(DATA, "The view of all images of a single-view set.", "--view", metavar="NAME")
]
Column = Annotated[
    list[str] | None, option(DATA, "image, view, class or object = a column.", "--column", metavar="X=NAME")
]
NmrViews = Annotated[
    str | None, option(DATA, "Of NMR: all, or as 0,3,6; default: four.", "--nmr-views", metavar="LIST")
]
TrainPartition = Annotated[Path | None, option(DATA, "Partition; trains on its part d.", "--partition", metavar="FILE")]
TestPartition = Annotated[Path | None, option(DATA, "Only the objects of its part e.", "--partition", metavar="FILE")]
StudyPartition = Annotated[Path | None, option(DATA, "Take its parts c and e.", "--partition", metavar="FILE")]
SkipBad = Annotated[bool, option(DATA, "Unreadable files are no error (exit 0).", "--skip-bad")]
Readers = Annotated[int, option(DATA, "Processes that read; 0 (default): a thread.", "--workers", min=0, metavar="N")]

Checkpoint = Annotated[str, option(MODEL, "Or hf://owner/name; default: bundled.", "--checkpoint", metavar="DIR")]
Steps = Annotated[int | None, option(MODEL, "Network evaluations; default: checkpoint's.", metavar="N")]
Solver = Annotated[str | None, option(MODEL, "Such as ddim; default: checkpoint's.", metavar="NAME")]
Seed = Annotated[int, option(MODEL, "Of all that is random; default 0.", metavar="S")]
NoiseSeed = Annotated[int, option(MODEL, "Of the noise; default 0.", metavar="S")]
FirstSeed = Annotated[int, option(TRAINING, "First of them, and of all else; default 0.", "--seed", metavar="S")]
Backend = Annotated[str, option(MODEL, "auto (default), eager or fused.", metavar="NAME")]
DType = Annotated[str, option(MODEL, "auto (default), float32, bfloat16, float16.", "--dtype", metavar="NAME")]
Device = Annotated[str, option(MODEL, "auto (default), cpu, cuda, cuda:1, ...", metavar="NAME")]
Batch = Annotated[int, option(MODEL, "Objects or images at a time.", min=1, metavar="N")]
Threads = Annotated[int | None, option(MODEL, "CPU threads; default: torch's.", min=1, metavar="N")]
TimedPreset = Annotated[
    str | None, option(MODEL, "Random weights: paper, base, small, tiny.", "--preset", metavar="PRESET")
]
TimedCheckpoint = Annotated[
    str | None, option(MODEL, "Trained weights: DIR, hf://a/b, bundled.", "--checkpoint", metavar="DIR")
]
Repeats = Annotated[int | None, option(MODEL, "Timed runs of each piece.", min=1, metavar="N")]
InceptionWeights = Annotated[Path | None, option(SCORES, "FID's; else downloaded.", metavar="FILE")]
LpipsWeights = Annotated[Path | None, option(SCORES, "SqueezeNet's; else downloaded.", metavar="FILE")]

Preset = Annotated[str, option(TRAINING, "paper, base, small or tiny.", metavar="NAME")]
Presets = Annotated[str, option(TRAINING, "Of paper, base, small, tiny.", "--preset", metavar="LIST")]
Set = Annotated[list[str] | None, option(TRAINING, "Replace a preset's value.", "--set", metavar="X=Y")]
Init = Annotated[str | None, option(TRAINING, "Start from it, from bundled, or hf://a/b.", metavar="DIR")]
Minutes = Annotated[float, option(TRAINING, "Stop after M minutes; default 0: never.", metavar="M")]
TotalMinutes = Annotated[
    float, option(TRAINING, "Fit all into so long; default 0: no limit.", "--minutes", metavar="M")
]
Classifiers = Annotated[str, option(TRAINING, "Default resnet18,mobilenet-v3-large; -small.", metavar="LIST")]
Weights = Annotated[list[str] | None, option(TRAINING, "NAME=FILE or imagenet: also fine-tune.", metavar="TEXT")]
Seeds = Annotated[int, option(TRAINING, "Classifiers of each kind; default 3.", metavar="N")]
Beyond = Annotated[str | None, option(TRAINING, "Further tables, or all.", metavar="LIST")]

Azimuths = Annotated[
    str | None, option(CAMERAS, "Degrees; default 0,-90,-180,-270 (-90: viewer's right).", metavar="LIST")
]
ViewsCount = Annotated[int | None, option(CAMERAS, "Instead: N views evenly around.", min=1, metavar="N")]
ViewNames = Annotated[str | None, option(CAMERAS, "Names of the views.", "--views", metavar="LIST")]
Elevation = Annotated[float, option(CAMERAS, "Of the cameras.", metavar="DEG")]
Size = Annotated[int, option(CAMERAS, "Pixels across and down.", min=1, metavar="N")]
Samples = Annotated[int, option(CAMERAS, "Antialiasing: N x N rays a pixel.", min=1, max=16, metavar="N")]
Light = Annotated[str, option(CAMERAS, "Right, up, back of camera.", metavar="X,Y,Z")]
Ambient = Annotated[float, option(CAMERAS, "Light on unlit sides.", min=0.0, max=1.0, metavar="A")]
Renderers = Annotated[int, option(CAMERAS, "Processes; 0 (default): one per core.", "--workers", min=0, metavar="N")]

Out = Annotated[Path, option(OUTPUT, "The folder for what is made.", "--out", metavar="DIR")]
ContinuedOut = Annotated[Path, option(OUTPUT, "The same command continues it.", "--out", metavar="DIR")]
OutPlace = Annotated[str, option(OUTPUT, "The same command continues.", "--out", metavar="DIR")]
Json = Annotated[Path | None, option(OUTPUT, "Also write the result here.", "--json", metavar="FILE")]
PrintJson = Annotated[bool, option(OUTPUT, "Print JSON.", "--print-json")]
Overwrite = Annotated[bool, option(OUTPUT, "Replace what is there.", "--overwrite")]


_NAME = re.compile(r',(?:\s*"((?:[^"]|"")*)"\s*(?=,|$)|([^,]*))')


def command_line(context: typer.Context) -> list[str]:
    """The program's name and its arguments as they were given, which results say; URLs without what is secret."""
    return ["dimvida", *shown_words(context.obj or [])]


def parse_names(name: str, text: str | None) -> tuple[str, ...] | None:
    """``front,left`` as names; None stays None. As in CSV, one with a comma in it stands in ``"``.

    Args:
        name: The option, for the message.
        text: What the user gave for the option; None where it was left out.

    Raises:
        InputError: A name is empty or comes twice.
    """
    if text is None:
        return None
    parts = _NAME.findall(f",{text}")
    names = tuple(quoted.replace('""', '"') or plain.strip() for quoted, plain in parts)
    if not all(names):
        raise InputError(f"{name} {text!r}: give names separated by commas")
    if len(set(names)) < len(names):
        raise InputError(f"{name} {text}: a name is there twice")
    return names


def parse_numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    """``1,2,3`` as whole numbers; None stays None.

    Raises:
        InputError: One of them is no whole number, or comes twice.
    """
    parts = parse_names(name, text)
    try:
        return parts and tuple(int(part) for part in parts)
    except ValueError:
        raise InputError(f"{name} {text}: give whole numbers separated by commas") from None


def parse_floats(name: str, text: str) -> tuple[float, ...]:
    """``0,-22.5`` as numbers.

    Raises:
        InputError: One of them is no finite number.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{name} {text}: not numbers separated by commas")
    return numbers


def parse_angles(name: str, text: str) -> tuple[tuple[float, float | None], ...]:
    """``0,-22.5,90:10`` as azimuths, each with its elevation or None, in degrees.

    Raises:
        InputError: One of them is no finite number, or out of range.
    """
    from dimvida.data.cameras import MOST_DEGREES

    angles = []
    for part in text.split(","):
        try:
            numbers = [float(number) for number in part.split(":")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or not all(map(math.isfinite, numbers)):
            raise InputError(f"{name} {text}: give degrees separated by commas, as 0,-45, or 90:10 at elevation 10")
        angles.append((numbers[0], numbers[1] if len(numbers) == 2 else None))
        if abs(numbers[0]) > MOST_DEGREES:
            raise InputError(f"{name} {text}: an azimuth is at most {MOST_DEGREES:,} degrees")
        require_elevation(f"{name} {text}", angles[-1][1])
    return tuple(angles)


def require_elevation(given: str, elevation: float | None) -> None:
    """Raise InputError unless an elevation, if there is one, is an angle from -90 to 90; ``given`` is how it was."""
    if elevation is not None and not -90 <= elevation <= 90:
        raise InputError(f"{given}: an elevation is between -90 and 90 degrees")


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
    from dimvida.classification.design import QUESTION_NAMES

    return QUESTION_NAMES if text == "all" else parse_names("--beyond", text) or ()


def resolve_device(name: str) -> torch.device:
    """The device of that name, made the current one; ``auto`` is a GPU if there is one.

    A GPU without a number is the first, and under ``torchrun`` that of this rank.

    Raises:
        InputError: There is no such device, or nothing runs on it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name)
        if device.type == "cuda":
            set_float32_precision()
            if torch.cuda.is_available():
                torch.cuda.set_device(device)  # before the first tensor: every GPU that is touched keeps some memory
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from None
    return device


def set_float32_precision() -> None:
    """Say what float32 is computed in, whatever the environment and PyTorch's defaults are."""
    import torch

    torch.backends.cuda.matmul.fp32_precision = FLOAT32_PRODUCTS
    torch.backends.cudnn.conv.fp32_precision = FLOAT32_CONVOLUTIONS


def require_readable(bad: Sequence[BadFile]) -> None:
    """What a command without ``--skip-bad`` ends with.

    Raises:
        DimvidaError: A file could not be read.
    """
    if bad:
        raise DimvidaError(
            f"left out: {counted(len(bad), 'file')} that cannot be read; the first: {bad[0].location}: "
            f"{bad[0].reason} (not an error with --skip-bad)"
        )
