"""One run: a plan, a model, settings and the folder that the result goes to."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType

from dimvida import interruption
from dimvida.data.sample import require_apart
from dimvida.errors import DimvidaError
from dimvida.generation.complete import Completer
from dimvida.generation.familiarity import InputCheck
from dimvida.generation.inputs import recheck_inputs
from dimvida.generation.jobs import Job, alone
from dimvida.generation.loading import ChunkReader, ReadBatch, pieces
from dimvida.generation.lock import FileLock
from dimvida.generation.names import FileNames
from dimvida.generation.output import OutputFolder, naming, stored_configuration
from dimvida.generation.pack import Packer
from dimvida.generation.pipeline import Pipeline
from dimvida.generation.plan import GenerationPlan
from dimvida.generation.report import GenerationReport
from dimvida.generation.settings import GenerationSettings, run_configuration
from dimvida.generation.shards import Shard, cut_shards
from dimvida.generation.times import StageTimes
from dimvida.generation.write import WriterStage
from dimvida.sampling.multiview import MultiViewModel

_POLL = 0.2  # seconds between looks at shards that others work on


class Generation:
    """Generates a plan into a folder; a context manager, while entered the folder is locked.

    Args:
        model: What completes the views.
        plan: What is completed.
        settings: How.
        folder: Output folder.
        strict: Refuse input images of another size instead of resizing them.
        overwrite: See ``OutputFolder``.
        workers: Reading processes; 0 reads in a thread.
        job: Who else works on it; by default nobody.

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
        self.times = StageTimes(model.device)
        self.shards = cut_shards(len(plan), settings.shard_size)
        configuration = run_configuration(model, plan, settings)
        self.output = OutputFolder(folder, configuration, self.shards, overwrite=overwrite)
        self.damaged: list[str] = []
        self.stopping = False
        self.reader = ChunkReader(plan, model.image_size, strict, model.channels)
        self._workers = workers
        self._claims: dict[int, FileLock] = {}
        self._mine: set[int] = set()

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
                self.damaged += self.output.recheck(shard)
                self.damaged += recheck_inputs(self.output, self.plan, shard, self.reader)
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
        return [shard for shard in self.shards if not self._is_done(shard)]

    @property
    def views_done(self) -> int:
        """How many of the plan's views need not be generated again."""
        return self.plan.views - sum(self._views(shard) for shard in self.pending)

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
        events: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        others = self._others()

        def deliver() -> None:
            nonlocal others
            while not events.empty():
                events.get()()
            if self.job.count > 1 and (now := self._others()) > others:
                progress(now - others)
                others = now

        def report_skips(batch: ReadBatch) -> None:
            for skipped in batch.given.skipped:
                on_skip(skipped.file, skipped.reason)

        pipeline = self._pipeline(
            on_batch=lambda views: events.put(partial(progress, views)),
            on_note=lambda text: events.put(partial(on_note, text)),
        )
        with interruption.held():  # or a claim might be neither worked on nor given back
            try:
                self._work(pipeline, report_skips, deliver)
            finally:
                for claim in self._claims.values():
                    claim.release()
                self._claims.clear()
        return None if self.pending else self.output.finish()

    def _work(self, pipeline: Pipeline, on_read: Callable[[ReadBatch], object], idle: Callable[[], object]) -> None:
        """Generate what nobody else works on, until nothing is left."""
        order = self.job.order(self.shards)
        while not all(map(self._is_done, order)):
            claimed = self._claim(order)
            first = next(claimed, None)
            if self.stopping and first is None:
                raise DimvidaError(f"{self.output.folder}: stopped by a signal; the same command continues")
            if first is None:
                idle()
                self.output.check_there()
                with interruption.let_in():
                    time.sleep(_POLL)
            else:
                pipeline.run(itertools.chain([first], claimed), on_read, idle)

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
        report = GenerationReport()
        for piece in pieces(self.shards, self.settings.batch):
            given = self.reader.read(piece.rows)
            if given.rows:
                return
            report.skipped += [{"file": file.file, "reason": file.reason} for file in given.skipped]
        report.fail_empty()

    def make_packer(self) -> Packer:
        """What turns completed views of this run into samples."""
        return Packer(self.plan, self.settings, self.names, self.model.checkpoint_hash)

    def make_completer(self, times: StageTimes, on_note: Callable[[str], object] = lambda text: None) -> Completer:
        """What completes batches of this run."""
        return Completer(self.model, self.settings, times, on_note)

    def _pipeline(self, on_batch: Callable[[int], object], on_note: Callable[[str], object]) -> Pipeline:
        settings, size = self.settings, self.model.image_size
        shape = (size, size, self.model.channels)
        packer = self.make_packer()
        writer = WriterStage(
            self.output, settings.format, shape, packer.suffix, on_batch=on_batch, on_shard=self._finished
        )
        completer = self.make_completer(self.times, on_note)
        return Pipeline(
            self.reader, completer, packer, writer, self.times,
            batch=settings.batch, workers=self._workers, inspect=InputCheck(self.model, self.plan),
        )  # fmt: skip

    def _claim(self, order: list[Shard]) -> Iterator[Shard]:
        """Shards that nobody has finished or works on; from here on this process does."""
        for shard in order:
            if self.stopping:
                return
            if self._is_done(shard):
                continue
            claim = self.output.claim(shard)
            with naming(self.output.folder):
                if not claim.acquire():
                    continue
            if self._is_done(shard):
                claim.release()
                continue
            self._claims[shard.number] = claim
            self._mine.add(shard.number)
            yield shard

    def _finished(self, number: int) -> None:
        self._claims.pop(number).release()

    def _is_done(self, shard: Shard) -> bool:
        # What was finished earlier was read again at the start, so here it is enough that the stats are there.
        return (self.output.folder / f"{shard.stem}.json").exists()

    def _others(self) -> int:
        """Views in shards that are finished and not by this run of this process."""
        return sum(
            self._views(shard) for shard in self.shards if shard.number not in self._mine and self._is_done(shard)
        )

    def _views(self, shard: Shard) -> int:
        return self._shard_views[shard.number]

    @cached_property
    def _shard_views(self) -> list[int]:
        return [self.plan.views_of(range(shard.start, shard.stop)) for shard in self.shards]
