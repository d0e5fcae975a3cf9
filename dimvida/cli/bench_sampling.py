"""``dimvida bench sampling``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import bench_tables, options
from dimvida.cli.options import parse_names, parse_numbers, resolve_device
from dimvida.cli.output import require_writable, write_json
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

if TYPE_CHECKING:
    import torch

    from dimvida.bench.arms import Arm
    from dimvida.bench.subject import Case, Subject
    from dimvida.sampling.multiview import MultiViewModel

SCHEMA = 2  # several numbers of steps in a file; gaps and operations in profiles
BATCHES = {"cpu": (64, 256), "cuda": (1, 64, 1024, 4096, 16384)}
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COMPILE_MODE = {"cpu": "default", "cuda": "max-autotune-no-cudagraphs"}
REPEATS = {"cpu": 5, "cuda": 15}
DTYPES = {"float32": ("fp32",), "tf32": ("tf32",), "bfloat16": ("bf16",)}


def sampling(
    batch: Annotated[str | None, typer.Option(metavar="LIST", help="CPU: 64,256. GPU: 1,64,1024,...")] = None,
    steps: Annotated[str, typer.Option(metavar="LIST", help="Network evaluations, such as 20,250.")] = "20",
    solver: Annotated[str, typer.Option(metavar="NAME", help="Such as ddim.")] = "euler-maruyama",
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="paper (default), small, tiny.")] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="DIR", help="Or these weights; or 'bundled'.")] = None,
    arms: Annotated[str | None, typer.Option(metavar="LIST", help="Such as eager-fp32,fused-bf16.")] = None,
    dtype: Annotated[str | None, typer.Option(metavar="LIST", help="float32, tf32, bfloat16.")] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", min=1, help="Timed runs: CPU 5, GPU 15.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", help="Fewer timed runs after S seconds.")] = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    compile_mode: Annotated[str | None, typer.Option(metavar="NAME", help="Of torch.compile.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show what a step's time goes to.")] = False,
    end_to_end: Annotated[bool, typer.Option("--end-to-end", help="Also encode, sample and decode.")] = False,
    json_: options.Json = None,
) -> int:
    """Time one trajectory in several ways, side by side in one run.

    Arms are warmed up, then timed in turn. The floor is the network's matrix
    products alone, in the same type, timed among them. Views are missing
    views: each row knows one. The file is written after each table.
    """
    sizes, evaluations = parse_numbers("--batch", batch), parse_numbers("--steps", steps) or ()
    if sizes is not None and min(sizes) < 1:
        raise InputError(f"--batch {batch}: every batch must be at least 1")
    if min(evaluations) < 1:
        raise InputError(f"--steps {steps}: every number must be at least 1")
    if preset is not None and checkpoint is not None:
        raise InputError("give --preset or --checkpoint, not both")
    if arms is not None and dtype is not None:
        raise InputError("give --arms or --dtype, not both")
    if compile_mode is not None and compile_mode not in COMPILE_MODES:
        raise InputError(f"--compile-mode {compile_mode}: choose from {', '.join(COMPILE_MODES)}")
    names, dtypes = parse_names("--arms", arms), parse_names("--dtype", dtype)
    require_writable("--json", json_)

    from dimvida.bench.subject import make_case, subject_of

    target = resolve_device(device)
    kind = "cuda" if target.type == "cuda" else "cpu"
    chosen, left_out = _choose_arms(names, dtypes, target)
    run = _Bench(
        tuple(chosen),
        solver,
        target,
        compile_mode or COMPILE_MODE[kind],
        repeats or REPEATS[kind],
        math.inf if seconds is None else seconds,
        profile,
        end_to_end,
    )
    with torch_threads(threads):
        model, name = _model(preset, checkpoint, target)
        subject = subject_of(model, name)
        make_case(subject, 1, steps=evaluations[0], **run.case)  # refuses what it cannot do before anything is printed
        result = _head(run, subject, evaluations, left_out)
        bench_tables.print_head(result)
        cells = [(size, count) for size in sizes or BATCHES[kind] for count in evaluations]
        with ProgressBar("timing", run.turns * len(cells), "runs") as bar:
            for number, (size, count) in enumerate(cells, 1):
                case = make_case(subject, size, steps=count, **run.case)
                # How long a kernel takes does not depend on the number of steps.
                result["results"].append(_cell(run, model, case, bar, profiled=profile and count == evaluations[0]))
                result["complete"] = number == len(cells)
                if json_ is not None:
                    write_json(json_, result)
    return 0


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all tables of a run have in common."""

    arms: tuple[Arm, ...]
    solver: str
    device: torch.device
    compile_mode: str
    repeats: int
    limit: float
    profile: bool
    end_to_end: bool

    @property
    def case(self) -> dict[str, Any]:
        """Options of ``make_case``."""
        return {"solver": self.solver, "device": self.device, "compile_mode": self.compile_mode}

    @property
    def turns(self) -> int:
        """How often the progress of a table moves, at most."""
        from dimvida.bench import end_to_end, sampling

        turns = sampling.runs_of(self.arms, self.repeats, profiled=self.profile)
        return turns + (end_to_end.runs_of(self.repeats) if self.end_to_end else 0)


