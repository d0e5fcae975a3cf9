"""``sample``: a trajectory made of what is asked, and its steps, the network being asked as it is or as the engine has
it."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dimvida import ops
from dimvida.diffusion.masking import multi_time
from dimvida.diffusion.schedule import VPSchedule
from dimvida.diffusion.solvers import step_table
from dimvida.diffusion.step_table import StepTable
from dimvida.errors import InputError, require_whole
from dimvida.models.score_network import MultiTimeNetwork
from dimvida.sampling.backends import plain_modes, resolve_backend, resolve_dtype, upload
from dimvida.sampling.engine import Engine, EngineRun, EngineState, engine_of, fused_forms, has_fused_form
from dimvida.sampling.trajectory import (
    Trajectory,
    as_drawn,
    require_fitting,
    require_tensors,
    start_from_noise,
)
from dimvida.sampling.workspace import capturing

SEED_LIMIT = 2**63

ScoreFunction = Callable[..., Tensor]


def sample(
    score_network: ScoreFunction,
    latents: Tensor,
    known: Tensor,
    *,
    solver: str = "euler-maruyama",
    steps: int = 250,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    backend: str = "auto",
    noise: Tensor | None = None,
    x0_clip: float = math.inf,
    schedule: VPSchedule | None = None,
    spacing: str | None = None,
    prediction: str = "noise",
    dtype: torch.dtype | None = None,
    views: Tensor | None = None,
) -> Tensor:
    """Draw the latents of the missing views given those of the known ones (DiMViDA eq. 5).

    Any number of threads may sample with one network. Autocast, inference mode and torch's default dtype and device
    change nothing here, nor are there gradients.

    Args:
        score_network: Maps (x [B, V, D], tau [B, V]) to its prediction [B, V, D]; with ``views``, to which it is
            given, V is as many as these are.
        latents: Standardised latents, float [B, V, D]. Entries of missing views are ignored, unless ``noise``
            is given: then they are the start at t = 1.
        known: bool [B, V]; each row may have its own set.
        solver: One of ``dimvida.diffusion.solvers.SOLVERS``.
        steps: Network evaluations, a whole number from 1 to ``dimvida.diffusion.solvers.STEPS_LIMIT``.
        seed: A whole number from 0 to 2^63 - 1.
        sample_ids: int64 [B], by default 0 .. B-1. A row's noise depends on its id and the seed alone, and that of its
            views on their places. With ``views`` also [B, V], an id for each view: then the noise of a view depends on
            the view's id and the seed alone.
        backend: ``eager``: every step in plain PyTorch, the reference. ``fused``: native kernels, and for the score
            networks of this package the engine of ``dimvida.sampling.engine``, unless hooks or other layers make one
            more than its weights. ``auto``: ``fused`` where the native module serves the device and the network is of
            such a kind, else ``eager``.
        noise: float [rows, B, V, D], replaces the drawn noise. ``rows`` equals ``steps`` for every solver but
            ``repaint`` and ``repaint-mean``, which have extra rows that only add noise.
        x0_clip: Clamp the predicted clean latents to +-x0_clip, above 0; by default they are not.
        schedule: Noise schedule, by default the paper's.
        spacing: Spacing of the time grid, by default the solver's own.
        prediction: What the network predicts, ``noise`` (minus the noise, as in the paper) or ``velocity``, see
            ``prediction_factors``.
        dtype: What the engine multiplies in: float32, bfloat16 or float16; by default ``backends.default_dtype``,
            that is bfloat16 where the hardware multiplies it natively, else float32. ``eager`` computes in float32
            alone.
        views: Which views they are, in any number and order, for networks that take that: places among the model's
            named views, int64 [V] or [B, V]; or for a camera-conditioned network azimuths and elevations in degrees,
            float32 [V, 2] or [B, V, 2]. By default the named views of the model in their order.

    Returns:
        float32 [B, V, D]; known views bit for bit as given.

    Raises:
        InputError: For an unknown solver or backend, or a number of another kind or out of range.
        ValueError: For tensors whose shape, dtype or device does not fit.
    """
    require_tensors(latents=latents, known=known, sample_ids=sample_ids, noise=noise, views=views)
    backend = backend_of(score_network, backend, latents.device)
    dtype = resolve_dtype(dtype, backend, latents.device)
    table = step_table(solver, steps, schedule, spacing)
    with plain_modes(latents.device):
        seed, x0_clip = require_seed(seed), _require_clip(x0_clip)
        sample_ids = require_fitting(score_network, latents, known, sample_ids, noise, len(table), views)
        trajectory = Trajectory(
            table=upload(table.tensor(prediction), latents.device),
            known=upload(known, latents.device).contiguous(),
            sample_ids=upload(sample_ids, latents.device).contiguous(),
            seed=upload(torch.tensor([seed], dtype=torch.int64, device="cpu"), latents.device),
            noise=noise if noise is None else noise.to(latents.device, torch.float32).contiguous(),
            x0_clip=x0_clip,
            known_on_host=known if known.device.type == "cpu" else None,
            views=views if views is None else upload(views, latents.device),
        )
        x = latents.float().clone(memory_format=torch.contiguous_format)
        if noise is None:
            x = start_from_noise(x, trajectory.known, trajectory.sample_ids, trajectory.seed)
        if backend == "fused" and has_fused_form(score_network):
            engine = engine_of(score_network, dtype, latents.device)
            return run_on_engine(engine, score_network, x, table, trajectory)
        step = ops.reference.masked_step_ if backend == "eager" else ops.masked_step_
        return run_trajectory(in_float32(score_network), x, table, trajectory, step)


def backend_of(network: object, backend: str, device: torch.device) -> str:
    """``eager`` or ``fused``, whichever a backend's name means for a network on a device, see ``resolve_backend``.

    Raises:
        InputError: For an unknown backend, or ``fused`` where there is none for the device or the network.
    """
    resolved = resolve_backend(backend, device)
    if resolved == "eager" or not isinstance(network, MultiTimeNetwork) or isinstance(network, tuple(fused_forms())):
        return resolved
    if backend == "fused":
        raise InputError(f"backend 'fused' cannot compute a {type(network).__name__}; use 'auto' or 'eager'")
    return "eager"


def in_float32(network: ScoreFunction) -> ScoreFunction:
    """The network itself, or a copy of a score network whose weights are in another dtype."""
    if isinstance(network, MultiTimeNetwork) and any(p.dtype != torch.float32 for p in network.parameters()):
        return copy.deepcopy(network).float()
    return network


def run_trajectory(
    network: ScoreFunction, x: Tensor, table: StepTable, trajectory: Trajectory, step: Callable[..., None]
) -> Tensor:
    """Apply every row of the table to the state x [B, V, D], in place, and return it."""
    which = {} if trajectory.views is None else {"views": trajectory.views}

    def evaluate(row: int) -> Tensor:
        return network(x, multi_time(table.rows[row].t, trajectory.known), **which).contiguous()

    index = torch.zeros(1, dtype=torch.int64, device=x.device)
    run_steps(x, torch.zeros_like(x), index, [row.evaluate for row in table.rows], trajectory, evaluate, step)
    return x


def run_on_engine(
    engine: Engine, network: MultiTimeNetwork, x: Tensor, table: StepTable, trajectory: Trajectory
) -> Tensor:
    """Apply every row of the table to x, evaluated by the engine, on CUDA as one graph; under ``plain_modes``.

    A graph is captured once, with a state that it holds, and run for every trajectory of its kind: what that begins
    with is copied into this state, and the result out of it.
    """
    if x.numel() == 0:
        return x
    evaluates = tuple(row.evaluate for row in table.rows)
    with engine.begin(network, x, table, trajectory) as run:
        if run.graphs is None:
            launch(run, run.state, evaluates)
        else:
            key = (*run.state.key(), evaluates)
            if key not in run.graphs:
                run.graphs.keep(key, *captured(run, evaluates))
                engine.count("graph")
            graph, held = run.graphs.use(key)
            with torch.cuda.device(x.device):
                held.take(run.state)
                graph.replay()
                run.state.x.copy_(held.x)
        if run.state.x is not x:
            x.copy_(run.state.x[: len(x)])
    return x


def captured(run: EngineRun, evaluates: Sequence[bool]) -> tuple[torch.cuda.CUDAGraph, EngineState]:
    """A graph of a whole trajectory, and the copy of the run's state that it reads and writes."""
    held = run.state.copy()
    with capturing(run.graphs.stream(held.x.device)) as capture:
        with capture.warming_up():
            launch(run, held, evaluates[:1])
        with capture.recording() as graph:
            launch(run, held, evaluates)
    return graph, held


