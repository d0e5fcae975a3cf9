"""The options of ``dimvida generate`` alone, and what they say: which views of which, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dimvida.cli.options import DATA, MODEL, OUTPUT, option, parse_angles, parse_names, require_elevation
from dimvida.cli.terminal import note
from dimvida.errors import InputError
from dimvida.files import require_writable_file, require_writable_folder
from dimvida.generation.cluster_connection import check_address, import_ray
from dimvida.generation.formats import NAMES
from dimvida.torchrun import is_rank

if TYPE_CHECKING:
    from dimvida.data.cameras import Camera
    from dimvida.data.columns import Columns
    from dimvida.data.source import MultiViewSource
    from dimvida.generation.cameras import Angle
    from dimvida.generation.plan import GenerationPlan
    from dimvida.sampling.multiview import MultiViewModel

Input = Annotated[str, option(DATA, "Folder or zip, or 'sample'.", "--data", metavar="PATH")]
View = Annotated[str | None, option(DATA, "Known views, as front,left; default: all.", metavar="NAMES")]
Target = Annotated[str | None, option(DATA, "Views to generate; default: all missing.", metavar="NAMES")]
Azimuths = Annotated[str | None, option(DATA, "Or views at angles, as 0,45,90 degrees.", metavar="DEG,...")]
Elevation = Annotated[float | None, option(DATA, "Of these; default: checkpoint's.", metavar="DEG")]
Azimuth = Annotated[str | None, option(DATA, "Where single views were taken.", metavar="DEG")]
Strict = Annotated[bool, option(DATA, "Refuse images of another size.", "--strict")]
BatchOrAuto = Annotated[str, option(MODEL, "Objects at a time; default auto: what fits.", metavar="N")]
SamplesPerView = Annotated[int, option(MODEL, "Draws of each object.", metavar="K")]
Format = Annotated[str, option(OUTPUT, f"{', '.join(NAMES)}; default imagefolder.", "--format", metavar="NAME")]
ImageFormat = Annotated[str | None, option(OUTPUT, "png (default), jpeg or webp.", metavar="NAME")]
Quality = Annotated[int | None, option(OUTPUT, "Of JPEG and WebP; default 90.", metavar="Q")]
IncludeKnown = Annotated[bool, option(OUTPUT, "Write the known views too.", "--include-known")]
ShardSize = Annotated[int | None, option(OUTPUT, "Rows a shard; default about 1024.", metavar="N")]
Shard = Annotated[str | None, option(OUTPUT, "Do part i of n, in an array job.", "--shard", metavar="I/N")]
Ray = Annotated[str | None, option(OUTPUT, "Make shards on Ray, here or at ADDR.", metavar="ADDR")]
CpusPerWorker = Annotated[int | None, option(OUTPUT, "Cores, in place of a GPU each.", metavar="N")]
DryRun = Annotated[bool, option(OUTPUT, "Say what would be done, and how long.", "--dry-run")]
Sheet = Annotated[Path | None, option(OUTPUT, "Also draw a contact sheet (PNG).", metavar="FILE")]
SheetRows = Annotated[int, option(OUTPUT, "Most rows of the sheet.", metavar="N")]
Truth = Annotated[Path | None, option(OUTPUT, "True views, for the sheet.", metavar="PATH")]

SHEET_SUFFIXES = (".png", ".jpg")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which views are made of which, as options say it.

    Attributes:
        given, targets: Names of the known views and of those to make; None for all.
        angles: Of the views to make, in place of names.
        elevation: Of these angles; None for the checkpoint's.
        azimuth: Where single known views were taken.
    """

    given: tuple[str, ...] | None
    targets: tuple[str, ...] | None
    angles: tuple[Angle, ...] | None = None
    elevation: float | None = None
    azimuth: Angle | None = None


def parse_wanted(
    view: str | None, target: str | None, azimuths: str | None, azimuth: str | None, elevation: float | None
) -> Wanted:
    """Which views are made of which.

    Raises:
        InputError: Views are both named and placed, or of angles only one is said or one is none.
    """
    given, targets = parse_names("--view", view), parse_names("--target", target)
    if azimuths is None:
        for name, value in (("--azimuth", azimuth), ("--elevation", elevation)):
            if value is not None:
                raise InputError(f"{name} {value}: say with --azimuths where the views to make are")
        return Wanted(given, targets)
    require_elevation(f"--elevation {elevation}", elevation)
    if targets is not None:
        raise InputError("give --target or --azimuths, not both")
    if given is not None and azimuth is not None:
        raise InputError("give --view or --azimuth, not both")
    places = None if azimuth is None else parse_angles("--azimuth", azimuth)
    if places is not None and len(places) > 1:
        raise InputError(f"--azimuth {azimuth}: give one angle, that of all single views")
    angles = parse_angles("--azimuths", azimuths)
    return Wanted(given, None, angles, elevation, None if places is None else places[0])


