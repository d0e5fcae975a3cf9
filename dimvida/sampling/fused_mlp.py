"""One evaluation of the score network over preallocated buffers, with its time conditioning as a table.

What is left of an evaluation are matrix products, written where the next one reads them, and one kernel per norm that
also adds biases, the time row and SiLU. See ``fused_mlp_weights`` for how the weights are laid out.

The multi-time vector of a row is ``t * missing``, so all rows with the same known views share, at each evaluation, what
the time embedding adds inside every residual block. That is computed once per trajectory and gathered by the kernels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dimvida import ops
from dimvida.models.score_network import ScoreNetwork
from dimvida.sampling.backends import upload
from dimvida.sampling.fused_mlp_weights import LAYERS, FusedBlock, FusedNorm, TimeWeights, fuse_weights
from dimvida.sampling.trajectory import Conditioning, Trajectory, padded
from dimvida.sampling.weights_copy import has_only

FEW_MASKS = 16
"""Up to as many sets of known views there are always all of them: four views have 16."""


class FusedScoreNetwork:
    """A ``ScoreNetwork`` as the engine computes it.

    Args:
        network: Its weights are laid out, not copied where they need no other form: nobody may write them any more.
        dtype: Type of the products and activations. Norms and time table are float32.

    Attributes:
        weights: The network's weights in the layout of the engine.
    """

    NETWORK = ScoreNetwork

    @staticmethod
    def serves(network: ScoreNetwork) -> bool:
        """Whether a network's function is that of its weights."""
        return has_only(network, LAYERS)

    def __init__(self, network: ScoreNetwork, dtype: torch.dtype) -> None:
        self.weights = fuse_weights(network, dtype)
        self.width = network.width

    def condition(self, trajectory: Trajectory, times: Tensor, largest: int, fixed_shapes: bool) -> TimeTable:
        """What the times of all evaluations add to each row.

        Args:
            trajectory: Says which views are known.
            times: Time of each evaluation, float32 [evaluations], on the CPU.
            largest: Bytes above which only one evaluation is held.
            fixed_shapes: Whether the table's shape must stay the same from batch to batch, as graphs need it.
        """
        weights, known = self.weights.time, trajectory.known
        if fixed_shapes:
            held = largest // (4 * len(times) * len(weights.bias))
            masks, table_row = distinct_masks(known, trajectory.known_on_host, held)
        else:
            masks, table_row = torch.unique(known, dim=0, return_inverse=True)
        return TimeTable(weights, (~masks).float(), table_row, upload(times, known.device), self.width, largest)

    def size(self, shape: torch.Size) -> int:
        """What buffers for a state [B, V, D] are counted in: rows."""
        return shape[0]

    def allocate(self, rows: int) -> MLPBuffers:
        """Uninitialised buffers for a batch."""
        width, size = self.weights.input.shape

        def new(columns: int) -> Tensor:
            return self.weights.input.new_empty(rows, columns)

        joined = tuple(new(3 * width) for _ in (*self.weights.up, self.weights.final))
        return MLPBuffers(joined, new(2 * width), new(width), new(width), new(width), new(size), new(size))

    def evaluate(self, x: Tensor, time: TimeTable, evaluation: Tensor, buffers: MLPBuffers) -> None:
        """buffers.model_output <- network(x, tau).

        Args:
            x: The state in the dtype of the products, [B, V, D].
            time: What times add to each row, as ``condition`` returns it.
            evaluation: Number of the evaluation, int64 [1], on the device.
            buffers: Buffers of B rows.
        """
        weights, width = self.weights, self.width
        biases = time.biases(evaluation)
        up, final = buffers.joined[:-1], buffers.joined[-1]
        first = torch.mm(x.flatten(1), weights.input.t(), out=final[:, 2 * width :])
        h = first
        for i, block in enumerate(weights.down):
            skipped = up[-1 - i][:, 2 * width :]  # read last by the block that is furthest up
            residual_branch(block, next(biases), buffers.normed, buffers.hidden, h)
            torch.addmm(h, buffers.normed, block.last.t(), out=skipped)
            following = up[0][:, width : 2 * width] if i == len(weights.down) - 1 else buffers.state
            h = torch.mm(skipped, weights.down_linears[i].t(), out=following)
        for block in weights.mid:
            residual_branch(block, next(biases), buffers.normed, buffers.hidden, h)
            h.addmm_(buffers.normed, block.last.t())
        for i, block in enumerate((*weights.up, weights.final)):
            joined = buffers.joined[i]
            h, skipped = joined[:, width : 2 * width], joined[:, 2 * width :]
            residual_branch(block, next(biases), buffers.wide, buffers.hidden, h, skipped, joined[:, :width])
            following = buffers.joined[i + 1][:, width : 2 * width] if joined is not final else buffers.state
            torch.mm(joined, block.last.t(), out=following)
        norm_silu(weights.output_norm, buffers.normed, buffers.state)
        torch.addmm(weights.output_bias, buffers.normed, weights.output.t(), out=buffers.model_output)