def launch(run: EngineRun, state: EngineState, evaluates: Sequence[bool]) -> None:
    """Apply rows of the table to a state, this run's or a copy of it; ``evaluates`` as of ``run_steps``."""
    evaluate, x_cast = run.evaluations(state), run.x_cast(state)
    run_steps(state.x, state.x0_prev, state.index, evaluates, state.trajectory, evaluate, ops.masked_step_, x_cast)


def run_steps(
    x: Tensor,
    x0_prev: Tensor,
    index: Tensor,
    evaluates: Sequence[bool],
    given: Trajectory,
    evaluate: Callable[[int], Tensor],
    step: Callable[..., None],
    x_cast: Tensor | None = None,
) -> None:
    """Apply the rows of the step table to the state, in place. Nothing here waits for a device.

    Args:
        x, x0_prev: The state and the last data prediction, float32 [B, V, D].
        index: The row of the table, int64 [1], on the device; counted up.
        evaluates: Whether the network is asked, for each row.
        given: The step table, and what else the steps take: known views, ids, seed and noise.
        evaluate: What the network says of x at a row, [B, V, D]; what an evaluation leaves there serves the rows after
            it that ask for none.
        step: ``dimvida.ops.masked_step_`` or its reference.
        x_cast: Takes a copy of the new x in another dtype.
    """
    ids = given.sample_ids
    model_output = x0_prev  # of rows in front of the first evaluation, which read none
    for row, asks in enumerate(evaluates):
        if asks:
            model_output = evaluate(row)
        step(
            as_drawn(x, ids),
            as_drawn(x0_prev, ids),
            as_drawn(model_output, ids),
            as_drawn(given.known, ids),
            given.table,
            index,
            ids.flatten(),
            given.seed,
            noise=None if given.noise is None else as_drawn(given.noise[row], ids),
            clip=given.x0_clip,
            x_cast=None if x_cast is None else as_drawn(x_cast, ids),
        )
        index += 1


def require_seed(seed: int) -> int:
    """A seed as an int.

    Raises:
        InputError: Unless it is a whole number from 0 to 2^63 - 1.
    """
    return require_whole("seed", seed, 0, SEED_LIMIT - 1, "2^63 - 1")


def _require_clip(x0_clip: float) -> float:
    if not isinstance(x0_clip, numbers.Real) or isinstance(x0_clip, bool) or not x0_clip > 0:  # also refuses NaN
        raise InputError(f"x0_clip must be a number above 0, not {x0_clip!r}")
    return float(x0_clip)
