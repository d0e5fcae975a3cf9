"""The training loop: any objective, exact resume, interruption without loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_path
from dimvida.training.config import StageConfig
from dimvida.training.folder import another_configuration
from dimvida.training.interrupt import Interrupt
from dimvida.training.objectives import Objective
from dimvida.training.seeds import BatchOrder


class Diverged(DimvidaError):
    """The loss or the weights are no longer finite."""


@dataclass(slots=True)
class CurvePoint:
    """One point of a learning curve; ``loss`` is the mean since the last point."""

    step: int
    epoch: float
    loss: float
    lr: float
    validation: dict[str, float]
    seconds: float


@dataclass(slots=True)
class StageResult:
    """How a stage ended.

    Attributes:
        network: Averaged (EMA) weights, or the plain ones without EMA, in evaluation mode.
        finished: False if interrupted.
    """

    network: nn.Module
    finished: bool


@dataclass(slots=True)
class Hooks:
    """Callbacks of the loop.

    Attributes:
        progress: Called after every step with (step, total, loss).
        point: Called with each new point of the learning curve and the whole curve.
        sheet: Called with (network with averaged weights, step) when a sample sheet is due.
        saved: Called with (network with averaged weights, step) after the training state was saved.
    """

    progress: Callable[[int, int, float], None] = lambda step, total, loss: None
    point: Callable[[CurvePoint, list[CurvePoint]], None] = lambda point, curve: None
    sheet: Callable[[nn.Module, int], None] = lambda network, step: None
    saved: Callable[[nn.Module, int], None] = lambda network, step: None


@dataclass(slots=True)
class Stage:
    """A stage in progress: everything that a saved training state holds.

    Attributes:
        objective: Data and loss.
        config: Steps, batch, learning rate.
        seed: Base seed of the run.
        state_path: Where the training state is saved.
        config_digest: Hash of the run's configuration; a state of another one is refused.
    """

    objective: Objective
    config: StageConfig
    seed: int
    state_path: Path
    config_digest: str
    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    seconds: float = 0.0
    optimizer: torch.optim.Optimizer = field(init=False)
    average: AveragedModel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        network = self.objective.network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.config.lr, fused=True)
        if self.config.ema:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema))

    @property
    def total(self) -> int:
        """Steps of the whole stage."""
        return self.config.total_steps(self.objective.items)

    @property
    def averaged_network(self) -> nn.Module:
        """The network whose weights are kept: the EMA if there is one."""
        return self.objective.network if self.average is None else self.average.module

    def save(self) -> None:
        """Write the training state atomically."""
        state = {
            "config_digest": self.config_digest,
            "step": self.step,
            "network": self.objective.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": [[getattr(p, name) for name in CurvePoint.__slots__] for p in self.curve],
            "window": self.window,
            "seconds": self.seconds,
        }
        with atomic_path(self.state_path) as temporary:
            torch.save(state, temporary)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``load_state`` gave.

        Raises:
            InputError: If it lacks something or does not fit the network.
        """
        try:
            self.step, self.window, self.seconds = state["step"], list(state["window"]), state["seconds"]
            self.objective.network.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.curve = [CurvePoint(*values) for values in state["curve"]]
        except Exception as error:  # anything may be wrong in a file that is no state
            raise not_a_state(self.state_path, error) from None


def load_state(path: Path, config_digest: str) -> dict[str, Any]:
    """Read a saved training state.

    Raises:
        InputError: If it is damaged, something else, or was made with another configuration.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        digest = state["config_digest"]
    except Exception as error:  # anything may be wrong in a file that is no state
        raise not_a_state(path, error) from None
    if digest != config_digest:
        raise another_configuration(path)
    return state


def not_a_state(path: Path, error: Exception) -> InputError:
    """What to raise where a file holds no usable training state."""
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return InputError(f"{path}: not a training state ({reason}); give another --out to start over")


def learning_rate(config: StageConfig, step: int, total: int) -> float:
    """The rate for a step counted from 0: linear warm-up, then constant or half a cosine down to 0."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.lr_schedule == "constant":
        return config.lr * warmup
    return config.lr * warmup * 0.5 * (1 + math.cos(math.pi * step / total))


def run_stage(stage: Stage, hooks: Hooks, interrupt: Interrupt) -> StageResult:
    """Train until the stage's last step or an interruption; the state is saved either way.

    Raises:
        Diverged: If the loss or the weights are no longer finite; the last saved state stays.
    """
    total = stage.total
    order = BatchOrder(stage.objective.items, stage.config.batch, stage.seed, stage.objective.name)
    stage.objective.network.train()
    clock = time.monotonic()
    while stage.step < total and not interrupt.requested:
        loss = _optimise(stage, order.indices(stage.step), total)
        stage.step += 1
        stage.window.append(loss)
        now = time.monotonic()
        stage.seconds, clock = stage.seconds + now - clock, now
        hooks.progress(stage.step, total, loss)
        _after_step(stage, hooks, total, order.batches_per_epoch)
    _require_finite(stage)
    stage.save()
    stage.averaged_network.eval()
    hooks.saved(stage.averaged_network, stage.step)
    return StageResult(stage.averaged_network, finished=stage.step >= total)


def _optimise(stage: Stage, indices: torch.Tensor, total: int) -> float:
    for group in stage.optimizer.param_groups:
        group["lr"] = learning_rate(stage.config, stage.step, total)
    loss = stage.objective.loss(indices, stage.seed, stage.step)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise Diverged(f"the loss became {value} at step {stage.step}")
    stage.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if stage.config.grad_clip:
        nn.utils.clip_grad_norm_(stage.objective.network.parameters(), stage.config.grad_clip)
    stage.optimizer.step()
    if stage.average is not None:
        stage.average.update_parameters(stage.objective.network)
    return value


def _after_step(stage: Stage, hooks: Hooks, total: int, batches_per_epoch: int) -> None:
    config, last = stage.config, stage.step == total
    saves = stage.step % config.save_every == 0
    if last or saves:
        _require_finite(stage)
    if stage.step % config.log_every == 0 or last:
        averaged = stage.averaged_network
        averaged.eval()
        validation = stage.objective.validate(averaged)
        stage.objective.network.train()
        mean = sum(stage.window) / len(stage.window)
        lr = learning_rate(config, stage.step - 1, total)
        epoch = stage.step / batches_per_epoch
        stage.curve.append(CurvePoint(stage.step, epoch, mean, lr, validation, stage.seconds))
        stage.window = []
        hooks.point(stage.curve[-1], stage.curve)
    if last or (config.sheet_every and stage.step % config.sheet_every == 0):
        stage.averaged_network.eval()
        hooks.sheet(stage.averaged_network, stage.step)
        stage.objective.network.train()
    if saves and not last:
        stage.save()
        hooks.saved(stage.averaged_network, stage.step)


def _require_finite(stage: Stage) -> None:
    # The loss of a step is that of the weights before it.
    if not all(bool(weight.isfinite().all()) for weight in stage.objective.network.parameters()):
        raise Diverged(f"the weights became infinite or undefined at step {stage.step}")
