"""What a training is asked to do: the options given, on ``--resume`` completed by those that the run was begun with.

And what of them may be another when it goes on: a stage is known by the hash of all that decides about its result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimvida.errors import InputError, require_choice
from dimvida.records import config_from_json
from dimvida.remote import url_of
from dimvida.results.files import CLASSIFIER, STAGES
from dimvida.training.config import TrainConfig, class_of, kind_of, load_preset, overridden
from dimvida.training.folder import RunFolder, another_configuration, read_plan

_STAGES = ("all", *STAGES, CLASSIFIER)
_PRESET, _CLASSIFIER = "small", "resnet18"

# Names of files and folders, which may be given relative to where a command runs.
_PATHS = ("data", "partition", "init", "weights")

# The parts of a configuration that decide about a stage's result.
_DECIDING = {
    "autoencoder": ("seed", "validation", "autoencoder", "autoencoder_stage"),
    "diffusion": ("seed", "validation", "autoencoder", "autoencoder_stage", "score", "diffusion_stage"),
}

# Options of a stage that do not.
_INDIFFERENT = ("keep_every",)

# Those that say how long a stage is, which may be trained longer.
_LENGTHS = ("steps", "epochs")

# Those that say how often something is written: free as long as the stage has not begun.
_WRITING = ("log_every", "save_every", "sheet_every")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options that belong to a run; they stand in its folder. Names as on the command line."""

    data: Path
    config: TrainConfig
    stage: str
    split: str | None
    partition: Path | None
    column: list[str] | None
    nmr_views: str | None
    classes: str | None
    limit: int | None
    init: str | None
    classifier: str
    weights: str | None
    skip_bad: bool
    tensorboard: bool

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that ``stage`` stands for, in order."""
        return STAGES if self.stage == "all" else (self.stage,)

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
    if stage is not None:
        require_choice("--stage", stage, _STAGES)
    before, values = _begun_with(out, stage) if resume else ({}, {})
    defaults = {"stage": "all", "classifier": _CLASSIFIER}
    chosen = {name: value or before.get(name) or defaults.get(name, value) for name, value in given.items()}
    if chosen["data"] is None:
        if resume:
            raise InputError(f"--data is missing: {out} holds no training that --resume could go on with")
        raise InputError("--data is missing: a folder, a zip, or NMR to train on")
    if given["data"] is None and url_of(chosen["data"]) is None and not Path(chosen["data"]).exists():
        raise InputError(f"{out} was trained on {chosen['data']}, which is not there; give --data where it is now")
    chosen["data"] = Path(chosen["data"])
    chosen["partition"] = chosen["partition"] and Path(chosen["partition"])
    if values and preset is None:
        config = overridden(config_from_json(TrainConfig, values, str(out)), overrides, config_file)
    else:
        config = load_preset(preset or _PRESET, list(overrides), config_file)
    return TrainOptions(config=config, **chosen)


def _begun_with(out: Path, stage: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options and the configuration that a run was begun with, as far as its folder tells."""
    run = None if stage == CLASSIFIER else RunFolder(out).description()
    if run is not None:
        return run.options, run.configuration
    plan = read_plan(out / CLASSIFIER) if stage in (None, CLASSIFIER) else None
    return ({}, {}) if plan is None else (plan.options or {}, plan.configuration or {})


def _written(name: str, value: Any) -> Any:
    if value is None or name not in _PATHS or (name == "weights" and value == "imagenet"):
        return value
    path = Path(value)
    return str(path.absolute() if path.exists() else value)  # else a name, such as "bundled" or "hf://owner/name"


def stage_digests(stage: str, config: TrainConfig, data: str, init: str | None) -> tuple[str, str]:
    """Hashes of what decides about a stage's result: without its own length, and with it, as older states have it.

    Args:
        stage: ``autoencoder`` or ``diffusion``.
        config: The run's configuration.
        data: Digest of the images.
        init: Digest of the first weights, if they are not random.
    """
    values = config.to_dict()
    for table in ("autoencoder_stage", "diffusion_stage"):
        values[table] = {name: value for name, value in values[table].items() if name not in _INDIFFERENT}
    relevant = {name: values[name] for name in _DECIDING[stage]} | {"data": data}
    if init is not None:
        relevant["init"] = init
    own = relevant[f"{stage}_stage"]
    endless = {**relevant, f"{stage}_stage": {name: own[name] for name in own if name not in _LENGTHS}}
    without, whole = (json.dumps(content, sort_keys=True).encode() for content in (endless, relevant))
    return hashlib.sha256(without).hexdigest(), hashlib.sha256(whole).hexdigest()


def changed_options(before: Mapping[str, Any], config: TrainConfig, begun: Collection[str]) -> list[str]:
    """What a configuration changes in a run and may not, as ``diffusion_stage.lr: 0.001 -> 0.002``.

    Args:
        before: The run's configuration, as ``TrainConfig.to_dict`` gives it.
        config: With which it is to go on.
        begun: The stages that have begun. The last one may get another length, and so may those to come.
    """
    free = {f"{stage}_stage.{name}" for stage in STAGES for name in _INDIFFERENT}
    free |= {f"{stage}_stage.{name}" for stage in STAGES if stage not in begun for name in _WRITING}
    free |= {f"diffusion_stage.{name}" for name in _LENGTHS}
    if "diffusion" not in begun:  # which trains on the autoencoder's latents
        free |= {f"autoencoder_stage.{name}" for name in _LENGTHS}
    return [
        f"{name}: {old} -> {new}"
        for name, old, new in _differences(before, config)
        if name.split(".")[0] in _DECIDING["diffusion"] and name not in free
    ]


def require_same_options(folder: RunFolder, config: TrainConfig) -> None:
    """Raise InputError, with their names, if a run would go on with options that change what has been planned."""
    known = folder.description()
    changes = changed_options(known.configuration, config, folder.begun()) if known and known.configuration else []
    if changes:
        raise another_configuration(folder.path, changes)


def changed_lengths(before: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """One line for each stage that gets another length, with what this means for its learning rate."""
    lines = []
    for name, old, new in _differences(before, config):
        table, _, option = name.partition(".")
        if option in _LENGTHS and table.removesuffix("_stage") in STAGES:
            schedule = getattr(config, table).lr_schedule
            higher = new > old and schedule != "constant"
            rate = f"; the learning rate warms up to the {schedule} of the new length" if higher else ""
            lines.append(f"{name}: {old} -> {new}{rate}")
    return lines


def _differences(before: Mapping[str, Any], config: TrainConfig) -> Iterator[tuple[str, Any, Any]]:
    """Name, old and new value of every option that differs; one that an older version did not know has its default.

    Of a network of another class only the kinds are told: the options of one mean nothing for the other.
    """
    defaults = dataclasses.asdict(TrainConfig())
    for name, new in dataclasses.asdict(config).items():
        old = before.get(name, defaults[name])
        if not isinstance(new, dict):
            new, old, default = {"": new}, {"": old}, {}
        else:
            own = type(getattr(config, name))
            default = dataclasses.asdict(own())
            if isinstance(old, dict) and class_of(name, old) is not own:
                yield f"{name}.kind", kind_of(name, old), kind_of(name, new)
                continue
        for option, value in new.items():
            known = old.get(option, default.get(option)) if isinstance(old, dict) else None
            if known != value:
                yield f"{name}.{option}".rstrip("."), known, value
