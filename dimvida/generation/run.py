"""One run of mass generation: a plan, a model, settings and the folder that the result goes to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType

from dimvida import interruption
from dimvida.data.sample import require_apart
from dimvida.errors import DimvidaError
from dimvida.generation.complete import Completer
from dimvida.generation.jobs import Job, ShardClaims, alone
from dimvida.generation.names import FileNames
from dimvida.generation.output import OutputFolder, stored_configuration
from dimvida.generation.pack import Packer
from dimvida.generation.pipeline import Pipeline, StageTimes
from dimvida.generation.plan import GenerationPlan, Shard, cut_shards
from dimvida.generation.read import CHUNK, Chunk, FamiliarityCheck, ReadBatch, RowReader, read_batches
from dimvida.generation.settings import GenerationSettings, run_configuration
from dimvida.generation.stats import GenerationReport, fail_empty
from dimvida.generation.verify import recheck_files, recheck_inputs
from dimvida.generation.workers import ReadingProcesses
from dimvida.generation.write import Packing, ShardInProgress
from dimvida.sampling.multiview import MultiViewModel

_POLL = 0.2  # seconds between looks at shards that others work on


class Generation:
    """Generates a plan into a folder; a context manager, while entered the folder is locked.

    Args:
        model: What completes the views.
        plan: What is completed.
        settings: What the model is asked for, and the form of the output.
        folder: Output folder.
        strict: Refuse input images of another size instead of resizing them.
        overwrite: See ``OutputFolder``.
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
        folder: str | Path,
        *,
        strict: bool = False,
        overwrite: bool = False,
        workers: int = 0,
        job: Job | None = None,
    ) -> None:
        self.model, self.plan, self.settings, self.job = model, plan, settings, job or alone()
        require_apart(Path(plan.source.path), Path(folder))
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
        self._claims = ShardClaims(self.output, self.job)

    def __enter__(self) -> Generation:
        """Lock the folder, and read again what says that it is finished; ``damaged`` has what is wrong with it.

        Raises:
            InputError: Not a single input can be read, one of a finished shard has changed, or another run is at work
                in the folder.
        """
        try:
            self.job.broadcast_from_rank_0(self._prepare)
            if self.job.rank or not self.job.steals:
                self._open()
            for shard in self.job.own(self.shards):
                self.damaged += recheck_files(self.output, shard)
                self.damaged += recheck_inputs(self.output, shard, self.reader)
            self.job.wait_for_all()
        except BaseException:
            with interruption.held():
                self.output.close()
            raise
        finally:
            self.job.leave()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interruption.held():
            self.output.close()

    @property
    def pending(self) -> list[Shard]:
        """Shards that are not finished, by whomever."""
        return [shard for shard in self.shards if not self.output.has(shard)]

    @property
    def views_done(self) -> int:
        """How many of the plan's views need not be generated again."""
        return self.plan.views - self._views_in(self.pending)

    def run(
        self,
        progress: Callable[[int], object] = lambda views: None,
        on_skip: Callable[[str, str], object] = lambda file, reason: None,
        on_note: Callable[[str], object] = lambda text: None,
    ) -> GenerationReport | None:
        """Generate everything that is not there yet.

        All callbacks are called in this thread.

        Args:
            progress: Called with the number of views after each batch, and after each shard of another process.
            on_skip: Called with the name of a file that cannot be read, and why.
            on_note: Called with a line about what else was done.

        Returns:
            What the whole output has; None if other members of an array job have not done their part.

        Raises:
            InputError: The input cannot be used at all, or the folder cannot be written.
            DimvidaError: Writing fails, or ``stopping`` was set and work is left.
        """
        completer = Completer(self.model, self.settings, self.plan, on_note, self.times.device)
        others = self._views_in(self._claims.done_by_others())

        def look_at_others() -> None:
            nonlocal others
            if self.job.count > 1 and (now := self._views_in(self._claims.done_by_others())) > others:
                progress(now - others)
                others = now

        with interruption.held():  # or a claim might be neither worked on nor given back
            try:
                while self._claims.left():
                    claimed = self._claims.take(lambda: self.stopping)
                    first = next(claimed, None)
                    if first is not None:
                        shards = itertools.chain([first], claimed)
                        self._generate(shards, completer, progress, on_skip, look_at_others)
                    elif self.stopping:
                        raise DimvidaError(f"{self.output.folder}: stopped by a signal; the same command continues")
                    else:  # what is left others work on
                        look_at_others()
                        self.output.check_there()
                        with interruption.let_in():
                            time.sleep(_POLL)
            finally:
                self._claims.give_back_all()
        return None if self.pending else self.output.finish()

    def _generate(
        self,
        shards: Iterator[Shard],
        completer: Completer,
        progress: Callable[[int], object],
        on_skip: Callable[[str, str], object],
        idle: Callable[[], object],
    ) -> None:
        """Take shards through all stages to their end. However it is left, no thread and no process stays behind."""
        note_unfamiliar = FamiliarityCheck(self.model, self.plan)
        in_progress: list[ShardInProgress] = []  # the last one is read; those before are packed or written
        try:
            with self._readers() as read, Pipeline(self.times, progress, idle) as pipeline:
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
                    packing = None
                    if batch.rows:
                        with interruption.let_in():
                            pictures = completer.complete(batch)
                        packing = in_progress[-1].pack(batch, pictures, pipeline)
                    pipeline.write(self._write, in_progress, rows, batch, packing)
        finally:
            for shard_in_progress in in_progress:
                shard_in_progress.abort()

    def _write(self, in_progress: list[ShardInProgress], rows: range, batch: ReadBatch, packing: Packing | None) -> int:
        """Write a batch of the first shard; returns how many views it was to have, also those that were not made."""
        if in_progress[0].write(rows, batch, packing):
            self._claims.give_back(in_progress.pop(0).shard.number)
        return self.plan.views_of(rows)

    @contextmanager
    def _readers(self) -> Iterator[Callable[[Iterator[Chunk], Callable[[], object]], Iterator[ReadBatch]]]:
        """What reads chunks of rows: processes, started before any thread, as a fork takes along none; or this one."""
        if self._workers:
            with closing(ReadingProcesses(self.reader, self._workers)) as processes:
                yield processes.read
        else:
            yield lambda chunks, goes_on: itertools.starmap(self.reader.read, chunks)

    def _prepare(self) -> None:
        if self.output.overwrite or stored_configuration(self.output.folder) is None:
            self._require_readable()
        if self.job.steals:
            self._open()

    def _open(self) -> None:
        with interruption.held():
            self.output.open(self.job.name)

    def _require_readable(self) -> None:
        """Raise InputError unless some input can be read, before anything is made or removed."""
        skipped = []
        for start in range(0, len(self.plan), CHUNK):
            batch = self.reader.read(range(start, min(start + CHUNK, len(self.plan))))
            if batch.rows:
                return
            skipped += [asdict(file) for file in batch.skipped]
        fail_empty(skipped)

    def _views_in(self, shards: list[Shard]) -> int:
        return sum(self._shard_views[shard.number] for shard in shards)

    @cached_property
    def _shard_views(self) -> list[int]:
        return [self.plan.views_of(range(shard.start, shard.stop)) for shard in self.shards]
