"""The fused engine: the whole trajectory of a score network over preallocated buffers.

Any number of threads may sample at once: the weights are shared and only read, and each trajectory has a workspace.

What is left of an evaluation are matrix products, written where the next one reads them, and one kernel per norm that
also adds biases, the time row and SiLU. The masked step then draws its noise itself. See ``plan`` for how the weights
are laid out and ``time_table`` for the conditioning.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dimvida import ops
from dimvida.diffusion.step_table import StepTable
from dimvida.errors import InputError
from dimvida.models.score_network import ScoreNetwork
from dimvida.sampling.masks import distinct_masks, fixed_rows
from dimvida.sampling.modes import plain_modes
from dimvida.sampling.plan import Block, NetworkPlan, Norm
from dimvida.sampling.time_table import LARGEST_TABLE, TimeTable
from dimvida.sampling.trajectory import Trajectory, padded, upload
from dimvida.sampling.weights import Weights
from dimvida.sampling.workspace import Buffers, WorkspacePool


def has_graphs(device: torch.device) -> bool:
    """Whether a trajectory on a device may be one graph, and is brought to shapes that graphs have in common."""
    return device.type == "cuda"


DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What can be multiplied in."""


def default_dtype(device: torch.device) -> torch.dtype:
    """What ``DIMVIDA_DTYPE`` says; else bfloat16 where the hardware multiplies it natively, and float32 elsewhere.

    Raises:
        InputError: If the variable names no dtype.
    """
    if name := os.environ.get("DIMVIDA_DTYPE"):
        named = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}
        if name not in named:
            raise InputError(f"DIMVIDA_DTYPE={name}: choose from {', '.join(named)}")
        return named[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    native = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


@dataclass(slots=True)
class State:
    """A trajectory in progress, all of it on the device.

    Attributes:
        x, x0_prev: float32 [B, V, D].
        trajectory: Step table, known views, identities, seed.
        mask: int64 [B], each row's entry in the time table.
        time: Time table.
        index, evaluation: int64 [1], the row of the step table and the number of the network evaluation.
    """

    x: Tensor
    x0_prev: Tensor
    trajectory: Trajectory
    mask: Tensor
    time: TimeTable
    index: Tensor
    evaluation: Tensor


class Engine:
    """Samples with one score network in one dtype on one device.

    Args:
        network: Its weights are copied at the first ``run``; changed ones are noticed at the next.
        dtype: Of the products and activations. Norms, time table and the state x are float32.
        largest_table: Bytes of time table above which only the current evaluation's part is held.

    Attributes:
        graphs: Whether a trajectory on CUDA is one graph. Without, kernels are launched one by one, and a profile can
            tell which operation launched what.
        builds: How often ``plan``, ``buffers`` and ``graph`` were made anew.
    """

    def __init__(self, network: ScoreNetwork, dtype: torch.dtype, largest_table: int = LARGEST_TABLE) -> None:
        self.dtype, self.largest_table = dtype, largest_table
        self.width = network.width
        self.graphs = True
        self.builds: Counter[str] = Counter()
        self._weights: Weights | None = None
        self._lock = threading.Lock()
        self._pool = WorkspacePool()

    def run(self, network: ScoreNetwork, x: Tensor, table: StepTable, trajectory: Trajectory) -> Tensor:
        """Apply every row of the table to x, float32 [B, V, D], in place, and return it."""
        if x.numel() == 0:
            return x
        with plain_modes(x.device):
            weights, state = self._begin(network, x, table, trajectory)
            evaluates = tuple(row.evaluate for row in table.rows)
            rows = len(state.x)
            with self._pool.workspace(x.device) as workspace:
                if workspace.reserve(rows, weights.plan):
                    self._count("buffers")
                buffers = workspace.buffers(rows)

                def launch(state: State, evaluates: tuple[bool, ...]) -> None:
                    self._steps(weights.plan, buffers, state, evaluates)

                if has_graphs(x.device) and self.graphs and trajectory.noise is None:
                    if workspace.graphs.run(launch, state, evaluates):
                        self._count("graph")
                else:
                    launch(state, evaluates)
                if state.x is not x:
                    x.copy_(state.x[: len(x)])
        return x

    def _begin(
        self, network: ScoreNetwork, x: Tensor, table: StepTable, trajectory: Trajectory
    ) -> tuple[Weights, State]:
        """The weights as they are now, and the state at the start."""
        weights = self._weights
        if weights is not None:
            unchanged = weights.comparison(network)
            state = self._state(weights.plan, x, table, trajectory)  # while a GPU still compares
            if unchanged():
                return weights, state
        weights = self._renew(network, weights)
        return weights, self._state(weights.plan, x, table, trajectory)

    def _renew(self, network: ScoreNetwork, outdated: Weights | None) -> Weights:
        """The network's present weights, copied unless another thread has done so meanwhile."""
        with self._lock:
            current = self._weights
            if current is None or current is outdated or not current.comparison(network)():
                current = self._weights = Weights(network, self.dtype)
                self.builds["plan"] += 1
            return current

    def _state(self, plan: NetworkPlan, x: Tensor, table: StepTable, trajectory: Trajectory) -> State:
        times = torch.tensor([row.t for row in table.rows if row.evaluate], dtype=torch.float32, device="cpu")
        if has_graphs(x.device) and trajectory.noise is None:
            x, trajectory = padded(x, fixed_rows(len(x))), trajectory.padded(fixed_rows(len(x)))
            held = self.largest_table // (4 * len(times) * len(plan.time.bias))
            masks, mask = distinct_masks(trajectory.known, trajectory.known_on_host, held)
        else:
            masks, mask = torch.unique(trajectory.known, dim=0, return_inverse=True)
        return State(
            x=x,
            x0_prev=torch.zeros_like(x),
            trajectory=trajectory,
            mask=mask,
            time=TimeTable(plan.time, (~masks).float(), upload(times, x.device), self.width, self.largest_table),
            index=torch.zeros(1, dtype=torch.int64, device=x.device),
            evaluation=torch.zeros(1, dtype=torch.int64, device=x.device),
        )

    def _count(self, name: str) -> None:
        with self._lock:
            self.builds[name] += 1

    def _steps(self, plan: NetworkPlan, buffers: Buffers, state: State, evaluates: tuple[bool, ...]) -> None:
        """Launch all rows of the step table; True in ``evaluates`` where the network is asked."""
        trajectory = state.trajectory
        low = None if self.dtype == torch.float32 else buffers.low.view_as(state.x)
        if low is not None:
            low.copy_(state.x)
        for i, evaluate in enumerate(evaluates):
            if evaluate:
                self._evaluate(plan, buffers, state)
                state.evaluation += 1
            ops.masked_step_(
                state.x,
                state.x0_prev,
                buffers.out.view_as(state.x),
                trajectory.known,
                trajectory.table,
                state.index,
                trajectory.sample_ids,
                trajectory.seed,
                noise=None if trajectory.noise is None else trajectory.noise[i],
                clip=trajectory.x0_clip,
                low=low,
            )
            state.index += 1

    def _evaluate(self, plan: NetworkPlan, buffers: Buffers, state: State) -> None:
        """buffers.out <- network(x, tau)."""
        width = self.width
        conditioning = _Conditioning(state)
        x = state.x.flatten(1) if self.dtype == torch.float32 else buffers.low
        up, final = buffers.joined[:-1], buffers.joined[-1]
        first = torch.mm(x, plan.input.t(), out=final[:, 2 * width :])
        h = first
        for i, block in enumerate(plan.down):
            skipped = up[-1 - i][:, 2 * width :]  # read last by the block that is furthest up
            conditioning.norms(block, buffers.normed, buffers.hidden, h)
            torch.addmm(h, buffers.normed, block.last.t(), out=skipped)
            last = i == len(plan.down) - 1
            h = torch.mm(skipped, plan.down_linears[i].t(), out=up[0][:, width : 2 * width] if last else buffers.state)
        for block in plan.mid:
            conditioning.norms(block, buffers.normed, buffers.hidden, h)
            h.addmm_(buffers.normed, block.last.t())
        for i, block in enumerate((*plan.up, plan.final)):
            joined = buffers.joined[i]
            h, skipped = joined[:, width : 2 * width], joined[:, 2 * width :]
            conditioning.norms(block, buffers.wide, buffers.hidden, h, skipped, joined[:, :width])
            following = buffers.joined[i + 1][:, width : 2 * width] if joined is not final else buffers.state
            torch.mm(joined, block.last.t(), out=following)
        norm_silu(plan.output_norm, buffers.normed, buffers.state)
        torch.addmm(plan.output_bias, buffers.normed, plan.output.t(), out=buffers.out)


class _Conditioning:
    """Gives the norms of one evaluation, block by block, their row of the time table."""

    def __init__(self, state: State) -> None:
        state.time.prepare(state.evaluation)
        self.rows, self.mask = state.time.rows, state.mask
        self.step = state.time.step(state.evaluation)
        self.block = 0

    def norms(
        self,
        block: Block,
        normed: Tensor,
        hidden: Tensor,
        h: Tensor,
        skipped: Tensor | None = None,
        out: Tensor | None = None,
    ) -> None:
        """out (by default ``normed``) <- SiLU(norm2(linear1(SiLU(norm1([h, skipped]))) + time row))."""
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
            rows=self.rows[:, :, self.block],
            mask=self.mask,
            step=self.step,
        )
        self.block += 1


def norm_silu(norm: Norm, out: Tensor, left: Tensor, right: Tensor | None = None) -> None:
    """out <- SiLU(norm([left, right] + what is pending))."""
    ops.group_norm_silu_(out, left, norm.weight, norm.bias, norm.groups, eps=norm.eps, right=right, rows=norm.pending)


# Built on first use and kept as long as the network lives. A cache, not a setting: it changes no result.
_ENGINES: WeakKeyDictionary[ScoreNetwork, dict[tuple[torch.dtype, torch.device], Engine]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def engine_of(network: ScoreNetwork, dtype: torch.dtype, device: torch.device) -> Engine:
    """The engine of a network, built on first use; the same one for every thread."""
    with _LOCK:
        engines = _ENGINES.setdefault(network, {})
        key = (dtype, device)
        if key not in engines:
            engines[key] = Engine(network, dtype)
        return engines[key]


def _forget_engines() -> None:
    global _LOCK
    _LOCK = threading.Lock()
    _ENGINES.clear()


# A forked process has none of the threads that may have held a lock, and would wait for them for ever.
os.register_at_fork(after_in_child=_forget_engines)
