"""Whether an output, and the input that it was made from, are as they were: every byte is read again.

An output asks of its input that it stays the same until all is made: sizes and times may stay when a picture is
replaced, and may change when it is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dimvida.data.cameras import CAMERAS_NAME
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError, UnreadableImage, thread_errors
from dimvida.generation.formats import FORMATS
from dimvida.generation.output import METADATA, REPORT, OutputFolder, stored_configuration
from dimvida.generation.plan import Shard, cut_shards
from dimvida.generation.read import RowReader
from dimvida.generation.storage import Place
from dimvida.generation.tasks import Task

_THREADS = min(8, os.cpu_count() or 1)  # hashing and reading files run side by side


def open_output(folder: Place) -> OutputFolder:
    """An output as its own configuration describes it.

    Raises:
        InputError: It is none, or its configuration is damaged.
    """
    if isinstance(folder, Path) and not folder.is_dir():
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
    if FORMATS[output.form].joined_lines and not output.metadata_right():
        damage.append(f"{METADATA}: not what the shards say")
    if not output.cameras_right():
        damage.append(f"{CAMERAS_NAME}: not what the configuration says")
    report = output.make_report()
    problem = output.card_problem(report)
    if problem is not None:
        damage.append(problem)
    if not output.report_right(report):
        damage.append(f"{REPORT}: not what the shards say")
    return damage


def recheck_files(output: OutputFolder, shard: Shard) -> list[str]:
    """Read every byte of a shard that says it is finished; if anything is wrong, it is finished no more.

    Returns:
        What is wrong, one line each.
    """
    path = output.folder / f"{shard.stem}.json"
    stats = output.stats(shard)
    if stats is None and not path.exists():
        return []
    problems = [f"{path.name}: damaged"] if stats is None else stats.problems(output.folder)
    if problems:
        output.reopen(shard)
    return problems


def recheck_inputs(output: OutputFolder, shard: Shard, reader: RowReader) -> list[str]:
    """Compare the inputs of a finished shard with the hashes on record; a shard that is not finished has none.

    An input that could not be read when the shard was made, and can be now, makes the shard unfinished again. So does,
    with ``overwrite``, one that has changed.

    Args:
        output: The output that the shard is in; its files are whole.
        shard: The shard whose inputs are compared.
        reader: Reads rows of the plan.

    Returns:
        Why it is finished no more, one line each.

    Raises:
        InputError: An input has changed.
    """
    if output.stats(shard) is None:
        return []
    plan = reader.plan
    recorded = {line["source"]: line["source_sha256"] for line in FORMATS[output.form].lines(output.folder, shard.stem)}
    places = range(shard.start, shard.stop)
    tasks = {plan.row(place).task.record.id: plan.row(place).task for place in places}
    known = [(task, view) for identity, task in tasks.items() if identity in recorded for view in task.known]

    def problem(entry: tuple[Task, str]) -> str | None:
        task, view = entry
        return _input_problem(plan.source, task, view, recorded[task.record.id].get(view))

    with ThreadPoolExecutor(_THREADS) as threads:
        with thread_errors():
            found = threads.map(problem, known)
        changed = [line for line in found if line is not None]
    if changed and not output.overwrite:
        raise InputError(
            f"{changed[0]} since {shard.stem} of {output.folder} was made from it; put it back, "
            "choose another --out, or give --overwrite"
        )
    missing = (place for place in places if plan.row(place).task.record.id not in recorded)
    readable = [reader.read(range(place, place + 1)).rows for place in missing]
    lines = changed + [f"{rows[0].task.record.id}: can be read now" for rows in readable if rows]
    if lines:
        output.reopen(shard)
    return lines


def _input_problem(source: MultiViewSource, task: Task, view: str, recorded: str | None) -> str | None:
    where = source.location(task.index, view)
    try:
        same = source.view_sha256(task.index, view) == recorded
    except UnreadableImage as error:
        return f"{where}: cannot be read any more ({error.reason})"
    return None if same else f"{where}: has changed"
