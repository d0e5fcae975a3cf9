"""What an output asks of its input: that it stays the same, byte for byte, until all is made.

Every input of every finished shard is read and hashed again: sizes and times may stay when a picture is replaced, and
may change when it is not.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from dimvida.errors import InputError, UnreadableImage
from dimvida.generation.formats import FORMATS
from dimvida.generation.loading import ChunkReader
from dimvida.generation.output import OutputFolder
from dimvida.generation.plan import GenerationPlan, Task
from dimvida.generation.shards import Shard

_THREADS = min(8, os.cpu_count() or 1)  # hashing and reading files run side by side


def recheck_inputs(output: OutputFolder, plan: GenerationPlan, shard: Shard, reader: ChunkReader) -> list[str]:
    """Compare the inputs of a finished shard with the hashes on record; a shard that is not finished has none.

    An input that could not be read when the shard was made, and can be now, makes the shard unfinished again. So does,
    with ``overwrite``, one that has changed.

    Args:
        output: Where the shard is; its files are whole.
        plan: What is generated.
        shard: Which one.
        reader: Reads rows of the plan.

    Returns:
        Why it is finished no more, one line each.

    Raises:
        InputError: An input has changed.
    """
    if output.stats(shard) is None:
        return []
    recorded = {line["source"]: line["source_sha256"] for line in FORMATS[output.form].lines(output.folder, shard.stem)}
    places = range(shard.start, shard.stop)
    tasks = {plan.row(place).task.record.id: plan.row(place).task for place in places}
    known = [(task, view) for identity, task in tasks.items() if identity in recorded for view in task.known]

    def problem(entry: tuple[Task, str]) -> str | None:
        task, view = entry
        return _problem(plan, task, view, recorded[task.record.id].get(view))

    with ThreadPoolExecutor(_THREADS) as threads:
        changed = [line for line in threads.map(problem, known) if line is not None]
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


def _problem(plan: GenerationPlan, task: Task, view: str, recorded: str | None) -> str | None:
    where = plan.source.location(task.index, view)
    try:
        same = plan.source.view_sha256(task.index, view) == recorded
    except UnreadableImage as error:
        return f"{where}: cannot be read any more ({error.reason})"
    return None if same else f"{where}: has changed"
