"""What ``dimvida bench`` prints: tables that fit 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dimvida.cli.terminal import console, new_table, print_wrapped
from dimvida.results.metrics import significant

if TYPE_CHECKING:
    from dimvida.bench.sampling import ArmResult, BatchResult, ModelTime

OPERATIONS, LONGEST = 12, 44  # the costliest, and characters of a name; the file has more
PROFILE_COLUMNS = {
    "products": "products",
    "norm": "norm, SiLU",
    "step": "step, noise",
    "copies": "copies",
    "other": "other",
    "outside": "outside",
}


def print_machine(result: dict[str, Any]) -> None:
    """With what and on what it is measured."""
    versions, hardware = result["versions"], result["hardware"]
    gpu = hardware["gpu"]
    flags = " ".join(hardware["cpu_flags"])
    print_wrapped(
        f"dimvida {versions['dimvida']}, torch {versions['torch']}, Python {versions['python']}; "
        f"{hardware['cpu']} ({flags or 'no known flags'}), threads: {hardware['threads']}"
        + (f"; {gpu['name']}, {gpu['memory_gib']} GiB, CUDA {versions['cuda']}" if gpu else "")
    )


def print_head(result: dict[str, Any]) -> None:
    """What is measured on what, and which arms do not run."""
    settings = result["settings"]
    print_machine(result)
    print_wrapped(
        f"{settings['network']}: {settings['views']} views of {settings['latent_dim']}, width {settings['width']}; "
        f"{settings['solver']}, {' and '.join(map(str, settings['steps']))} steps, "
        f"{'at most ' if settings['seconds'] else ''}{settings['repeats']} runs of each arm"
    )
    _print_reasons({arm["name"]: arm["not_run"] for arm in result["arms"] if arm["not_run"]})


def print_batch(result: BatchResult) -> None:
    """The arms at one batch size, and their profiles."""
    on_gpu = any(arm.memory is not None for arm in result.arms)
    gflop = significant(result.gflop_per_step)
    print_wrapped(f"batch {result.batch}, {result.evaluations} steps: {gflop} GFLOP of matrix products a step")
    table = new_table()
    table.add_column("arm", no_wrap=True)
    for heading in ("ms/step", "quartiles", "ms", "views/s", "of floor", "speed-up"):
        table.add_column(heading, justify="right", no_wrap=True)
    if on_gpu:
        table.add_column("GiB", justify="right", no_wrap=True)
    for arm in result.arms:
        step, speedup = result.ms_per_step(arm.trajectory), result.times_baseline(arm)
        table.add_row(
            arm.name,
            significant(step.median),
            f"{significant(step.q1)}-{significant(step.q3)}",
            significant(arm.trajectory.median),
            significant(result.views_per_second(arm)),
            f"{100 * result.floor_fraction(arm):.0f} %",
            "" if speedup is None else f"{speedup:.2f}",
            *([significant(arm.memory / 2**30)] if arm.memory is not None else []),
        )
    for name, floor in result.floors.items():
        step = result.ms_per_step(floor)
        quartiles = f"{significant(step.q1)}-{significant(step.q3)}"
        table.add_row(f"floor {name}", significant(step.median), quartiles, significant(floor.median))
    console().print(table)
    _print_reasons(result.failed)
    _print_deviations(result)
    _print_profiles(result)


def print_steps(rows: list[dict[str, Any]]) -> None:
    """Training steps beside their floors, medians in milliseconds."""
    table = new_table()
    for heading in ("preset", "stage"):
        table.add_column(heading, no_wrap=True)
    for heading in ("batch", "floor", "step", "draw", "Adam", "EMA", "overhead"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        pieces = (
            row[name] and significant(row[name]["median"]) for name in ("floor", "step", "draw", "adam", "average")
        )
        overhead = f"{100 * row['overhead']:.1f} %"
        table.add_row(row["preset"], row["stage"], str(row["batch"]), *(text or "" for text in pieces), overhead)
    console().print(table)
    print_wrapped("ms; overhead: the step less Adam and EMA, over its floor (forward and backward alone)")


def print_end_to_end(stages: list[ModelTime], failed: dict[str, str]) -> None:
    """The whole way from pictures to pictures."""
    print_wrapped("end to end, files aside (generate: encode, sample and decode)")
    table = new_table()
    table.add_column("stage")
    for heading in ("ms", "quartiles", "views/s"):
        table.add_column(heading, justify="right")
    for stage in stages:
        quartiles = f"{significant(stage.time.q1)}-{significant(stage.time.q3)}"
        table.add_row(stage.name, significant(stage.time.median), quartiles, significant(stage.views_per_second))
    console().print(table)
    _print_reasons(failed)


def _print_deviations(result: BatchResult) -> None:
    found = [f"{arm.name} {arm.deviation:.1e}" for arm in result.arms if arm.deviation is not None]
    if found:
        print_wrapped(f"rms difference of the latents from the eager backend, same noise: {', '.join(found)}")


def _print_profiles(result: BatchResult) -> None:
    profiled = [arm for arm in result.arms if arm.profile is not None]
    if not profiled:
        return
    print_wrapped("share of a profiled step, % (outside: in no operation)")
    table = new_table()
    table.add_column("arm", no_wrap=True)
    for heading in PROFILE_COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in profiled:
        table.add_row(arm.name, *(f"{100 * arm.profile.shares[kind]:.1f}" for kind in PROFILE_COLUMNS))
    console().print(table)
    for arm in profiled:
        if arm.name.startswith("fused"):
            _print_operations(arm)


def _print_operations(arm: ArmResult) -> None:
    print_wrapped(f"{arm.name}: its costliest {'kernels' if arm.memory is not None else 'operations'}")
    table = new_table()
    for heading in ("operation", "kind", "calls/step", "us/step"):
        table.add_column(heading, justify="left" if heading == "operation" else "right", no_wrap=True)
    for one in arm.profile.operations[:OPERATIONS]:
        name = one.name if len(one.name) <= LONGEST else f"{one.name[: LONGEST - 3]}..."
        table.add_row(name, one.kind, f"{one.calls_per_step:.3g}", significant(1e3 * one.ms_per_step))
    console().print(table)


def _print_reasons(reasons: dict[str, str]) -> None:
    for reason in dict.fromkeys(reasons.values()):
        names = ", ".join(name for name, given in reasons.items() if given == reason)
        print_wrapped(f"not run: {names}: {reason}")
