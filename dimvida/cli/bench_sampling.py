"""``dimvida bench sampling``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import bench_tables
from dimvida.cli.device import resolve_device
from dimvida.cli.names import parse_names, parse_numbers
from dimvida.cli.output import require_writable, write_json
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

if TYPE_CHECKING:
    import torch

    from dimvida.benchmark.arms import Arm
    from dimvida.sampling.multiview import MultiViewModel

SCHEMA = 1
BATCHES = {"cpu": (64, 256), "cuda": (1, 64, 1024, 4096, 16384)}
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COMPILE_MODE = {"cpu": "default", "cuda": "max-autotune-no-cudagraphs"}
REPEATS = {"cpu": 5, "cuda": 15}
DTYPES = {"float32": ("fp32",), "tf32": ("tf32",), "bfloat16": ("bf16",)}


def sampling(
    batch: Annotated[str | None, typer.Option(metavar="LIST", help="CPU: 64,256. GPU: 1,64,1024,...")] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Network evaluations of a trajectory.")] = 20,
    solver: Annotated[str, typer.Option(metavar="NAME", help="Such as ddim.")] = "euler-maruyama",
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="paper (default), small, tiny.")] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="DIR", help="Or these weights; or 'bundled'.")] = None,
    arms: Annotated[str | None, typer.Option(metavar="LIST", help="Such as eager-fp32,fused-bf16.")] = None,
    dtype: Annotated[str | None, typer.Option(metavar="LIST", help="float32, tf32, bfloat16.")] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", min=1, help="Timed runs: CPU 5, GPU 15.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads; default: torch's.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    compile_mode: Annotated[str | None, typer.Option(metavar="NAME", help="Of torch.compile.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show what a step's time goes to.")] = False,
    end_to_end: Annotated[bool, typer.Option("--end-to-end", help="Also encode, sample and decode.")] = False,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> int:
    """Time one trajectory in several ways, side by side in one run.

    Arms are warmed up, then timed in turn. The floor is the network's matrix
    products alone, in the same type, timed among them. Views are missing
    views: each row knows one. The file is written after each batch size.
    """
    sizes = parse_numbers("--batch", batch)
    if sizes is not None and min(sizes) < 1:
        raise InputError(f"--batch {batch}: every batch must be at least 1")
    if preset is not None and checkpoint is not None:
        raise InputError("give --preset or --checkpoint, not both")
    if arms is not None and dtype is not None:
        raise InputError("give --arms or --dtype, not both")
    if compile_mode is not None and compile_mode not in COMPILE_MODES:
        raise InputError(f"--compile-mode {compile_mode}: choose from {', '.join(COMPILE_MODES)}")
    names, dtypes = parse_names("--arms", arms), parse_names("--dtype", dtype)
    require_writable("--json", json_)

    from dimvida.benchmark import machine
    from dimvida.benchmark.arms import ARMS
    from dimvida.benchmark.end_to_end import measure_end_to_end
    from dimvida.benchmark.end_to_end import runs_of as end_to_end_runs
    from dimvida.benchmark.sampling import measure, runs_of
    from dimvida.benchmark.subject import make_case, subject_of

    target = resolve_device(device)
    kind = "cuda" if target.type == "cuda" else "cpu"
    chosen, left_out = _choose_arms(names, dtypes, target)
    options: dict[str, Any] = {
        "solver": solver,
        "steps": steps,
        "device": target,
        "compile_mode": compile_mode or COMPILE_MODE[kind],
    }
    sizes = sizes or BATCHES[kind]
    repeats = repeats or REPEATS[kind]
    with torch_threads(threads):
        model, name = _model(preset, checkpoint, target)
        subject = subject_of(model, name)
        make_case(subject, 1, **options)  # refuses what it cannot do before anything is printed
        result: dict[str, Any] = {
            "benchmark": "sampling",
            "schema": SCHEMA,
            "complete": False,
            "versions": machine.versions(),
            "hardware": machine.hardware(target),
            "settings": {
                "network": name,
                **{field: getattr(subject.network, field) for field in ("views", "latent_dim", "width", "groups")},
                "known_views": 1,
                "solver": solver,
                "steps": steps,
                "repeats": repeats,
                "device": kind,
                "compile_mode": options["compile_mode"],
            },
            "arms": [
                {"name": arm.name, "description": arm.description, "not_run": left_out.get(arm.name)}
                for arm in ARMS.values()
            ],
            "results": [],
        }
        bench_tables.print_head(result)
        per_batch = runs_of(chosen, repeats, profiled=profile) + (end_to_end_runs(repeats) if end_to_end else 0)
        with ProgressBar("timing", per_batch * len(sizes), "runs") as bar:
            for size in sizes:

                def progress(what: str, size: int = size) -> None:
                    bar.advance(note=f"batch {size}: {what}")

                case = make_case(subject, size, **options)
                measured = measure(case, chosen, repeats, profiled=profile, progress=progress)
                result["results"].append(measured.to_dict())
                bench_tables.print_batch(measured)
                if end_to_end:
                    stages, failed = measure_end_to_end(
                        model, size, repeats, solver=solver, steps=steps, progress=progress
                    )
                    result["results"][-1]["end_to_end"] = {
                        "stages": [stage.to_dict() for stage in stages],
                        "failed": [{"name": name, "reason": reason} for name, reason in failed.items()],
                    }
                    bench_tables.print_end_to_end(stages, failed)
                result["complete"] = size == sizes[-1]
                if json_ is not None:
                    write_json(json_, result)
    return 0


def _choose_arms(
    names: tuple[str, ...] | None, dtypes: tuple[str, ...] | None, device: torch.device
) -> tuple[list[Arm], dict[str, str]]:
    """The arms to run, and why the others do not."""
    from dimvida.benchmark.arms import ARMS, BASELINE, why_not

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
    from dimvida.benchmark.subject import random_model
    from dimvida.models.checkpoint import CheckpointConfig
    from dimvida.training.config import load_preset

    preset = preset or "paper"
    config = load_preset(preset)
    views = ("front", "right", "back", "left")
    sizes = CheckpointConfig(views, (), config.autoencoder, config.score, sampling=config.sampling)
    return random_model(sizes).to(device), f"preset {preset}, random weights"


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
