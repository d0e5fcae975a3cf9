"""Markdown from what ``dimvida bench`` measured: what gpu_measure and gpu_generate put on their pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

FUSED = ("fused-bf16", "fused-fp32")  # the arm that the others are compared with: the first one that ran
OPERATIONS = 16  # the costliest; the JSON has all


def slug(name: str) -> str:
    """A file's name of a GPU's: ``nvidia-h200``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; None is an empty cell."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]


def number(value: float | None) -> str | None:
    """Three significant digits, without an exponent."""
    if value is None:
        return None
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def percent(share: float) -> str:
    """Of a share of one."""
    return f"{100 * share:.1f} %"


def sampling_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """Times of all arms, then the fused one against its floor and each of the others, for every number of steps."""
    lines: list[str] = []
    for steps in sorted({result["evaluations"] for result in results}):
        batches = sorted((one for one in results if one["evaluations"] == steps), key=lambda one: one["batch"])
        lines += [f"## A step of the sampler, {steps} steps", "", *_times(batches), "", *_ratios(batches), ""]
    return lines


def _times(batches: Sequence[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(arm["name"] for batch in batches for arm in batch["arms"]))
    floors = list(dict.fromkeys(floor["dtype"] for batch in batches for floor in batch["floors"]))
    rows = []
    for batch in batches:
        arms = {arm["name"]: arm["ms_per_step"] for arm in batch["arms"]}
        products = {floor["dtype"]: floor["ms_per_step"] for floor in batch["floors"]}
        cells = [_spread(arms.get(name)) for name in names] + [_spread(products.get(name)) for name in floors]
        rows.append([batch["batch"], *cells])
    head = "Milliseconds a step, start and tables shared out over the steps: median (quartiles, timed runs)."
    return [head, "", *table(["batch", *names, *(f"floor {name}" for name in floors)], rows)]


def _spread(step: dict[str, Any] | None) -> str | None:
    if step is None:
        return None
    return f"{number(step['median'])} ({number(step['q1'])} to {number(step['q3'])}, {step['runs']})"


def _ratios(batches: Sequence[dict[str, Any]]) -> list[str]:
    others = list(dict.fromkeys(arm["name"] for batch in batches for arm in batch["arms"] if arm["name"] not in FUSED))
    rows = []
    for batch in batches:
        arms = {arm["name"]: arm for arm in batch["arms"]}
        if (fused := _fused(batch)) is None:
            continue
        ms = fused["ms_per_step"]["median"]
        ratios = [arms[name]["ms_per_step"]["median"] / ms if name in arms else None for name in others]
        memory = fused["peak_memory_bytes"]
        rows.append([
            batch["batch"],
            percent(fused["floor_fraction"]),
            *map(number, ratios),
            f"{fused['views_per_second']:.0f}",
            number(memory / 2**30) if memory is not None else None,
            f"{fused['rms_from_eager_fp32']:.1e}",
        ])  # fmt: skip
    if not rows:
        return ["The fused engine did not run."]
    name = next(arm["name"] for batch in batches if (arm := _fused(batch)))
    head = f"`{name}`: part of the time that its matrix products alone take, and how many times as fast as each arm."
    return [head, "", *table(["batch", "of floor", *others, "views/s", "GiB", "rms from eager"], rows)]


def _fused(batch: dict[str, Any]) -> dict[str, Any] | None:
    arms = {arm["name"]: arm for arm in batch["arms"]}
    return next((arms[name] for name in FUSED if name in arms), None)


def profile_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """Where the time of a fused step goes, what its operations achieve, and the gaps between its kernels."""
    lines: list[str] = []
    for batch in sorted(results, key=lambda one: -one["batch"]):
        fused = _fused(batch)
        if fused is None or not fused["profile"]:
            continue
        shares = ", ".join(f"{name} {percent(share)}" for name, share in fused["profile"]["shares"].items())
        lines += [f"## Inside a step, `{fused['name']}`, batch {batch['batch']}", ""]
        lines += [f"Share of a profiled step (outside: in no kernel): {shares}."]
        if gaps := fused["profile"]["gaps"]:
            lines += [
                f"{number(gaps['kernels_per_step'])} kernels a step; between them {number(gaps['us_per_step'])} us a "
                f"step, {number(gaps['median_us'])} us at the median and {number(gaps['largest_us'])} us at most."
            ]
        lines += ["", "Launched one by one; GB/s count each tensor once.", "", *_operations(fused["operations"]), ""]
    return lines


def _operations(operations: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [
            f"`{one['name']}`",
            " ".join("x".join(map(str, shape)) for shape in one["shapes"][:3] if shape),
            number(one["calls_per_step"]),
            number(one["us_per_call"]),
            number(one["us_per_step"]),
            number(one["tflops"]),
            number(one["gb_per_s"]),
        ]
        for one in operations[:OPERATIONS]
    ]
    return table(["operation", "shapes", "calls/step", "us/call", "us/step", "TFLOP/s", "GB/s"], rows)


def generation_lines(result: dict[str, Any]) -> list[str]:
    """Views a second from files to files, where the time goes and what bounds it."""
    stages = list(result["runs"][0]["stages"]) if result["runs"] else []
    rows = []
    for run in result["runs"]:
        shares = [percent(run["share_of_wall"].get(stage, 0)) for stage in stages]
        use = run["utilisation"]
        busy = [f"{use[name]['mean']:.0f}" if use and name in use else None for name in ("gpu_percent", "power_w")]
        first = [run["format"], run["batch"], run["steps"], run["objects"], number(run["seconds"])]
        rate = f"{run['views_per_second']:.0f}"
        rows.append([*first, rate, number(run["bytes"] / 2**30), *shares, run["bound_by"], *busy])
    inputs = result["inputs"]
    columns = ["format", "batch", "steps", "objects", "s", "views/s", "GiB", *stages, "bound by", "GPU busy, %", "W"]
    network = result["network"] or f"checkpoint {result['checkpoint'][:12]}"
    return [
        "## From files to files",
        "",
        f"{network}, {result['solver']}; {inputs['objects']} inputs as {inputs['form']}, {inputs['workers']} reading "
        f"processes; written to {result['filesystem'] or 'an unknown file system'}. Columns of stages: share of the "
        "time on the wall; they overlap. Bound by: the busiest of what runs side by side.",
        "",
        *table(columns, rows),
        "",
    ]


def training_lines(result: dict[str, Any]) -> list[str]:
    """Training steps a second, beside the forward and backward pass alone."""
    rows = []
    for one in result["results"]:
        pieces = [_spread(one[name]) for name in ("step", "floor", "draw", "adam", "average")]
        rate = number(1e3 / one["step"]["median"])
        rows.append([one["preset"], one["stage"], one["batch"], rate, *pieces, percent(one["overhead"])])
    columns = ["preset", "stage", "batch", "steps/s", "step", "floor", "draw", "adam", "average", "overhead"]
    head = "Milliseconds: median (quartiles, timed runs). Floor: forward and backward pass on a batch that is there; "
    head += "overhead: what a step takes beyond it, the optimiser and the average, as a share of it."
    return ["## Training", "", head, "", *table(columns, rows), ""]


def missing_lines(wanted: Iterable[tuple[int, int]], results: Sequence[dict[str, Any]]) -> list[str]:
    """Which (batch, steps) were not measured, and arms that failed."""
    there = {(result["batch"], result["evaluations"]) for result in results}
    lines = [f"- batch {batch}, {steps} steps" for batch, steps in wanted if (batch, steps) not in there]
    for result in results:
        where = f"batch {result['batch']}, {result['evaluations']} steps"
        lines += [f"- `{failed['name']}`, {where}: {failed['reason']}" for failed in result["failed"]]
    return ["## Not measured", "", *lines, ""] if lines else []
