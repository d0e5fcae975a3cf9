"""A stage in progress, and the training state that ``--resume`` goes on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dimvida.errors import InputError
from dimvida.files import atomic_path
from dimvida.training.folder import another_configuration
from dimvida.training.objectives import Objective
from dimvida.training.stage_config import StageConfig


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
class Stage:
    """A stage in progress: everything that a saved training state holds.

    Attributes:
        objective: Data and loss.
        config: Steps, batch, learning rate.
        seed: Base seed of the run.
        state_path: Where the training state is saved.
        config_digest: Hash of the run's configuration; a state of another one is refused.
        unread: Losses of the last steps, still on the device.
        window: Losses since the last point of the learning curve.
    """

    objective: Objective
    config: StageConfig
    seed: int
    state_path: Path
    config_digest: str
    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    unread: list[Tensor] = field(default_factory=list)
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
    def last_loss(self) -> float | None:
        """The last loss that was read, or the last point of the curve."""
        if self.window:
            return self.window[-1]
        return self.curve[-1].loss if self.curve else None

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
