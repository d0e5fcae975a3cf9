"""Mass generation from top to bottom: the shards of a plan through a model, into an output folder."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dimvida import interruption
from dimvida.data.cameras import angles_of
from dimvida.data.sample import require_apart
from dimvida.errors import DimvidaError
from dimvida.generation.jobs import Job, alone
from dimvida.generation.names import FileNames
from dimvida.generation.output import OutputFolder
from dimvida.generation.pack import Packer
from dimvida.generation.pipeline import Pipeline, StageTimes, spared_from_collection
from dimvida.generation.plan import GenerationPlan, Shard, cut_shards
from dimvida.generation.read import FamiliarityCheck, ReadBatch, RowReader, read_batches, view_mask
from dimvida.generation.settings import GenerationSettings, run_configuration
from dimvida.generation.sheet import card_picture
from dimvida.generation.stats import GenerationReport
from dimvida.generation.storage import Place
from dimvida.generation.workers import chunk_reader
from dimvida.generation.write import Packing, ShardInProgress
from dimvida.sampling.completion import BatchCompleter
from dimvida.sampling.multiview import MultiViewModel
from dimvida.sampling.trajectory import sample_id

_LOOK = 2.0  # seconds between looks at what other processes have done


class MadeBatch(NamedTuple):
    """A batch that was written, or the end of a shard.

    Attributes:
        views: The views that the batch was to have, also those that were not made.
        finished: The shard that is finished, or None.
    """

    views: int
    finished: Shard | None


MakeShards = Callable[
    [Iterator[Shard], Callable[[str, str], object], Callable[[str], object], Callable[[], object]], Iterator[MadeBatch]
]
"""``Generation.make``, or what stands in for it."""


class Generation:
    """Generates a plan into a folder; a context manager, while entered the folder is locked.

    Args:
        model: The model that generates the missing views.
        plan: What is known and what is generated of each object.
        settings: What the model is asked for, and the form of the output.
        folder: Output folder, also one behind a URL.
        strict: Refuse input images of another size instead of resizing them.
        overwrite: Replace an output of another configuration, or a finished one; see ``OutputFolder``.
        workers: Reading processes; 0 reads in a thread.
        job: Who else works on it; by default nobody.

    Attributes:
        damaged: Once entered, what is wrong with what was finished before, one line each.
        stopping: Set from anywhere, it lets ``run`` finish the shards that it has in hand, and then fail.
        times: Seconds that each stage of ``run`` was at work.

    Raises:
        InputError: Two objects of the plan share a file name, or the folder is not usable.
    """

    def __init__(
        self,
        model: MultiViewModel,
        plan: GenerationPlan,
        settings: GenerationSettings,
        folder: Place,
        *,
        strict: bool = False,
        overwrite: bool = False,
        workers: int = 0,
        job: Job | None = None,
    ) -> None:
        self.model, self.plan, self.settings, self.job = model, plan, settings, job or alone()
        if isinstance(folder, Path):
            require_apart(Path(plan.source.path), folder)
        self.names = FileNames(plan, settings.format)
        self.shards = cut_shards(len(plan), settings.shard_size)
        configuration = run_configuration(model, plan, settings)
        self.output = OutputFolder(folder, configuration, self.shards, overwrite=overwrite)
        self.reader = RowReader(plan, model.image_size, model.channels, strict)
        self.packer = Packer(plan, settings, self.names, model.checkpoint_hash, self.reader.shape)
        self.times = StageTimes(model.device)
        self.damaged: list[str] = []
        self.stopping = False
        self._workers = workers

    def __enter__(self) -> Generation:
        """Lock the folder, and read again what says that it is finished; ``damaged`` has what is wrong with it.

        Raises:
            InputError, DimvidaError: Another run is at work in the folder, an input has changed, or another process
                ended; see ``Job.open``.
        """
        try:
            self.damaged = self.job.open(self.output, self.reader)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interruption.held():
            self.output.close()

    def __getstate__(self) -> dict[str, Any]:
        """For another process that makes shards of it: without lock and times."""
        return {**self.__dict__, "times": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, times=StageTimes(state["model"].device))

    @property
    def pending(self) -> list[Shard]:
        """Shards that are not finished, by whomever."""
        return self.output.pending()

    @property
    def views_done(self) -> int:
        """How many of the plan's views need not be generated again."""
        return self.plan.views - self._views_in(self.pending)

    def run(
        self,
        progress: Callable[[int], object] = lambda views: None,
        on_skip: Callable[[str, str], object] = lambda file, reason: None,
        on_note: Callable[[str], object] = lambda text: None,
        make: MakeShards | None = None,
    ) -> GenerationReport | None:
        """Generate everything that is not there yet.

        All callbacks are called in this thread.

        Args:
            progress: Called with the number of views after each batch, and now and then with those of other processes.
            on_skip: Called with the name of a file that cannot be read, and why.
            on_note: Called with a line about what else was done.
            make: Makes shards in place of ``make``, elsewhere.

        Returns:
            What the whole output has; None where that is for another process to say, see ``Job.finish``.

        Raises:
            InputError: The input cannot be used at all, or the folder cannot be written.
            DimvidaError: Writing fails, ``stopping`` was set and work is left, or other ranks ended and left theirs.
        """
        of_others, looked = self._views_of_others() if self.job.count > 1 else 0, time.monotonic()

        def look_at_others() -> None:
            nonlocal of_others, looked
            if self.job.count > 1 and self.job.speaks and time.monotonic() > looked + _LOOK:
                now, looked = self._views_of_others(), time.monotonic()
                progress(now - of_others)
                of_others = now

        def wait() -> None:
            look_at_others()
            if self.stopping:
                raise self._stopped()

        with interruption.held(), spared_from_collection(self.model.device):
            own = self.job.own(self.pending)
            shards = itertools.takewhile(lambda shard: not self.stopping, own)
            with closing((make or self.make)(shards, on_skip, on_note, look_at_others)) as batches:
                for made in batches:
                    progress(made.views)
            if self.stopping and self.job.own(self.pending):
                raise self._stopped()
            return self.job.finish(self.output, lambda: card_picture(self), wait)

    def make(
        self,
        shards: Iterator[Shard],
        on_skip: Callable[[str, str], object],
        on_note: Callable[[str], object],
        idle: Callable[[], object] = lambda: None,
    ) -> Iterator[MadeBatch]:
        """Take shards through all stages to their end. However it is left, no thread and no process stays behind.

        Yields:
            What has been written, batch after batch, and each shard that is finished; the generator must be closed.
        """
        made: deque[MadeBatch] = deque()
        completer = self.completer(note=on_note, timed=self.times.device)
        note_unfamiliar = FamiliarityCheck(self.model, self.plan)
        in_progress: list[ShardInProgress] = []  # the last one is read; those before are packed or written
        try:
            with chunk_reader(self.reader, self._workers) as read, Pipeline(self.times, made.append, idle) as pipeline:
                batches = read_batches(
                    shards,
                    self.settings.batch,
                    self.reader,
                    lambda chunks: read(chunks, pipeline.check_running),
                    pinned=self.model.device.type == "cuda",
                )
                for shard, rows, batch in pipeline.read_ahead(batches):
                    for skipped in batch.skipped:
                        on_skip(skipped.file, skipped.reason)
                    note_unfamiliar(batch)
                    if rows.start == shard.start:
                        in_progress.append(ShardInProgress(shard, self.output, self.packer, self.times))
                    packing, current = None, in_progress[-1]
                    if batch.rows:
                        with interruption.let_in():
                            pictures = self.complete(completer, batch)
                        packing = current.pack(batch, pictures, pipeline)
                    written = pipeline.write(self._write, current, rows, batch, packing)
                    if rows.stop == shard.stop:
                        pipeline.finish(written, self._finish, in_progress)
                    while made:
                        yield made.popleft()
            yield from made
        finally:
            for shard_in_progress in in_progress:
                shard_in_progress.abort()

    def completer(self, **options: Any) -> BatchCompleter:
        """What completes batches of the plan; ``note`` and ``timed`` are options of its own."""
        rows = min(self.settings.batch, self.settings.shard_size, len(self.plan))
        cameras = angles_of(self.plan.cameras, self.plan.view_names)
        return BatchCompleter(self.model, rows, self.settings.sampling, cameras, **options)

    def complete(self, completer: BatchCompleter, batch: ReadBatch) -> Callable[[], Tensor]:
        """Have a batch of at least one row completed, see ``BatchCompleter.complete``.

        Returns:
            Waits for the pictures that are written, uint8 [N, H, W, C], with ``include_known`` the known ones among
            them.
        """
        views, rows = self.plan.view_names, batch.rows
        known = view_mask(views, [row.task.known for row in rows])
        wanted = view_mask(views, [row.task.targets for row in rows])
        sources = [row.task.record.id for row in rows]
        numbers = [sample_id(row.task.record.id, row.draw) for row in rows]
        ids = torch.tensor(numbers, dtype=torch.int64, device="cpu")
        made = completer.complete(batch.images, known, wanted, ids, sources)
        if not self.settings.include_known:
            return made
        among = wanted[known | wanted]

        def wait() -> Tensor:
            written = torch.empty(len(among), *batch.images.shape[1:], dtype=torch.uint8)
            written[among], written[~among] = made(), batch.images
            return written

        return wait

    def _write(self, shard: ShardInProgress, rows: range, batch: ReadBatch, packing: Packing | None) -> MadeBatch:
        """Write what was packed of a batch, and say how many views that are."""
        shard.write(batch, packing)
        return MadeBatch(self.plan.views_of(rows), None)

    def _finish(self, in_progress: list[ShardInProgress]) -> MadeBatch:
        """Finish the first shard, which is taken from the list."""
        in_progress[0].finish()
        return MadeBatch(0, in_progress.pop(0).shard)

    def _stopped(self) -> DimvidaError:
        return DimvidaError(f"{self.output.folder}: stopped by a signal; the same command continues")

    def _views_of_others(self) -> int:
        """How many views are in finished shards of other processes."""
        pending = {shard.number for shard in self.pending}
        done = [shard for shard in self.shards if shard.number not in pending]
        return self._views_in(done) - self._views_in(self.job.own(done))

    def _views_in(self, shards: list[Shard]) -> int:
        return sum(self._shard_views[shard.number] for shard in shards)

    @cached_property
    def _shard_views(self) -> list[int]:
        return [self.plan.views_of(range(shard.start, shard.stop)) for shard in self.shards]
