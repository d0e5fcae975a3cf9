"""``dimvida bench``: how fast, and how good at that speed. Here: steps of the networks, on random data."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimvida.cli import options
from dimvida.cli.bench_generation import generation
from dimvida.cli.bench_solvers import solvers
from dimvida.cli.options import parse_names, parse_numbers, resolve_device
from dimvida.cli.progress import ProgressBar
from dimvida.cli.terminal import print_table, print_wrapped
from dimvida.errors import InputError, require_choice
from dimvida.files import require_writable_file
from dimvida.results.files import STAGES

if TYPE_CHECKING:
    import torch

    from dimvida.sampling.multiview import MultiViewModel

BATCHES = {"cpu": (64, 256), "cuda": (1, 64, 1024, 4096, 16384)}
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COMPILE_MODE = {"cpu": "default", "cuda": "max-autotune-no-cudagraphs"}
REPEATS = {"cpu": 5, "cuda": 15}

app = typer.Typer(
    help="Measure how fast sampling, generation and training are, and how good at that speed.", no_args_is_help=True
)


def sampling(
    batch: Annotated[str | None, typer.Option(metavar="LIST", help="CPU: 64,256. GPU: 1,64,1024,...")] = None,
    steps: Annotated[str, typer.Option(metavar="LIST", help="Network evaluations, such as 20,250.")] = "20",
    solver: Annotated[str, typer.Option(metavar="NAME", help="Such as ddim.")] = "euler-maruyama",
    preset: options.TimedPreset = None,
    checkpoint: options.TimedCheckpoint = None,
    arms: Annotated[str | None, typer.Option(metavar="LIST", help="Such as eager-fp32,fused-bf16.")] = None,
    dtype: Annotated[str | None, typer.Option(metavar="LIST", help="float32, tf32, bfloat16.")] = None,
    repeats: options.Repeats = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", help="Fewer timed runs after S seconds.")] = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    compile_mode: Annotated[str | None, typer.Option(metavar="NAME", help="Of torch.compile.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show what a step's time goes to.")] = False,
    json_: options.Json = None,
) -> int:
    """Time one trajectory in several ways, side by side in one run.

    Weights are random ones of 'paper' by default. Arms are warmed up, then
    timed in turn, by default 5 times on a CPU and 15 times on a GPU. The floor
    is the network's products and attention alone, in the same type, timed
    among them. Views are missing views: each row knows one. The file is
    written after each table.
    """
    sizes, evaluations = _parse_counts("--batch", batch), _parse_counts("--steps", steps) or ()
    if arms is not None and dtype is not None:
        raise InputError("give --arms or --dtype, not both")
    if compile_mode is not None:
        require_choice("--compile-mode", compile_mode, COMPILE_MODES)
    names, dtypes = parse_names("--arms", arms), parse_names("--dtype", dtype)
    require_writable_file("--json", json_)

    from dimvida.bench import machine
    from dimvida.bench.arms import ARMS, choose_arms
    from dimvida.bench.case import make_case
    from dimvida.bench.sampling import measure, runs_of
    from dimvida.results.files import write_json
    from dimvida.results.sampling import ArmFacts, SamplingBenchmark, batch_tables, head_lines

    target = resolve_device(device)
    kind = "cuda" if target.type == "cuda" else "cpu"
    chosen, left_out = choose_arms(names, dtypes, target)
    repeats, compile_mode = repeats or REPEATS[kind], compile_mode or COMPILE_MODE[kind]
    with machine.torch_threads(threads):
        model, about = _timed_model(preset, checkpoint, target)
        make_case(model, 1, solver=solver, steps=evaluations[0])  # refuses what cannot be before anything is printed
        asked = {"solver": solver, "steps": list(evaluations), "repeats": repeats, "seconds": seconds}
        result = SamplingBenchmark(
            versions=machine.versions(),
            hardware=machine.hardware(target),
            settings={**about, "known_views": 1, **asked, "device": target.type, "compile_mode": compile_mode},
            arms=[ArmFacts(arm.name, arm.description, left_out.get(arm.name)) for arm in ARMS.values()],
        )
        for line in head_lines(result):
            print_wrapped(line)
        cells = list(itertools.product(sizes or BATCHES[kind], evaluations))
        turns = runs_of(chosen, repeats, profiled=profile)
        with ProgressBar("timing", turns * len(cells), "runs") as bar:
            for size, count in cells:
                progress = _titled(bar, f"batch {size}, {count} steps")
                profiled = profile and count == evaluations[0]  # a kernel takes as long at any number of steps
                case = make_case(model, size, solver=solver, steps=count, compile_mode=compile_mode)
                limit = math.inf if seconds is None else seconds
                measured = measure(case, chosen, repeats, profiled=profiled, limit=limit, progress=progress)
                for table in batch_tables(measured):
                    print_table(table)
                result.results.append(measured)
                result.complete = len(result.results) == len(cells)
                if json_ is not None:
                    write_json(json_, result)
    return 0


def _parse_counts(option: str, text: str | None) -> tuple[int, ...] | None:
    numbers = parse_numbers(option, text)
    if numbers is not None and min(numbers) < 1:
        raise InputError(f"{option} {text}: every number must be at least 1")
    return numbers


def _titled(bar: ProgressBar, title: str) -> Callable[[str], None]:
    """Counts one run of what the title names, whose piece is told."""
    return lambda piece: bar.advance(note=f"{title}: {piece}")


def _timed_model(
    preset: str | None, checkpoint: str | None, device: torch.device
) -> tuple[MultiViewModel, dict[str, Any]]:
    """The model, and what the file says of its network."""
    from dimvida.bench.case import chosen_model

    if checkpoint is None:
        preset = preset or "paper"
    model = chosen_model(preset, checkpoint, device)
    if checkpoint is not None and not model.is_trained:
        raise InputError(f"--checkpoint {checkpoint}: its score network is untrained; zeros are faster")
    network = f"checkpoint {model.checkpoint_hash[:12]}" if checkpoint else f"preset {preset}, random weights"
    sizes = {field: getattr(model.score, field) for field in ("views", "latent_dim")}
    return model, {"network": network, **sizes, **dataclasses.asdict(model.config.score)}


def training(
    preset: options.Presets = "paper,small",
    stage: Annotated[str, typer.Option(metavar="LIST", help="Of autoencoder, diffusion.")] = "autoencoder,diffusion",
    batch: options.Batch = 64,
    set_: options.Set = None,
    repeats: options.Repeats = 10,
    threads: options.Threads = None,
    device: options.Device = "auto",
    json_: options.Json = None,
) -> int:
    """Time a training step of each stage beside its own floor.

    The floor is the forward and backward pass of the same network on a batch
    that is there already. Step, floor and the step's other parts are warmed
    up, then timed in turn. Data are random; nothing is written.
    """
    presets, stages = parse_names("--preset", preset) or (), parse_names("--stage", stage) or ()
    for name in stages:
        require_choice("--stage", name, STAGES)
    require_writable_file("--json", json_)

    from dimvida.bench import machine
    from dimvida.bench.training import measure_step, runs_of
    from dimvida.results.benchmarks import TrainingBenchmark, machine_line, steps_table
    from dimvida.results.files import write_json
    from dimvida.training.config import load_preset

    configs = {name: load_preset(name, set_ or []) for name in presets}
    target = resolve_device(device)
    with machine.torch_threads(threads):
        result = TrainingBenchmark(
            versions=machine.versions(),
            hardware=machine.hardware(target),
            settings={"batch": batch, "repeats": repeats, "device": target.type, "overrides": set_ or []},
        )
        print_wrapped(machine_line(result.versions, result.hardware))
        with ProgressBar("timing", runs_of(repeats) * len(configs) * len(stages), "runs") as bar:
            for (name, config), part in itertools.product(configs.items(), stages):
                times = measure_step(config, part, batch, target, repeats, _titled(bar, f"{name} {part}"))
                result.results.append(dataclasses.replace(times, preset=name))
        print_table(steps_table(result.results))
    if json_ is not None:
        write_json(json_, result)
    return 0


for _command in (sampling, solvers, generation, training):
    app.command()(_command)
