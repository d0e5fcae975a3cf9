"""The fused engine: the evaluations of a trajectory, and its state, over memory that is kept.

Any number of threads may sample at once: the weights are shared and only read, and each trajectory has a workspace.
What an evaluation launches is up to the network's fused form, ``fused_mlp`` or ``fused_transformer``; the steps between
evaluations are ``loop.run_steps``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import threading
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from dimvida.diffusion.step_table import StepTable
from dimvida.models.config import AnyScoreConfig
from dimvida.models.score_network import MultiTimeNetwork
from dimvida.records import kinds_of
from dimvida.sampling.trajectory import Conditioning, Trajectory, fixed_rows, padded
from dimvida.sampling.weights_copy import CurrentCopy, PerNetwork
from dimvida.sampling.workspace import GraphCache, WorkspacePool


class FusedBuffers(Protocol):
    """Memory of a fused form's evaluations.

    Attributes:
        x_cast: The state x in the dtype of the products.
        model_output: Output of the network, of as many numbers.
    """

    x_cast: Tensor
    model_output: Tensor

    def first(self, size: int) -> FusedBuffers:
        """The same memory for a smaller batch."""


class FusedForm(Protocol):
    """A network as the engine computes it, its weights laid out for products in a dtype.

    That of kind K is in ``fused_K.py``, which names its class as ``FORM``.

    Attributes:
        NETWORK: The class of network that it computes.
    """

    NETWORK: ClassVar[type[MultiTimeNetwork]]

    def __init__(self, network: MultiTimeNetwork, dtype: torch.dtype) -> None: ...

    @staticmethod
    def serves(network: MultiTimeNetwork) -> bool:
        """Whether a network's function is that of its weights."""

    def condition(self, trajectory: Trajectory, times: Tensor, largest: int, fixed_shapes: bool) -> Conditioning:
        """What the times of all evaluations, float32 [evaluations], do; of at most so many bytes, if they allow it."""

    def size(self, shape: torch.Size) -> int:
        """What buffers for a state [B, V, D] are counted in."""

    def allocate(self, size: int) -> FusedBuffers:
        """Buffers of that size, uninitialised."""

    def evaluate(self, x: Tensor, time: Any, evaluation: Tensor, buffers: Any) -> None:
        """buffers.model_output <- network(x, tau), at what ``condition`` gave, of evaluation int64 [1]. Neither waits
        nor allocates what a graph would lose."""


@functools.cache
def fused_forms() -> dict[type[MultiTimeNetwork], type[FusedForm]]:
    """How the engine computes each kind of network; of a kind that is not here, trajectories are eager."""
    kinds = (kind for sizes in typing.get_args(AnyScoreConfig) for kind in kinds_of(sizes))
    modules = (f"{__package__}.fused_{kind}" for kind in kinds)
    forms = [importlib.import_module(module).FORM for module in modules if importlib.util.find_spec(module)]
    return {form.NETWORK: form for form in forms}


LARGEST_TABLE = 2**28
"""Bytes of time table above which only the current evaluation's part is held, and recomputed at each evaluation."""


def has_fused_form(network: object) -> bool:
    """Whether the engine can compute a network: its function is that of its weights, since no layer is of a kind that
    the fused form does not know, and nothing is hooked."""
    form = fused_forms().get(type(network))
    return form is not None and form.serves(network)


def has_graphs(device: torch.device) -> bool:
    """Whether a trajectory on a device may be one graph, and is brought to shapes that graphs have in common."""
    return device.type == "cuda"


