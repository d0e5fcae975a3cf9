"""What is kept on disk to go on from: the state of a stage in progress, and tensors that need not be made again.

A state's file is one line with the SHA-256 of what follows, and what ``torch.save`` makes of it. A tensor's file is a
safetensors file that also says what the tensor was made of; where it is not whole, the tensor is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dimvida.errors import InputError
from dimvida.files import atomic_file
from dimvida.training.batches import Objective
from dimvida.training.folder import another_configuration, not_read
from dimvida.training.optimizers import Optimizers, make_optimizer
from dimvida.training.stage_config import StageConfig

_HEADER = b"dimvida training state, sha256 %s\n"
_WITHOUT_HASH = b"PK"  # what a state starts with that was saved before there were hashes


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
class TrainingState:
    """A stage in progress: everything that a saved training state holds.

    Attributes:
        objective: Draws batches and computes their loss.
        config: The stage's length, batch size, learning rate and intervals.
        seed: Base seed of the run.
        state_path: The file that the training state is saved in.
        config_digest: Hash of the run's configuration; a state of another one is refused.
        unread: Losses of the last steps, still on the device.
        window: Losses since the last point of the learning curve.
        lengthened_at: The step at which the stage was last made longer; 0 if it never was.
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
    lengthened_at: int = 0
    optimizer: torch.optim.Optimizer | Optimizers = field(init=False)
    average: AveragedModel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        network = self.objective.network
        self.optimizer = make_optimizer(self.config.optimizer, network, self.config.lr)
        if self.config.ema:
            self.average = AveragedModel(network, multi_avg_fn=self._average)

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
            "total": self.total,
            "lengthened_at": self.lengthened_at,
            "network": self.objective.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": [[getattr(p, name) for name in CurvePoint.__slots__] for p in self.curve],
            "window": self.window,
            "seconds": self.seconds,
        }
        content = io.BytesIO()
        torch.save(state, content)
        with atomic_file(self.state_path) as file:
            file.write(_HEADER % hashlib.sha256(content.getbuffer()).hexdigest().encode())
            file.write(content.getbuffer())

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``load_state`` gave.

        Raises:
            InputError: If it lacks something or does not fit the network.
        """
        try:
            self.step, self.window, self.seconds = state["step"], list(state["window"]), state["seconds"]
            # States of earlier versions say nothing of the length.
            longer = self.total > state.get("total", self.total)
            self.lengthened_at = self.step if longer else state.get("lengthened_at", 0)
            self.objective.network.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.curve = [CurvePoint(*values) for values in state["curve"]]
        except Exception as error:  # anything may be wrong in a file that is no state
            raise not_a_state(self.state_path, error) from None

    def _average(self, averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor) -> None:
        # By the step: the count of updates would have to be read back from a GPU.
        get_ema_multi_avg_fn(average_decay(self.config.ema, self.step))(averages, weights, updates)


def average_decay(highest: float, step: int) -> float:
    """What the averaged weights keep of themselves in a step counted from 0.

    It grows to ``highest`` as (1 + step) / (10 + step), so that the average is always one of the later steps of the
    training: with a constant decay that of a short one would consist of random initial weights.
    """
    return min(highest, (1 + step) / (10 + step))


def load_state(path: Path, config_digests: Collection[str]) -> dict[str, Any]:
    """Read a saved training state.

    Args:
        path: The file of a saved training state.
        config_digests: Hashes of the run's configuration, any of which it may have.

    Raises:
        InputError: If it cannot be read, is damaged, something else, or was made with another configuration.
    """
    try:
        state = torch.load(io.BytesIO(_content(path)), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        digest, step = state["config_digest"], state["step"]
        if type(step) is not int or step < 0:
            raise TypeError(f"its step is {step!r}")
    except OSError as error:
        raise not_read(path, error) from error
    except Exception as error:  # anything may be wrong in a file that is no state
        raise not_a_state(path, error) from None
    if digest not in config_digests:
        raise another_configuration(path)
    return state


def _content(path: Path) -> bytes:
    """What follows the header, after a look at the hash; of a file without one, all of it."""
    with open(path, "rb") as file:
        if file.read(len(_WITHOUT_HASH)) == _WITHOUT_HASH:
            return _WITHOUT_HASH + file.read()
        file.seek(0)
        header, content = file.readline(), file.read()
    if header != _HEADER % hashlib.sha256(content).hexdigest().encode():
        raise ValueError("damaged: its content has another hash than when it was saved")
    return content


def not_a_state(path: Path, error: Exception) -> InputError:
    """What to raise where a file holds no usable training state."""
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    way_on = "give another --out to start over"
    if (path.parent / "checkpoint" / "config.json").exists():
        way_on += f", and --init {path.parent} to start from its last saved weights"
    return InputError(f"{path}: not a training state ({reason}); {way_on}")


def save_cached_tensor(path: Path, name: str, tensor: Tensor, key: str) -> None:
    """Write a tensor into a file of its own, atomically.

    Args:
        path: The file to write.
        name: What the tensor is called there.
        tensor: It lies on the CPU.
        key: Stands for what it was made of: others have another one.

    Raises:
        OSError: It cannot be written.
    """
    content = tensor_bytes(tensor)
    # safetensors' own writing makes copies of what may take much of the memory: only the header is from there.
    empty = save({name: tensor.new_empty(0)}, {"key": key, "sha256": hashlib.sha256(content).hexdigest()})
    header = json.loads(empty[8:])
    header[name] |= {"shape": list(tensor.shape), "data_offsets": [0, content.nbytes]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(content)


def load_cached_tensor(path: Path, name: str, key: str) -> Tensor | None:
    """What ``save_cached_tensor`` wrote; None if it is not there, damaged, or made of something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            tensor = file.get_tensor(name)
    except Exception:  # whatever is wrong with it, to make it again is right
        return None
    return tensor if metadata.get("sha256") == hashlib.sha256(tensor_bytes(tensor)).hexdigest() else None


def tensor_bytes(tensor: Tensor) -> np.ndarray:
    """The bytes of a tensor's elements, in their order."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
