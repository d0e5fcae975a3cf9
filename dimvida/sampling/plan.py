"""The weights of a score network, cast and laid out for the fused engine.

Three rewritings, all exact in real numbers and computed in float64:

- Every bias is moved to where its value is next normalised. A matrix product then writes its plain result, and the
  state it stands for is ``stored + pending`` with a constant vector ``pending``, which the group norm adds as a row.
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
class Norm:
    """A group norm and the row that is added before it.

    Attributes:
        weight, bias: float32 [W].
        groups: Groups of columns.
        eps: Added to the variance.
        pending: float32 [1, 1, W]; for the second norm of a block there is a row per mask and step instead.
    """

    weight: Tensor
    bias: Tensor
    groups: int
    eps: float
    pending: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block.

    Attributes:
        norm1, norm2: Its norms.
        linear1: [W, width of the input].
        last: [W, W] second projection of a block that keeps its width, else [W, 3 W]: second projection and skip
            joined, with the linear map after the block folded in where there is one.
    """

    norm1: Norm
    norm2: Norm
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
class NetworkPlan:
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
    down: tuple[Block, ...]
    down_linears: tuple[Tensor, ...]
    mid: tuple[Block, ...]
    up: tuple[Block, ...]
    final: Block
    output_norm: Norm
    output: Tensor
    output_bias: Tensor
    time: TimeWeights


class _Planner:
    """Lays out weights while following what is pending."""

    def __init__(self, network: ScoreNetwork, dtype: torch.dtype) -> None:
        self.network, self.dtype = network, dtype

    def weight(self, matrix: Tensor) -> Tensor:
        return matrix.to(self.dtype).contiguous()

    def norm(self, norm: nn.GroupNorm, pending: Tensor | None = None) -> Norm:
        row = None if pending is None else pending.float()[None, None].contiguous()
        return Norm(norm.weight.float(), norm.bias.float(), norm.num_groups, norm.eps, row)

    def block(self, block: ResidualBlock, pending: Tensor, after: nn.Linear | None = None) -> tuple[Block, Tensor]:
        """The block, and what is pending after it and after the linear map that follows."""
        last = block.linear2.weight.double()  # [W, W]
        left = block.linear2.bias.double()
        if isinstance(block.skip, nn.Linear):
            skip = block.skip.weight.double()
            last = torch.cat([last, skip], dim=1)  # [W, 3 W]
            left = left + block.skip.bias.double() + skip @ pending
        else:
            left = left + pending
        if after is not None:
            last = after.weight.double() @ last
            left = after.weight.double() @ left + after.bias.double()
        planned = Block(
            self.norm(block.norm1, pending),
            self.norm(block.norm2),
            self.weight(block.linear1.weight),
            self.weight(last),
        )
        return planned, left

    def time(self) -> TimeWeights:
        blocks = residual_blocks(self.network)
        weight = torch.cat([block.time.weight for block in blocks]).float()
        bias = torch.cat([block.time.bias.double() + block.linear1.bias.double() for block in blocks]).float()
        # A copy, not a new layer: making one would draw from the global generator.
        embed = copy.deepcopy(self.network.time_embedding).float().requires_grad_(False)
        return TimeWeights(embed, weight, bias)

    def plan(self) -> NetworkPlan:
        network = self.network
        first = pending = network.input.bias.double()
        down, skipped = [], []
        for block, linear in zip(network.down_blocks, network.down_linears, strict=True):
            planned, pending = self.block(block, pending)
            down.append(planned)
            skipped.append(pending)
            pending = linear.weight.double() @ pending + linear.bias.double()
        mid = []
        for block in network.mid_blocks:
            planned, pending = self.block(block, pending)
            mid.append(planned)
        up = []
        for block, linear in zip(network.up_blocks, network.up_linears, strict=True):
            planned, pending = self.block(block, torch.cat([pending, skipped.pop()]), linear)
            up.append(planned)
        final, pending = self.block(network.final_block, torch.cat([pending, first]))
        return NetworkPlan(
            input=self.weight(network.input.weight),
            down=tuple(down),
            down_linears=tuple(self.weight(linear.weight) for linear in network.down_linears),
            mid=tuple(mid),
            up=tuple(up),
            final=final,
            output_norm=self.norm(network.output_norm, pending),
            output=self.weight(network.output.weight),
            output_bias=self.weight(network.output.bias),
            time=self.time(),
        )


@torch.no_grad()
def plan_network(network: ScoreNetwork, dtype: torch.dtype) -> NetworkPlan:
    """Lay out a network's weights for products in ``dtype``, on the device where they are.

    Weights that need no other form are not copied: the plan is right as long as nobody writes the network.
    """
    return _Planner(network, dtype).plan()


_LAYERS = (ScoreNetwork, ResidualBlock, nn.Linear, nn.GroupNorm, nn.GELU, nn.Identity, nn.Sequential, nn.ModuleList)


def computes_its_plan(network: ScoreNetwork) -> bool:
    """Whether a network's function is that of its weights: no layer is of another kind, and nothing is hooked."""
    return all(
        type(layer) in _LAYERS and not (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))
        for layer in network.modules()
    )


def residual_blocks(network: ScoreNetwork) -> list[ResidualBlock]:
    """All residual blocks in order of execution."""
    return [*network.down_blocks, *network.mid_blocks, *network.up_blocks, network.final_block]