@dataclass(slots=True)
class EngineState:
    """A trajectory in progress, all of it on the device.

    Attributes:
        x, x0_prev: float32 [B, V, D].
        trajectory: Step table, known views, identities, seed.
        time: What the times of all evaluations do in the network.
        index, evaluation: int64 [1], the row of the step table and the number of the network evaluation.
    """

    x: Tensor
    x0_prev: Tensor
    trajectory: Trajectory
    time: Conditioning
    index: Tensor
    evaluation: Tensor

    def key(self) -> tuple[object, ...]:
        """What must be the same for two trajectories to be one graph with other inputs."""
        shapes = tuple(tensor.shape for tensor in self.time.tensors())
        return self.x.shape, self.trajectory.sample_ids.shape, shapes, self.trajectory.x0_clip

    def take(self, other: EngineState) -> None:
        """Become another one of the same key: all that differs from one run of a graph to the next is copied."""
        for ours, theirs in zip(self._inputs(), other._inputs(), strict=True):
            ours.copy_(theirs)

    def _inputs(self) -> list[Tensor]:
        given = self.trajectory
        changing = [self.x, self.index, self.evaluation, *self.time.tensors()]
        return [*changing, given.table, given.known, given.sample_ids, given.seed]

    def copy(self) -> EngineState:
        """A copy of this state in memory of its own."""
        given = self.trajectory
        tensors = {name: getattr(given, name).clone() for name in ("table", "known", "sample_ids", "seed")}
        return EngineState(
            self.x.clone(),
            self.x0_prev.clone(),
            dataclasses.replace(given, **tensors),
            self.time.copy(),
            self.index.clone(),
            self.evaluation.clone(),
        )


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What a trajectory is computed with while its engine lends it.

    Attributes:
        fused: The network's weights, laid out.
        buffers: Memory of its evaluations.
        state: The trajectory at its start; where that may be a graph, of a batch with rows behind it.
        graphs: Those that point to the buffers, or None where nothing is captured.
    """

    fused: FusedForm
    buffers: FusedBuffers
    state: EngineState
    graphs: GraphCache[EngineState] | None

    def x_cast(self, state: EngineState) -> Tensor | None:
        """What the network reads of a state where that is not x itself: memory for a copy in another dtype, which each
        step must keep up to date; else None."""
        x_cast = self.buffers.x_cast
        return x_cast.view_as(state.x) if x_cast.dtype != torch.float32 else None

    def evaluations(self, state: EngineState) -> Callable[[int], Tensor]:
        """Evaluations of the network at a state, this run's or a copy of it.

        Called with a row, it launches the next one and gives the output, [B, V, D].
        """
        x_cast, time = self.x_cast(state), state.time
        if x_cast is not None:
            x_cast.copy_(state.x)

        def evaluate(row: int) -> Tensor:
            nonlocal time
            self.fused.evaluate(state.x if x_cast is None else x_cast, time, state.evaluation, self.buffers)
            time = time.later()
            state.evaluation += 1
            return self.buffers.model_output.view_as(state.x)

        return evaluate


class Engine:
    """What computes one score network in one dtype on one device.

    The network's weights are copied at the first trajectory; changed ones are noticed at the next.

    Args:
        dtype: Type of the products and activations. Norms, time table and the state x are float32.

    Attributes:
        largest_table: Bytes of time table above which only the current evaluation's part is held.
        graphs: Whether a trajectory on CUDA is one graph. Without, kernels are launched one by one, and a profile can
            tell which operation launched what.
        builds: How often ``weights``, ``buffers`` and ``graph`` were made anew.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.largest_table = dtype, LARGEST_TABLE
        self.graphs = True
        self.builds: Counter[str] = Counter()
        # Without a reference to the engine: in a circle its memory would stay until the collector comes by.
        self._weights = CurrentCopy(partial(_lay_out, dtype), partial(self.builds.update, ["weights"]))
        self._lock = threading.Lock()
        self._pool = WorkspacePool()

    @contextmanager
    def begin(
        self, network: MultiTimeNetwork, x: Tensor, table: StepTable, trajectory: Trajectory
    ) -> Iterator[EngineRun]:
        """What the rows of a table are applied to x with, float32 [B, V, D]; its memory is lent until left."""
        fused, state = self._weights.use(network, lambda fused: (fused, self._state(fused, x, table, trajectory)))
        with self._pool.workspace(x.device) as workspace:
            size = fused.size(state.x.shape)
            buffers, made = workspace.reserve(size, fused, fused.allocate)
            if made:
                self.count("buffers")
            graphed = has_graphs(x.device) and self.graphs and trajectory.noise is None
            yield EngineRun(fused, buffers.first(size), state, workspace.graphs if graphed else None)

    def _state(self, fused: FusedForm, x: Tensor, table: StepTable, trajectory: Trajectory) -> EngineState:
        times = torch.tensor([row.t for row in table.rows if row.evaluate], dtype=torch.float32, device="cpu")
        fixed_shapes = has_graphs(x.device) and trajectory.noise is None
        if fixed_shapes:
            rows = fixed_rows(len(x))
            x, trajectory = padded(x, rows), trajectory.padded(rows)
        return EngineState(
            x=x,
            x0_prev=torch.zeros_like(x),
            trajectory=trajectory,
            time=fused.condition(trajectory, times, self.largest_table, fixed_shapes),
            index=torch.zeros(1, dtype=torch.int64, device=x.device),
            evaluation=torch.zeros(1, dtype=torch.int64, device=x.device),
        )

    def count(self, name: str) -> None:
        """One more of ``builds``."""
        with self._lock:
            self.builds[name] += 1


def _lay_out(dtype: torch.dtype, network: MultiTimeNetwork) -> FusedForm:
    return fused_forms()[type(network)](network, dtype)


_ENGINES = PerNetwork(Engine)


def engine_of(network: MultiTimeNetwork, dtype: torch.dtype, device: torch.device) -> Engine:
    """The engine of a network, built on first use; the same one for every thread."""
    return _ENGINES.of(network, dtype, device)
