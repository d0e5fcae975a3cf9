"""What ``dimvida train`` is to do: its options, on ``--resume`` completed by those that the run was begun with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimvida.errors import InputError
from dimvida.records import config_from_json
from dimvida.training.classifier import read_plan
from dimvida.training.config import TrainConfig, load_preset, overridden
from dimvida.training.folder import CLASSIFIER, STAGES, RunFolder

_STAGES = ("all", *STAGES, CLASSIFIER)
_PRESET, _CLASSIFIER = "small", "resnet18"

# Names of files and folders, which may be given relative to where a command runs.
_PATHS = ("data", "partition", "init", "weights")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options that belong to a run; they stand in its folder. Names as on the command line."""

    data: Path
    config: TrainConfig
    stage: str
    split: str | None
    partition: Path | None
    init: str | None
    classifier: str
    weights: str | None
    skip_bad: bool
    tensorboard: bool

    def to_dict(self) -> dict[str, Any]:
        """What to write down for ``--resume``; the configuration is written beside it."""
        names = [name for name in self.__dataclass_fields__ if name != "config"]
        return {name: _written(name, getattr(self, name)) for name in names}


def resolve_options(
    out: Path,
    *,
    resume: bool,
    preset: str | None,
    overrides: Sequence[str],
    config_file: Path | None,
    **given: Any,
) -> TrainOptions:
    """The options that were given, then those that the run was begun with, then the defaults.

    Args:
        out: The run's folder.
        resume: Whether to look at what it was begun with.
        preset, overrides, config_file: Where the configuration comes from; without the first, a resumed run begins
            with its own.
        given: The other options of ``TrainOptions``; None, or False, where they were not given.

    Raises:
        InputError: One of them makes no sense, or there is nothing that says what to train on.
    """
    stage = given["stage"]
    if stage is not None and stage not in _STAGES:
        raise InputError(f"--stage {stage}: choose from {', '.join(_STAGES)}")
    known = _begun_with(out, stage) if resume else {}
    before = known.get("options", {})
    defaults = {"stage": "all", "classifier": _CLASSIFIER}
    chosen = {name: value or before.get(name) or defaults.get(name, value) for name, value in given.items()}
    if chosen["data"] is None:
        if resume:
            raise InputError(f"--data is missing: {out} holds no training that --resume could go on with")
        raise InputError("--data is missing: a folder, a zip, or NMR to train on")
    if given["data"] is None and not Path(chosen["data"]).exists():
        raise InputError(f"{out} was trained on {chosen['data']}, which is not there; give --data where it is now")
    chosen["data"] = Path(chosen["data"])
    chosen["partition"] = chosen["partition"] and Path(chosen["partition"])
    values = known.get("configuration")
    if values is not None and preset is None:
        config = overridden(config_from_json(TrainConfig, values, str(out)), overrides, config_file)
    else:
        config = load_preset(preset or _PRESET, list(overrides), config_file)
    return TrainOptions(config=config, **chosen)


def _begun_with(out: Path, stage: str | None) -> dict[str, Any]:
    """What the run's folder says of how it was begun."""
    run = RunFolder(out).description() if stage != CLASSIFIER else {}
    if stage == CLASSIFIER or (stage is None and not run):
        return read_plan(out / CLASSIFIER) or {}
    return run


def _written(name: str, value: Any) -> Any:
    if value is None or name not in _PATHS or (name == "weights" and value == "imagenet"):
        return value
    path = Path(value)
    return str(path.absolute() if path.exists() else path)  # else a name, such as "bundled"
