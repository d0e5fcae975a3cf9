"""What the command line of ``dimvida generate`` says: which views it makes of which, and whether options fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.cli.options import parse_angles, require_elevation
from dimvida.cli.terminal import note
from dimvida.errors import InputError
from dimvida.files import require_writable_file, require_writable_folder
from dimvida.generation.cluster_connection import check_address, import_ray
from dimvida.torchrun import is_rank

if TYPE_CHECKING:
    from dimvida.data.columns import Columns
    from dimvida.data.source import MultiViewSource
    from dimvida.generation.cameras import Angle
    from dimvida.generation.plan import GenerationPlan
    from dimvida.sampling.multiview import MultiViewModel

SHEET_SUFFIXES = (".png", ".jpg")


def parse_places(
    azimuths: str | None,
    azimuth: str | None,
    elevation: float | None,
    given: tuple[str, ...] | None,
    targets: tuple[str, ...] | None,
) -> tuple[tuple[Angle, ...] | None, Angle | None]:
    """The angles of the views to make, and that of the known ones; None where they are named.

    Raises:
        InputError: Views are both named and placed, or of angles only one is said or one is none.
    """
    if azimuths is None:
        for name, value in (("--azimuth", azimuth), ("--elevation", elevation)):
            if value is not None:
                raise InputError(f"{name} {value}: say with --azimuths where the views to make are")
        return None, None
    require_elevation(f"--elevation {elevation}", elevation)
    if targets is not None:
        raise InputError("give --target or --azimuths, not both")
    if given is not None and azimuth is not None:
        raise InputError("give --view or --azimuth, not both")
    places = None if azimuth is None else parse_angles("--azimuth", azimuth)
    if places is not None and len(places) > 1:
        raise InputError(f"--azimuth {azimuth}: give one angle, that of all single views")
    return parse_angles("--azimuths", azimuths), None if places is None else places[0]


def plan_named(
    path: str,
    model: MultiViewModel,
    given: tuple[str, ...] | None,
    targets: tuple[str, ...] | None,
    split: str | None,
    columns: Columns,
    nmr_views: tuple[int, ...] | None,
    classes: tuple[str, ...] | None,
    draws: int,
) -> GenerationPlan:
    """What makes views that the model has names for."""
    from dimvida.data.partitions import of_classes
    from dimvida.generation.cameras import model_cameras
    from dimvida.generation.inputs import open_input
    from dimvida.generation.plan import make_plan

    source = of_classes(open_input(path, model.view_names, given, split, columns, nmr_views), classes)
    cameras = None if model.cameras is None else model_cameras(model)
    return make_plan(source, model.view_names, given=given, targets=targets, draws=draws, cameras=cameras)


def plan_placed(
    path: str,
    model: MultiViewModel,
    given: tuple[str, ...] | None,
    at: Angle | None,
    angles: tuple[Angle, ...],
    elevation: float | None,
    split: str | None,
    columns: Columns,
    nmr_views: tuple[int, ...] | None,
    classes: tuple[str, ...] | None,
    draws: int,
    limit: int | None,
) -> GenerationPlan:
    """What makes views at any angles, and notes on those that are special."""
    from dimvida.data.partitions import of_classes
    from dimvida.generation.cameras import (
        known_note,
        model_cameras,
        name_views,
        plan_at,
        untrained_note,
    )
    from dimvida.generation.inputs import open_placed

    trained = model_cameras(model)
    targets = name_views("--azimuths", angles, trained, elevation)
    source, placed = open_placed(path, model, given, at, split, columns, nmr_views)
    plan = plan_at(of_classes(source, classes), placed, targets, given=given, draws=draws).first(limit)
    known = [camera for view, camera in placed.items() if given is None or view in given]
    for text in (
        untrained_note(targets.values(), model.trained_cameras),
        untrained_note(known, model.trained_cameras, "angles of known views"),
        known_note(plan, targets),
    ):
        if text is not None:
            note(text)
    return plan


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
