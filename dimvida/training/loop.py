"""The training loop: any objective, exact resume, interruption without loss."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from dimvida.errors import DimvidaError
from dimvida.sampling.backends import upload
from dimvida.training.batches import Draws, Objective, default_workers, feed
from dimvida.training.control import Interrupt
from dimvida.training.ranks import Ranks, Share
from dimvida.training.seeds import BatchOrder
from dimvida.training.stage_config import StageConfig
from dimvida.training.state import CurvePoint, TrainingState

COOLDOWN = 0.2
"""Share of the steps over which the schedule ``cooldown`` comes down."""
# Steps after which losses are read at the latest, where reading them makes this process wait for others.
LONGEST_UNREAD = 50


class Diverged(DimvidaError):
    """The loss or the weights are no longer finite."""


class Hooks:
    """What else happens while a stage trains, in rank 0 only; here nothing.

    ``stage.averaged_network`` is in evaluation mode, except at ``progress``.
    """

    def progress(self, stage: TrainingState) -> None:
        """It is called after every step."""

    def point(self, stage: TrainingState) -> None:
        """The learning curve has a new last point."""

    def sheet(self, stage: TrainingState) -> None:
        """A sample sheet is due."""

    def keep(self, stage: TrainingState) -> None:
        """A checkpoint is to be kept."""

    def saving(self, stage: TrainingState) -> None:
        """It is called before the training state is saved.

        What is missing in files when a process is killed between two states is made again after the older one; what
        the newer one takes for done must be there before it.
        """

    def saved(self, stage: TrainingState) -> None:
        """After the training state was saved."""


def loss_note(stage: TrainingState) -> str:
    """The last loss, as progress shows it."""
    return "" if stage.last_loss is None else f"loss {stage.last_loss:.4g}"


def learning_rate(config: StageConfig, step: int, total: int, lengthened_at: int = 0) -> float:
    """The rate for a step counted from 0: linear warm-up, then constant, half a cosine down to 0, or a cooldown.

    With ``cooldown`` it is constant until the last fifth and then falls linearly to 0, which ends where a cosine ends
    (Haegele et al., 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", section 3) and
    needs no length to begin with: whoever has trained enough shortens the training to 5 / 4 of its steps.

    A training that was made longer at a step has come down to a lower rate. It warms up anew from there: at once at
    the rate of the longer one, many times the last, Adam's steps would ruin the weights.
    """
    if config.lr_schedule == "constant":
        return config.lr * _warmup(config, step)
    if config.lr_schedule == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * step / total))
    else:
        share = min(1.0, (1 - step / total) / COOLDOWN)
    return config.lr * _warmup(config, step - lengthened_at) * share


def _warmup(config: StageConfig, step: int) -> float:
    return min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0


def run_stage(
    stage: TrainingState, hooks: Hooks, interrupt: Interrupt, ranks: Ranks, workers: int | None = None
) -> bool:
    """Train until the stage's last step or an interruption; the state is saved either way.

    All ranks call it with the same stage; rank 0 validates, saves and calls the hooks.

    Args:
        stage: The stage to train, which goes on from its step.
        hooks: What is done besides steps: validation, outputs, progress.
        interrupt: Asked between steps.
        ranks: The processes that train together.
        workers: Processes that draw batches ahead; None for as many as the objective needs.

    Returns:
        Whether the last step was done. ``stage.averaged_network`` is in evaluation mode then.

    Raises:
        Diverged: If the loss or the weights are no longer finite; the last saved state stays.
    """
    objective, total = stage.objective, stage.total
    order = BatchOrder(objective.items, stage.config.batch, stage.seed, objective.name)
    draws = Draws(objective, order, stage.seed, ranks)
    module = loss_module(stage, ranks)
    # Reading a loss costs nothing where it is computed on the host by this process alone.
    patience = 1 if objective.device.type == "cpu" and ranks.count == 1 else LONGEST_UNREAD
    objective.network.train()
    clock = time.monotonic()
    with feed(draws, range(stage.step, total), default_workers(objective) if workers is None else workers) as batches:
        while stage.step < total and not ranks.stops(interrupt.requested):
            try:
                optimise(stage, module, *next(batches))
            except Exception as error:
                if not (stage.config.compile and _of_compiler(error)):
                    raise
                if ranks.count == 1 and interrupt.requested:
                    break  # ctrl-C reaches the compiler's processes, too; nothing of this step was done
                raise _not_compiled(stage, error) from error
            if len(stage.unread) >= patience or stage.step == total:  # whose loss is the last one shown
                read_losses(stage, ranks)
            now = time.monotonic()
            stage.seconds, clock = stage.seconds + now - clock, now
            hooks.progress(stage)
            _after_step(stage, hooks, ranks, order.batches_per_epoch)
    read_losses(stage, ranks)
    _require_finite(stage)
    stage.averaged_network.eval()
    if ranks.is_rank_0:
        _save(stage, hooks)
    return stage.step >= total


class LossModule(nn.Module):
    """An objective's loss as a module, which is what DistributedDataParallel takes."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.network = objective.network
        self._objective = objective

    def forward(self, share: Share, **batch: Tensor) -> Tensor:
        return self._objective.loss(share, **batch)


def loss_module(stage: TrainingState, ranks: Ranks) -> nn.Module:
    """The stage's loss, whose gradients are those of all processes, compiled if the configuration says so."""
    module = ranks.wrap(LossModule(stage.objective))
    return torch.compile(module) if stage.config.compile else module


def _of_compiler(error: Exception) -> bool:
    return any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__)


