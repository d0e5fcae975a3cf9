"""What a run generates: which objects, from which known views, which targets, how many draws of each.

A plan is fixed before anything is read, and cut into shards whatever the number of processes and their devices, so that
a run can be divided, stopped and continued.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dimvida.data.cameras import Camera, cameras_text
from dimvida.data.source import MultiViewSource
from dimvida.errors import InputError
from dimvida.generation.tasks import Kind, Task, Tasks

SHARD_ROWS = 1024
"""Rows of a shard, about, unless something else is asked for."""

MOST_SHARDS = 1_000_000
"""Shards of an output: all of them are listed, and looked at again and again."""


@dataclass(frozen=True, slots=True)
class Row:
    """One trajectory: a draw of one object."""

    task: Task
    draw: int


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """The whole run.

    Attributes:
        source: Where the known views are read from.
        view_names: The views that are known or generated, in the order of the tensors: the model's, or any at their
            cameras.
        tasks: Every object that something is generated for.
        draws: Samples per object.
        left_out: Why objects of the source are not in the plan: reason -> how many.
        cameras: Where each of the views is seen from, in their order; None for a model that knows them by name alone.
    """

    source: MultiViewSource
    view_names: tuple[str, ...]
    tasks: Tasks
    draws: int
    left_out: dict[str, int]
    cameras: Mapping[str, Camera] | None = None

    @property
    def files_left_out(self) -> dict[str, str]:
        """Files that may be images and were left out when the source was opened: name below its path -> reason."""
        return {
            file.location.removeprefix(str(self.source.path)).lstrip("/!"): file.reason for file in self.source.left_out
        }

    @property
    def classes(self) -> list[str]:
        """The classes of its objects, sorted."""
        return sorted({task.record.class_name for task in self.tasks} - {""})

    def written_cameras(self, include_known: bool) -> dict[str, Camera] | None:
        """The cameras of the views that an output has; None for a model that knows its views by name alone."""
        if self.cameras is None:
            return None
        written = {view for known, targets in self.tasks.kinds for view in targets + (known if include_known else ())}
        return {view: camera for view, camera in self.cameras.items() if view in written}

    @property
    def views(self) -> int:
        """Number of views to generate, all draws counted."""
        return self.draws * self.tasks.count_targets()

    @property
    def most_views(self) -> int | None:
        """The most views, known and generated, of a row at cameras; None where all have the model's named views."""
        if self.cameras is None:
            return None
        return max(len(known) + len(targets) for known, targets in self.tasks.kinds)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.tasks) * self.draws

    def row(self, place: int) -> Row:
        """Row ``place`` of the plan; all draws of an object follow each other."""
        return Row(self.tasks[place // self.draws], place % self.draws)

    def first(self, objects: int | None) -> GenerationPlan:
        """The plan of its first objects only; of all for None."""
        if objects is None:
            return self
        return dataclasses.replace(
            self, tasks=self.tasks.select(itertools.islice(self.tasks, min(objects, len(self.tasks))))
        )

    def views_of(self, rows: range) -> int:
        """Number of views to generate in some rows."""
        return self._count(rows, self.tasks.targets_in(self._tasks_of(rows)))

    def known_in(self, rows: range) -> int:
        """Number of known views in some rows."""
        return self._count(rows, self.tasks.known_in(self._tasks_of(rows)))

    def _tasks_of(self, rows: range) -> slice:
        return slice(rows.start // self.draws, -(-rows.stop // self.draws))

    def _count(self, rows: range, views: np.ndarray) -> int:
        """The views of some rows, of whose tasks each draw has so many."""
        if not len(views):
            return 0
        before, behind = rows.start % self.draws, -rows.stop % self.draws  # draws of the first and last that are not in
        return int(self.draws * views.sum() - before * views[0] - behind * views[-1])

    def digest(self) -> str:
        """Hex SHA-256 of everything but the pixels."""
        digest = hashlib.sha256(json.dumps([self.view_names, self.draws]).encode())
        if self.cameras is not None:
            digest.update(cameras_text(self.cameras).encode())
        for task in self.tasks:
            digest.update(json.dumps([task.record.id, task.known, task.targets]).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of a plan that are finished, checked and repeated together.

    Attributes:
        number: Number of the shard, from 0.
        start, stop: First row of the plan in it, and the one after its last.
    """

    number: int
    start: int
    stop: int

    @property
    def stem(self) -> str:
        """Name of its files without suffix."""
        return stem_of(self.number)

    def batches(self, size: int) -> Iterator[range]:
        """Its rows, ``size`` at a time. No batch reaches over the end of a shard."""
        for start in range(self.start, self.stop, size):
            yield range(start, min(start + size, self.stop))


def cut_shards(rows: int, size: int) -> tuple[Shard, ...]:
    """Shards of ``size`` rows each; the last may have fewer.

    Raises:
        InputError: There would be more than ``MOST_SHARDS``.
    """
    starts = range(0, rows, size)
    if rows > MOST_SHARDS * size:
        raise InputError(
            f"--shard-size {size}: {rows:,} rows, the draws of all objects, would be {-(-rows // size):,} shards, more "
            f"than {MOST_SHARDS:,}; give a larger --shard-size, or generate in parts"
        )
    return tuple(Shard(number, start, min(start + size, rows)) for number, start in enumerate(starts))


def default_shard_size(batch: int) -> int:
    """``SHARD_ROWS`` or somewhat more, so that whole batches fill a shard."""
    return -(-SHARD_ROWS // batch) * batch


def stem_of(number: int) -> str:
    """The name of a shard's files without their ending, as ``shard-000012``."""
    return f"shard-{number:06d}"


def make_plan(
    source: MultiViewSource,
    view_names: Sequence[str],
    *,
    given: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    draws: int = 1,
    cameras: Mapping[str, Camera] | None = None,
) -> GenerationPlan:
    """Decide what is known and what is generated, for every object on its own.

    Args:
        source: The data set that is completed.
        view_names: The model's views.
        given: The known views; an object uses those of them that it has. By default every view that it has,
            except ``targets``.
        targets: The views to generate; by default every view that is not known. Views of the input that are
            not given are generated all the same.
        draws: Samples of each object.
        cameras: Where the model's views are seen from, if it is conditioned on that.

    Raises:
        InputError: An unknown view, a view both given and a target, or nothing to generate.
    """
    view_names, source = tuple(view_names), source.packed()
    _check_options(source, view_names, given, targets, draws)
    wanted = view_names if targets is None else tuple(targets)
    usable = (set(view_names) if given is None else set(given)) - set(targets or ())

    def missing(known: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(view for view in view_names if view in wanted and view not in known)

    way_on = "give --view" if given is None else "give fewer of them with --view"
    nothing = f"every object has all views; {way_on}"
    tasks, left_out = plan_tasks(source, [view for view in view_names if view in usable], missing, nothing)
    return GenerationPlan(source, view_names, tasks, draws, left_out, cameras)


def plan_tasks(
    source: MultiViewSource,
    usable: Sequence[str],
    missing: Callable[[tuple[str, ...]], tuple[str, ...]],
    nothing: str,
) -> tuple[Tasks, dict[str, int]]:
    """What is known and what is generated of every object, and why others are left out: reason -> how many.

    Args:
        source: The data set that is completed.
        usable: The views that may be known, in the plan's order; an object has those of them that it has.
        missing: Gives the views to generate from those known ones.
        nothing: What an error says where that is none of any object.

    Raises:
        InputError: Nothing can be generated of any.
    """
    left_out: dict[str, int] = {}
    kinds: dict[tuple[str, ...], Kind] = {}  # by the views that an object has

    def chosen() -> Iterator[tuple[int, Kind]]:
        for index, record in enumerate(source.records):
            kind = kinds.get(record.views)
            if kind is None:
                known = tuple(view for view in usable if view in record.views)
                kind = kinds[record.views] = known, missing(known)
            known, targets = kind
            if known and targets:
                yield index, kind
            else:
                reason = "nothing is missing" if known else f"has none of the views {', '.join(sorted(usable))}"
                left_out[reason] = left_out.get(reason, 0) + 1

    tasks = Tasks(source, chosen())
    if not tasks:
        _fail_empty(source, left_out, nothing)
    return tasks, left_out


def _check_options(
    source: MultiViewSource,
    view_names: tuple[str, ...],
    given: Sequence[str] | None,
    targets: Sequence[str] | None,
    draws: int,
) -> None:
    for option, names in (("--view", given), ("--target", targets)):
        for name in names or ():
            if name not in view_names:
                raise InputError(f"{option} {name}: the checkpoint has no such view; it has {', '.join(view_names)}")
    for name in given or ():
        if name not in source.view_names:
            raise InputError(f"--view {name}: {source.path} has no such view; it has {', '.join(source.view_names)}")
        if name in (targets or ()):
            raise InputError(f"--view {name}: is also in --target; a known view is not generated")
    if given is None:
        for name in source.view_names:
            if name not in view_names:
                raise InputError(
                    f"{source.path}: the checkpoint has no view {name!r}; choose known views of "
                    f"{', '.join(view_names)} with --view"
                )
    require_draws(draws)


def require_draws(draws: int) -> None:
    """Raise InputError unless there can be so many samples of an object."""
    if draws < 1:
        raise InputError(f"--samples-per-view {draws}: must be at least 1")


def _fail_empty(source: MultiViewSource, left_out: dict[str, int], nothing: str) -> None:
    if not left_out:
        raise InputError(f"{source.path}: no objects")
    if "nothing is missing" in left_out:
        raise InputError(f"{source.path}: nothing is missing: {nothing}")
    raise InputError(f"{source.path}: every object {next(iter(left_out))}")