def plan_wanted(
    path: str,
    model: MultiViewModel,
    wanted: Wanted,
    split: str | None,
    columns: Columns,
    nmr_views: tuple[int, ...] | None,
    classes: tuple[str, ...] | None,
    *,
    draws: int,
    limit: int | None,
) -> GenerationPlan:
    """What makes the views: those that the model has names for, or any at angles, with notes on what is special."""
    from dimvida.data.partitions import of_classes
    from dimvida.generation.cameras import model_cameras, name_views, plan_at
    from dimvida.generation.inputs import open_input, open_placed
    from dimvida.generation.plan import make_plan

    given, at = wanted.given, wanted.azimuth
    if wanted.angles is None:
        source = of_classes(open_input(path, model.view_names, given, split, columns, nmr_views), classes)
        cameras = None if model.cameras is None else model_cameras(model)
        plan = make_plan(source, model.view_names, given=given, targets=wanted.targets, draws=draws, cameras=cameras)
        return plan.first(limit)
    targets = name_views("--azimuths", wanted.angles, model_cameras(model), wanted.elevation)
    source, placed = open_placed(path, model, given, at, split, columns, nmr_views)
    plan = plan_at(of_classes(source, classes), placed, targets, given=given, draws=draws).first(limit)
    known = [camera for view, camera in placed.items() if given is None or view in given]
    _note_unusual(plan, model, known, targets)
    return plan


def _note_unusual(
    plan: GenerationPlan, model: MultiViewModel, known: Sequence[Camera], targets: Mapping[str, Camera]
) -> None:
    from dimvida.generation.cameras import known_note, untrained_note

    for text in (
        untrained_note(targets.values(), model.trained_cameras),
        untrained_note(known, model.trained_cameras, "angles of known views"),
        known_note(plan, targets),
    ):
        if text is not None:
            note(text)


def open_truth(path: str, plan: GenerationPlan, truth: Path | None) -> MultiViewSource:
    """What has the true views: the input itself unless something else is given."""
    from dimvida.data.opening import open_source
    from dimvida.data.sample import is_sample, sample_truth

    if truth is None and is_sample(path):
        truth = sample_truth()
    return plan.source if truth is None else open_source(truth)


def check_sheet(sheet: Path | None, rows: int) -> None:
    """Raise InputError for a sheet that could not be written at the end."""
    if rows < 1:
        raise InputError(f"--sheet-rows {rows}: must be at least 1")
    if sheet is None:
        return
    if sheet.suffix.lower() not in SHEET_SUFFIXES or sheet.is_dir():
        raise InputError(f"--sheet {sheet}: name a file that ends in {' or '.join(SHEET_SUFFIXES)}")
    if sheet.absolute().parent.is_dir():
        require_writable_file("--sheet", sheet)
    else:  # which is made
        require_writable_folder("--sheet", sheet.absolute().parent)


def check_member(shard: str | None, overwrite: bool, sheet: Path | None) -> None:
    """Raise InputError for options that members of an array job would do to each other."""
    if shard is not None and overwrite:
        raise InputError(
            f"--shard {shard}: --overwrite would remove what the others have done; remove the folder first"
        )
    if shard is not None and sheet is not None:
        raise InputError(f"--shard {shard}: has no --sheet; the same command without --shard draws it at the end")


def check_cluster(ray: str | None, cpus: int | None, shard: str | None, device: str, dry_run: bool) -> None:
    """Raise InputError for options that do not go with a cluster, or with none."""
    if ray is None:
        if cpus is not None:
            raise InputError(f"--cpus-per-worker {cpus}: is for --ray")
        return
    if cpus is not None and cpus < 1:
        raise InputError(f"--cpus-per-worker {cpus}: must be at least 1")
    for given, name, why in (
        (shard is not None, "--shard", "Ray divides the work itself"),
        (device != "auto", "--device", "its workers have a GPU each, or --cpus-per-worker"),
        (dry_run, "--dry-run", "leave one of them out"),
        (is_rank(), "torchrun", "Ray starts the workers itself"),
    ):
        if given:
            raise InputError(f"--ray and {name}: {why}")
    check_address(ray)
    import_ray()


def parse_batch(text: str) -> int | None:
    """Objects at a time; None for auto."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--batch {text}: give a number or 'auto'") from None