def _not_compiled(stage: TrainingState, error: Exception) -> DimvidaError:
    reason = next(iter(str(error).split("\n")), "")[:200]
    name = stage.objective.name
    return DimvidaError(f"{name}: torch.compile failed ({reason}); --set {name}_stage.compile=false trains without it")


def optimise(stage: TrainingState, module: nn.Module, share: Share, batch: dict[str, Tensor]) -> None:
    """One optimiser step.

    Args:
        stage: Gets the step's loss, unread.
        module: The loss of ``stage.objective``, as ``loss_module`` gives it.
        share: This process's part of the batch.
        batch: What the objective drew for it.
    """
    for group in stage.optimizer.param_groups:
        group["lr"] = learning_rate(stage.config, stage.step, stage.total, stage.lengthened_at)
    loss = module(share, **to_device(batch, stage.objective.device)) * share.weight
    stage.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if stage.config.grad_clip:
        nn.utils.clip_grad_norm_(stage.objective.network.parameters(), stage.config.grad_clip)
    stage.optimizer.step()
    if stage.average is not None:
        stage.average.update_parameters(stage.objective.network)
    stage.unread.append(loss.detach())
    stage.step += 1


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch on the device; to a GPU it is copied while the host goes on."""
    return {name: upload(tensor, device) for name, tensor in batch.items()}


def _after_step(stage: TrainingState, hooks: Hooks, ranks: Ranks, batches_per_epoch: int) -> None:
    config, last = stage.config, stage.step == stage.total
    logs, saves, draws, keeps = (
        every > 0 and stage.step % every == 0
        for every in (config.log_every, config.save_every, config.sheet_every, config.keep_every)
    )
    if not (last or logs or saves or draws or keeps):
        return
    read_losses(stage, ranks)
    if last or saves or keeps:
        _require_finite(stage)
    stage.averaged_network.eval()
    if last or logs:
        _add_point(stage, hooks, ranks, batches_per_epoch)
    if ranks.is_rank_0:
        if last or draws:
            hooks.sheet(stage)
        if keeps:
            hooks.keep(stage)
        if saves and not last:
            _save(stage, hooks)
    stage.objective.network.train()


def _save(stage: TrainingState, hooks: Hooks) -> None:
    hooks.saving(stage)
    stage.save()
    hooks.saved(stage)


def _add_point(stage: TrainingState, hooks: Hooks, ranks: Ranks, batches_per_epoch: int) -> None:
    mean = sum(stage.window) / len(stage.window)
    stage.window = []
    if ranks.is_rank_0:
        validation = stage.objective.validate(stage.averaged_network)
        lr = learning_rate(stage.config, stage.step - 1, stage.total, stage.lengthened_at)
        epoch = stage.step / batches_per_epoch
        stage.curve.append(CurvePoint(stage.step, epoch, mean, lr, validation, stage.seconds))
        hooks.point(stage)


def read_losses(stage: TrainingState, ranks: Ranks) -> None:
    """Bring the unread losses into the window; all ranks get the same ones."""
    if not stage.unread:
        return
    losses = ranks.mean(torch.stack(stage.unread)).tolist()
    stage.unread.clear()
    for step, loss in enumerate(losses, stage.step - len(losses)):
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} at step {step}")
    stage.window += losses


def _require_finite(stage: TrainingState) -> None:
    # The loss of a step is that of the weights before it.
    if not all(bool(weight.isfinite().all()) for weight in stage.objective.network.parameters()):
        raise Diverged(f"the weights became infinite or undefined at step {stage.step}")
