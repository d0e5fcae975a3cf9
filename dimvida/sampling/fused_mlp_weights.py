"""The weights of a score network, cast and laid out for the fused engine.

Three rewritings, all exact in real numbers and computed in float64:

- Every bias is moved to where its value is next normalised. A matrix product then writes its plain result, and the
  state it stands for is ``stored + deferred`` with a constant vector, the deferred bias, which the group norm adds as a
  row.
- The linear map after an up block is folded into the two products that the block ends with.
- A block on the concatenation [h, s] ends with ``norm2(u) W2 + [h, s] Wskip``: one product of [norm2(u), h, s], which
  lie side by side in memory, with the two weights joined.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dimvida.models.score_network import ResidualBlock, ScoreNetwork


@dataclass(frozen=True, slots=True)
class FusedNorm:
    """A group norm and the row that is added before it.

    Attributes:
        weight, bias: float32 [W].
        groups: Groups of columns.
        eps: Added to the variance.
        deferred_bias: float32 [1, 1, W]; for the second norm of a block there is a row per mask and step instead.
    """

    weight: Tensor
    bias: Tensor
    groups: int
    eps: float
    deferred_bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class FusedBlock:
    """A residual block.

    Attributes:
        norm1, norm2: Group norms before the first and the second projection.
        linear1: [W, width of the input].
        last: [W, W] second projection of a block that keeps its width, else [W, 3 W]: second projection and skip
            joined, with the linear map after the block folded in where there is one.
    """

    norm1: FusedNorm
    norm2: FusedNorm
    linear1: Tensor
    last: Tensor


@dataclass(frozen=True, slots=True)
class TimeWeights:
    """The embedding of the multi-time vector and, of all blocks at once, what it adds before their second norm.

    Attributes:
        embed: Linear, GELU, Linear.
        weight: float32 [blocks * W, T].
        bias: float32 [blocks * W], with the bias of each block's first projection.
    """

    embed: nn.Sequential
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class FusedWeights:
    """Everything an evaluation reads.

    Attributes:
        input: [W, V D].
        down, mid, up: Blocks in order.
        down_linears: [W, W] after each down block.
        final: The last block.
        output_norm: The norm before the output.
        output, output_bias: [V D, W] and [V D].
        time: Weights of the time table.
    """

    input: Tensor
    down: tuple[FusedBlock, ...]
    down_linears: tuple[Tensor, ...]
    mid: tuple[FusedBlock, ...]
    up: tuple[FusedBlock, ...]
    final: FusedBlock
    output_norm: FusedNorm
    output: Tensor
    output_bias: Tensor
    time: TimeWeights


class _Fuser:
    """Lays out weights while following what is deferred."""

    def __init__(self, network: ScoreNetwork, dtype: torch.dtype) -> None:
        self.network, self.dtype = network, dtype

    def weight(self, matrix: Tensor) -> Tensor:
        return matrix.to(self.dtype).contiguous()

    def norm(self, norm: nn.GroupNorm, deferred: Tensor | None = None) -> FusedNorm:
        row = None if deferred is None else deferred.float()[None, None].contiguous()
        return FusedNorm(norm.weight.float(), norm.bias.float(), norm.num_groups, norm.eps, row)

    def block(
        self, block: ResidualBlock, deferred: Tensor, after: nn.Linear | None = None
    ) -> tuple[FusedBlock, Tensor]:
        """The block, and what is deferred after it and after the linear map that follows."""
        last = block.linear2.weight.double()  # [W, W]
        left = block.linear2.bias.double()
        if isinstance(block.skip, nn.Linear):
            skip = block.skip.weight.double()
            last = torch.cat([last, skip], dim=1)  # [W, 3 W]
            left = left + block.skip.bias.double() + skip @ deferred
        else:
            left = left + deferred
        if after is not None:
            last = after.weight.double() @ last
            left = after.weight.double() @ left + after.bias.double()
        fused = FusedBlock(
            self.norm(block.norm1, deferred),
            self.norm(block.norm2),
            self.weight(block.linear1.weight),
            self.weight(last),
        )
        return fused, left

    def time(self) -> TimeWeights:
        network = self.network
        # In order of execution.
        blocks = [*network.down_blocks, *network.mid_blocks, *network.up_blocks, network.final_block]
        weight = torch.cat([block.time.weight for block in blocks]).float()
        bias = torch.cat([block.time.bias.double() + block.linear1.bias.double() for block in blocks]).float()
        # A copy, not a new layer: making one would draw from the global generator.
        embed = copy.deepcopy(network.time_embedding).float().requires_grad_(False)
        return TimeWeights(embed, weight, bias)

    def weights(self) -> FusedWeights:
        network = self.network
        first = deferred = network.input.bias.double()
        down, skipped = [], []
        for block, linear in zip(network.down_blocks, network.down_linears, strict=True):
            fused, deferred = self.block(block, deferred)
            down.append(fused)
            skipped.append(deferred)
            deferred = linear.weight.double() @ deferred + linear.bias.double()
        mid = []
        for block in network.mid_blocks:
            fused, deferred = self.block(block, deferred)
            mid.append(fused)
        up = []
        for block, linear in zip(network.up_blocks, network.up_linears, strict=True):
            fused, deferred = self.block(block, torch.cat([deferred, skipped.pop()]), linear)
            up.append(fused)
        final, deferred = self.block(network.final_block, torch.cat([deferred, first]))
        return FusedWeights(
            input=self.weight(network.input.weight),
            down=tuple(down),
            down_linears=tuple(self.weight(linear.weight) for linear in network.down_linears),
            mid=tuple(mid),
            up=tuple(up),
            final=final,
            output_norm=self.norm(network.output_norm, deferred),
            output=self.weight(network.output.weight),
            output_bias=self.weight(network.output.bias),
            time=self.time(),
        )


@torch.no_grad()
def fuse_weights(network: ScoreNetwork, dtype: torch.dtype) -> FusedWeights:
    """Lay out a network's weights for products in ``dtype``, on the device where they are.

    Weights that need no other form are not copied: the layout is right as long as nobody writes the network.
    """
    return _Fuser(network, dtype).weights()


LAYERS = (ScoreNetwork, ResidualBlock, nn.Linear, nn.GroupNorm, nn.GELU, nn.Identity, nn.Sequential, nn.ModuleList)
"""Kinds of layers whose function is that of their weights."""
