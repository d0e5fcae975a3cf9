"""``dimvida generate --verify`` and ``--dry-run``: they look and write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dimvida.cli.progress import ProgressBar, duration, note
from dimvida.errors import DimvidaError

if TYPE_CHECKING:
    from dimvida.generation.run import Generation

SHOWN = 20


def verify_output(folder: Path) -> int:
    """Check every hash of an output.

    Raises:
        InputError: It is no output.
        DimvidaError: Something is damaged.
    """
    from dimvida.generation.verify import find_damage, open_output

    output = open_output(folder)
    with ProgressBar("verifying", len(output.shards), "shards") as bar:
        damage = find_damage(output, bar.advance)
    for line in damage[:SHOWN]:
        print(line)
    if damage:
        raise DimvidaError(f"{folder}: {len(damage)} files are damaged or missing; the command that made it repairs it")
    done = sum(output.stats(shard) is not None for shard in output.shards)
    print(
        f"{folder}: {'finished' if output.finished else 'unfinished'}, {done} of {len(output.shards)} shards, all whole"
    )
    return 0


def print_forecast(generation: Generation) -> int:
    """Print what a run would do."""
    from dimvida.generation.dry_run import forecast, free_space

    settings, plan = generation.settings, forecast(generation)
    print(
        f"plan: {plan.views} views of {plan.objects} objects in {plan.rows} rows, "
        f"{plan.pictures} pictures as {settings.format}"
    )
    for reason, count in generation.plan.left_out.items():
        note(f"{count} objects left out: {reason}")
    print(f"shards: {plan.shards} of {settings.shard_size} rows in batches of {settings.batch}, {plan.done} finished")
    print(f"model: {settings.solver}, {settings.steps} steps, {settings.backend} {settings.dtype} on {settings.device}")
    if plan.seconds is None or plan.size is None:
        print("time and size: not known, since none of the first inputs can be read")
    else:
        print(f"time: about {duration(plan.seconds)} for what is left, from {plan.probed} rows in one process")
        print(f"size: about {_size(plan.size)}, and {_size(free_space(generation))} are free")
    print("nothing was written")
    return 0


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
