"""The processes that train together: one alone, or those that torchrun started.

Each of them computes its own rows of every batch, and DistributedDataParallel averages the gradients. Files are rank
0's alone: what it reads it sends to the others, so that they need not see the same disks.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dimvida.errors import DimvidaError, FailedOnAnotherRank, InputError
from dimvida.torchrun import RankLost, broadcast_from_rank_0, is_rank, meet
from dimvida.training.control import Interrupted

T = TypeVar("T")

LONGEST_LEAVING = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part of a batch.

    Attributes:
        rows: Its rows of the whole batch; never empty.
        weight: Factor of its mean loss, so that the mean over the processes is the mean over the batch. 0 where
            there are fewer rows than processes and this one only repeats another's.
    """

    rows: slice
    weight: float = 1.0

    @property
    def counted(self) -> int:
        """How many of its rows count."""
        return self.rows.stop - self.rows.start if self.weight else 0


class Ranks:
    """This process among those that train together; of this class, it is alone."""

    rank = 0
    count = 1

    @property
    def is_rank_0(self) -> bool:
        """Whether this is the process that reads and writes files and tells people."""
        return self.rank == 0

    def share(self, batch: int) -> Share:
        """This process's part of a batch of that many rows."""
        start, stop = (batch * rank // self.count for rank in (self.rank, self.rank + 1))
        if start == stop:
            return Share(slice(0, 1), 0.0)
        return Share(slice(start, stop), (stop - start) * self.count / batch)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The same module, whose gradients are averaged over the processes."""
        return module

    def broadcast_from_rank_0(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in rank 0, for all ranks; only there it is called.

        Raises:
            Interrupted: In all ranks, if ``work`` was interrupted in rank 0.
            FailedOnAnotherRank: In the other ranks, if it failed in rank 0, where its own error is raised.
        """
        return work()

    def stops(self, wanted: bool) -> bool:
        """Whether all stop here, because one of them wanted to; asked by all of them between two steps."""
        return wanted

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        return values

    def deviation(self, values: Tensor, share: Share) -> Tensor:
        """Standard deviation of the rows of all processes, without its gradient.

        Args:
            values: This process's rows, [n, D], or [n, c, h, w], whose places count as further rows.
            share: Which rows of the whole batch are this process's.

        Returns:
            [1, D], or [1, c, 1, 1].
        """
        return values.detach().std(_all_but_channels(values), correction=0, keepdim=True)


class TorchrunRanks(Ranks):
    """A rank of torchrun, or of whatever sets the same environment variables.

    Args:
        rank, count: Which process of how many; the default process group is there.
        store: What all of them can reach without meeting.
    """

    def __init__(self, rank: int, count: int, store: dist.Store) -> None:
        self.rank, self.count = rank, count
        self._store = store
        self._vote: tuple[dist.Work, Tensor] | None = None

    def wrap(self, module: nn.Module) -> nn.Module:
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)

    def broadcast_from_rank_0(self, work: Callable[[], T]) -> T:
        return broadcast_from_rank_0(work, everywhere=(Interrupted,))

    def stops(self, wanted: bool) -> bool:
        # The answer to a question is awaited when the next one is asked, so that no step waits for the network.
        agreed = False
        if self._vote is not None:
            work, answer = self._vote
            work.wait()
            agreed = bool(answer)
        vote = torch.tensor(int(wanted))
        self._vote = dist.all_reduce(vote, dist.ReduceOp.MAX, async_op=True), vote
        return agreed

    def mean(self, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def deviation(self, values: Tensor, share: Share) -> Tensor:
        counted, over = values.detach()[: share.counted].double(), _all_but_channels(values)
        count = counted.new_tensor([share.counted * math.prod(values.shape[2:])])
        sums = torch.cat([counted.sum(over), counted.square().sum(over), count])
        dist.all_reduce(sums)
        mean, square = (sums[:-1] / sums[-1]).chunk(2)
        deviation = (square - mean.square()).clamp_min(0).sqrt().to(values.dtype)
        return deviation.view(1, -1, *[1] * (values.ndim - 2))

    def may_speak(self) -> bool:
        """Whether this rank is the first that failed, whose message tells why."""
        try:
            return self._store.add("failed", 1) == 1
        except RuntimeError:  # whoever kept the store is gone; better told twice than never
            return True

    def leave(self) -> None:
        """After an error: rank 0, which may keep the store, gives the others a moment to ask who tells of it."""
        end = time.monotonic() + LONGEST_LEAVING
        with contextlib.suppress(RuntimeError):
            left = self._store.add("left", 1)
            while self.is_rank_0 and left < self.count and time.monotonic() < end:
                time.sleep(0.02)
                left = self._store.add("left", 0)


def _all_but_channels(values: Tensor) -> list[int]:
    return [0, *range(2, values.ndim)]


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Meet the other ranks of torchrun, if there are any, and part from them.

    Of an error that ends them all, one rank tells.

    Raises:
        FailedOnAnotherRank: Another rank tells what went wrong.
        InputError: The environment says half of where the others are.
        DimvidaError: Another rank never came, or ended without a word.
    """
    if not is_rank():
        yield Ranks()
        return
    ranks, failed = _meet(device), True
    try:
        yield ranks
        failed = False
    except FailedOnAnotherRank:
        raise
    except Exception as error:
        if not ranks.may_speak():
            raise FailedOnAnotherRank(2 if isinstance(error, InputError) else 1) from error
        if _is_loss_of_others(error):
            raise DimvidaError(
                "another process of this training is gone; go on from the last saved state with --resume"
            ) from error
        raise
    finally:
        dist.destroy_process_group()  # ends the others' waiting, too
        if failed:
            ranks.leave()


def _meet(device: torch.device) -> TorchrunRanks:
    # Gloo also where gradients go through NCCL: for what is on the host, which then waits for no GPU.
    store = meet("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return TorchrunRanks(dist.get_rank(), dist.get_world_size(), dist.PrefixStore("ranks", store))


def _is_loss_of_others(error: Exception) -> bool:
    return isinstance(error, RankLost | dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
