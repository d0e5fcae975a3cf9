"""Reads an output again, every byte, and says what is not as it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dimvida.errors import InputError
from dimvida.generation.output import METADATA, REPORT, OutputFolder, stored_configuration
from dimvida.generation.shards import cut_shards


def open_output(folder: Path) -> OutputFolder:
    """An output as its own configuration describes it.

    Raises:
        InputError: It is none, or its configuration is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    stored = stored_configuration(folder)
    if stored is None:
        raise InputError(f"{folder}: not an output of dimvida generate")
    try:
        rows = int(stored["objects"]) * int(stored["samples_per_view"])
        return OutputFolder(folder, stored, cut_shards(rows, int(stored["shard_size"])), writing=False)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder}: written by another version of dimvida, which had no shards") from None


def find_damage(output: OutputFolder, progress: Callable[[int], object] = lambda shards: None) -> list[str]:
    """What is wrong with an output, one line each; nothing where it is as it was written.

    A shard that was never finished is no damage, unless the output says that it is finished.

    Args:
        output: The output; nothing in it is changed.
        progress: Called with 1 after each shard.
    """
    damage, missing = [], []
    for shard in output.shards:
        name = f"{shard.stem}.json"
        stats = output.stats(shard)
        if stats is not None:
            damage += stats.problems(output.folder)
        elif (output.folder / name).exists():
            damage.append(f"{name}: damaged")
        else:
            missing.append(name)
        progress(1)
    if not output.finished:
        return damage
    damage += [f"{name}: missing" for name in missing]
    if not damage:
        damage += _damage_of_the_end(output)
    return damage


def _damage_of_the_end(output: OutputFolder) -> list[str]:
    """What was put together at the end is compared with what it was put together from."""
    damage = []
    if output.form == "imagefolder" and not output.metadata_right():
        damage.append(f"{METADATA}: not what the shards say")
    if not output.report_right(output.make_report()):
        damage.append(f"{REPORT}: not what the shards say")
    return damage