@dataclass(frozen=True, slots=True)
class MLPBuffers:
    """Activations of a batch. Those that are multiplied together lie side by side, so nothing is concatenated.

    Attributes:
        joined: [B, 3 W] of each block on a concatenation: its second norm's output, h and the skipped state.
        wide, normed: [B, 2 W] and [B, W], output of norms.
        hidden: [B, W], result of a block's first projection.
        state: [B, W], h where it is not in ``joined``.
        x_cast: [B, V D], the state x in the dtype of the products.
        model_output: [B, V D], output of the network.
    """

    joined: tuple[Tensor, ...]
    wide: Tensor
    normed: Tensor
    hidden: Tensor
    state: Tensor
    x_cast: Tensor
    model_output: Tensor

    def first(self, rows: int) -> MLPBuffers:
        """The same memory for a smaller batch."""
        joined, *others = (getattr(self, field.name) for field in dataclasses.fields(self))
        return MLPBuffers(tuple(tensor[:rows] for tensor in joined), *(tensor[:rows] for tensor in others))


@dataclass(frozen=True, slots=True)
class BlockBias:
    """What the time embedding adds in one block at one evaluation: ``time_bias[table_row, step]``.

    Attributes:
        time_bias: float32 [masks, evaluations held, W].
        table_row: int64 [B].
        step: int64 [1], or None where only one evaluation is held.
    """

    time_bias: Tensor
    table_row: Tensor
    step: Tensor | None


def residual_branch(
    block: FusedBlock,
    bias: BlockBias,
    normed: Tensor,
    hidden: Tensor,
    h: Tensor,
    skipped: Tensor | None = None,
    out: Tensor | None = None,
) -> None:
    """out (by default ``normed``) <- SiLU(norm2(linear1(SiLU(norm1([h, skipped]))) + time bias))."""
    norm_silu(block.norm1, normed, h, skipped)
    torch.mm(normed, block.linear1.t(), out=hidden)
    norm = block.norm2
    ops.group_norm_silu_(
        normed if out is None else out,
        hidden,
        norm.weight,
        norm.bias,
        norm.groups,
        eps=norm.eps,
        time_bias=bias.time_bias,
        table_row=bias.table_row,
        step=bias.step,
    )


def norm_silu(norm: FusedNorm, out: Tensor, left: Tensor, right: Tensor | None = None) -> None:
    """out <- SiLU(norm([left, right] + the biases that were deferred))."""
    ops.group_norm_silu_(
        out, left, norm.weight, norm.bias, norm.groups, eps=norm.eps, right=right, time_bias=norm.deferred_bias
    )


class TimeTable(Conditioning):
    """What the time embedding adds in every block, float32 [masks, evaluations held, blocks, W].

    Args:
        weights: Weights of the embedding and of every block's projection of it.
        missing: The distinct masks, float32 [masks, V]: 1 for a missing view.
        table_row: Which of them each row of the batch has, int64 [B].
        times: Time of each evaluation, float32 [evaluations].
        width: Width W of the blocks.
        largest: Bytes above which only one evaluation is held, and recomputed at each.
    """

    def __init__(
        self, weights: TimeWeights, missing: Tensor, table_row: Tensor, times: Tensor, width: int, largest: int
    ) -> None:
        self.weights, self.missing, self.table_row, self.times = weights, missing, table_row, times
        blocks = len(weights.bias) // width
        self.holds_all = 4 * len(missing) * len(times) * len(weights.bias) <= largest
        held = len(times) if self.holds_all else 1
        self.rows = missing.new_empty(len(missing), held, blocks, width)
        if self.holds_all:
            self._fill(times)

    def biases(self, evaluation: Tensor) -> Iterator[BlockBias]:
        """What each block is added at an evaluation, int64 [1], in order of execution."""
        if not self.holds_all:
            self._fill(self.times.index_select(0, evaluation))
        step = evaluation if self.holds_all else None
        return (BlockBias(self.rows[:, :, block], self.table_row, step) for block in range(self.rows.shape[2]))

    def _fill(self, times: Tensor) -> None:
        tau = self.missing[:, None, :] * times[:, None]  # [masks, times, V]
        c = functional.silu(self.weights.embed(tau))  # [masks, times, T]
        torch.addmm(self.weights.bias, c.flatten(0, 1), self.weights.weight.t(), out=self.rows.flatten(2).flatten(0, 1))


def fixed_masks(masks: int, views: int) -> int:
    """The number that distinct masks are padded to: a power of two, but no more than there can be."""
    return min(2**views, max(FEW_MASKS, 1 << (masks - 1).bit_length()))


def distinct_masks(known: Tensor, on_host: Tensor | None, held: int) -> tuple[Tensor, Tensor]:
    """The masks of a batch, their number padded, and which of them each row has.

    Args:
        known: bool [B, V].
        on_host: The same on the CPU, if the caller had it there: then nothing waits for the device.
        held: Masks that a time table can hold for all evaluations; padding does not go beyond it unless the masks do.

    Returns:
        bool [masks, V] and int64 [B].
    """
    views = known.shape[1]
    if 2**views <= min(FEW_MASKS, held):
        places = torch.arange(views, device=known.device)
        masks = (torch.arange(2**views, device=known.device)[:, None] >> places) & 1
        return masks.bool(), (known.long() << places).sum(1)
    masks, mask = torch.unique(known.cpu() if on_host is None else on_host, dim=0, return_inverse=True)
    count = fixed_masks(len(masks), views)
    if not len(masks) <= held < count:
        masks = padded(masks, count)
    return upload(masks, known.device), upload(mask, known.device)


FORM = FusedScoreNetwork