def _head(run: _Bench, subject: Subject, evaluations: tuple[int, ...], left_out: dict[str, str]) -> dict[str, Any]:
    """The result without any times."""
    from dimvida.bench import machine
    from dimvida.bench.arms import ARMS

    return {
        "benchmark": "sampling",
        "schema": SCHEMA,
        "complete": False,
        "versions": machine.versions(),
        "hardware": machine.hardware(run.device),
        "settings": {
            "network": subject.name,
            **{field: getattr(subject.network, field) for field in ("views", "latent_dim", "width", "groups")},
            "known_views": 1,
            "solver": run.solver,
            "steps": list(evaluations),
            "repeats": run.repeats,
            "seconds": None if math.isinf(run.limit) else run.limit,
            "device": run.device.type,
            "compile_mode": run.compile_mode,
        },
        "arms": [
            {"name": arm.name, "description": arm.description, "not_run": left_out.get(arm.name)}
            for arm in ARMS.values()
        ],
        "results": [],
    }


def _cell(run: _Bench, model: MultiViewModel, case: Case, bar: ProgressBar, *, profiled: bool) -> dict[str, Any]:
    """Measure and print one batch size at one number of steps."""
    from dimvida.bench.end_to_end import measure_end_to_end
    from dimvida.bench.sampling import measure

    batch, steps = len(case.latents), case.table.evaluations

    def progress(what: str) -> None:
        bar.advance(note=f"batch {batch}, {steps} steps: {what}")

    measured = measure(case, run.arms, run.repeats, profiled=profiled, limit=run.limit, progress=progress)
    bench_tables.print_batch(measured)
    entry = measured.to_dict()
    if run.end_to_end:
        stages, failed = measure_end_to_end(
            model, batch, run.repeats, solver=run.solver, steps=steps, progress=progress
        )
        entry["end_to_end"] = {
            "stages": [stage.to_dict() for stage in stages],
            "failed": [{"name": name, "reason": reason} for name, reason in failed.items()],
        }
        bench_tables.print_end_to_end(stages, failed)
    return entry


def _choose_arms(
    names: tuple[str, ...] | None, dtypes: tuple[str, ...] | None, device: torch.device
) -> tuple[list[Arm], dict[str, str]]:
    """The arms to run, and why the others do not."""
    from dimvida.bench.arms import ARMS, BASELINE, why_not

    for name in names or ():
        if name not in ARMS:
            raise InputError(f"--arms: unknown arm {name!r}: choose from {', '.join(ARMS)}")
    for name in dtypes or ():
        if name not in DTYPES:
            raise InputError(f"--dtype: unknown type {name!r}: choose from {', '.join(DTYPES)}")
    floors = {floor for name in dtypes or () for floor in DTYPES[name]}
    chosen, left_out = [], {}
    for arm in ARMS.values():
        asked = arm.name in (names or ()) or arm.floor in floors
        everything = names is None and dtypes is None
        if not (asked or everything or (dtypes and arm.name == BASELINE)):
            left_out[arm.name] = "not asked for"
        elif reason := why_not(arm, device, asked=asked):
            left_out[arm.name] = reason
        else:
            chosen.append(arm)
    if not chosen:
        raise InputError("none of the arms asked for runs here: " + "; ".join(map(": ".join, left_out.items())))
    return chosen, left_out


def _model(preset: str | None, checkpoint: str | None, device: torch.device) -> tuple[MultiViewModel, str]:
    """The model and what to call it."""
    if checkpoint is not None:
        from dimvida.sampling.multiview import load

        model = load(checkpoint, device)
        if not model.is_trained:
            raise InputError(f"--checkpoint {checkpoint}: its score network is untrained; zeros are faster")
        return model, f"checkpoint {model.checkpoint_hash[:12]}"
    preset = preset or "paper"
    return preset_model(preset).to(device), f"preset {preset}, random weights"


def preset_model(preset: str) -> MultiViewModel:
    """A model of a preset's sizes with random weights and four views, on the CPU.

    Raises:
        InputError: There is no such preset.
    """
    from dimvida.bench.subject import random_model
    from dimvida.models.checkpoint import CheckpointConfig
    from dimvida.training.config import load_preset

    config = load_preset(preset)
    views = ("front", "right", "back", "left")
    return random_model(CheckpointConfig(views, (), config.autoencoder, config.score, sampling=config.sampling))


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """That many CPU threads in torch and in the kernels, for the time being."""
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
