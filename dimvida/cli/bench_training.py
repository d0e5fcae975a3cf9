"""``dimvida bench training``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dimvida.cli import bench_tables, options
from dimvida.cli.bench_sampling import torch_threads
from dimvida.cli.options import parse_names, resolve_device
from dimvida.cli.output import require_writable, write_json
from dimvida.cli.progress import ProgressBar
from dimvida.errors import InputError

SCHEMA = 1
STAGES = ("autoencoder", "diffusion")


def training(
    preset: Annotated[str, typer.Option(metavar="LIST", help="Of paper, small, tiny.")] = "paper,small",
    stage: Annotated[str, typer.Option(metavar="LIST", help="Of autoencoder, diffusion.")] = "autoencoder,diffusion",
    batch: options.Batch = 64,
    set_: options.Set = None,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Timed runs of each piece.")] = 10,
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
        if name not in STAGES:
            raise InputError(f"--stage {name}: choose from {', '.join(STAGES)}")
    require_writable("--json", json_)

    from dimvida.bench import machine
    from dimvida.bench.training import measure_step, runs_of
    from dimvida.training.config import load_preset

    configs = {name: load_preset(name, set_ or []) for name in presets}
    target = resolve_device(device)
    rows: list[dict[str, Any]] = []
    with torch_threads(threads):
        result: dict[str, Any] = {
            "benchmark": "training",
            "schema": SCHEMA,
            "versions": machine.versions(),
            "hardware": machine.hardware(target),
            "settings": {"batch": batch, "repeats": repeats, "device": target.type, "overrides": set_ or []},
            "results": rows,
        }
        bench_tables.print_machine(result)
        with ProgressBar("timing", runs_of(repeats) * len(configs) * len(stages), "runs") as bar:
            for name, config in configs.items():
                for part in stages:
                    title = f"{name} {part}"

                    def progress(piece: str, title: str = title) -> None:
                        bar.advance(note=f"{title}: {piece}")

                    times = measure_step(config, part, batch, target, repeats, progress)
                    rows.append({"preset": name, **times.to_dict()})
        bench_tables.print_steps(rows)
    if json_ is not None:
        write_json(json_, result)
    return 0
