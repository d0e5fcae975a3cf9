"""Times every line of docs/performance-model.md on a GPU: what a launch takes beside what the page expects of it.

Each kernel is launched as a trajectory launches it, at the sizes of the page, from one CUDA graph and over several sets
of tensors, so that caches hold no more of them than in a trajectory. With --device cpu it runs its CPU kernels, which
the page says nothing of.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import performance_model
import torch
from native_build import fail
from performance_model import BATCH, CHANNELS, PAGE, PART, TOKENS, VIEWS, Kernel
from torch import Tensor

from dimvida import ops
from dimvida.bench import machine
from dimvida.bench.timing import captured, current, seconds_of
from dimvida.models import ScoreNetwork
from dimvida.sampling.fused_mlp_weights import fuse_weights
from dimvida.training.config import load_preset

PRODUCTS = "products of an evaluation"
SET_BYTES = 2**28  # of all sets of tensors together, several times a GPU's caches
TIMED_BYTES = 2**33  # that the launches of a graph move, if they are no more than ``MOST``
MOST = 256  # launches of a graph: many short ones, so that what starting it takes is little of each
REPEATS = 7
GROUPS, EVALUATIONS = 32, 20
LOW = torch.bfloat16


@dataclass(frozen=True)
class Shapes:
    """Sizes of what is launched; on a GPU those of the page.

    Attributes:
        batch: Rows of the sampler, B.
        width, latent, pixels: W, D, and the edge of an image.
    """

    batch: int
    width: int
    latent: int
    pixels: int

    @property
    def part(self) -> int:
        """Images that the autoencoder takes at a time: on the page, half as many as there are rows."""
        return max(1, self.batch * PART // BATCH)


def norm(shapes: Shapes, *, halves: bool = False, table: bool = False) -> Callable[[], object]:
    """A group norm of one state or of two that lie side by side, with the time table or with one row."""
    width = shapes.width * (1 + halves)
    joined, out = torch.randn(shapes.batch, 3 * shapes.width).to(LOW), torch.empty(shapes.batch, width, dtype=LOW)
    left, right = joined[:, : shapes.width], joined[:, shapes.width : 2 * shapes.width] if halves else None
    more: dict[str, Tensor] = {"time_bias": torch.randn(1, 1, width)}
    if table:
        more = {"time_bias": torch.randn(VIEWS, EVALUATIONS, width), "table_row": torch.arange(shapes.batch) % VIEWS}
        more["step"] = torch.tensor([3])
    weight, bias = torch.randn(width), torch.randn(width)
    return lambda: ops.group_norm_silu_(out, left, weight, bias, GROUPS, right=right, **more)


def step(shapes: Shapes, *, noise: bool) -> Callable[[], object]:
    """A step of a solver that has a history and draws noise, or of one that has neither."""
    state = shapes.batch, VIEWS, shapes.latent
    x, x0, made = (torch.randn(state) for _ in range(3))
    made, x_cast = made.to(LOW), torch.empty(state, dtype=LOW)
    history, drawn = (-0.1, 0.3) if noise else (0.0, 0.0)
    table = torch.tensor([[0.6, 0.8, 0.5, 0.4, history, drawn, 0.0, 0.0]])
    known = torch.arange(VIEWS) == torch.arange(shapes.batch)[:, None] % VIEWS
    row, ids, seed = torch.tensor([0]), torch.arange(shapes.batch), torch.tensor([7])
    return lambda: ops.masked_step_(x, x0, made, known, table, row, ids, seed, clip=4.0, x_cast=x_cast)


def packing(shapes: Shapes, dtype: torch.dtype, *, in_order: bool) -> Callable[[], object]:
    """Packing of all pictures of a batch, which lie as the decoder or as a plain convolution leaves them."""
    images = torch.rand((VIEWS - 1) * shapes.batch, 3, shapes.pixels, shapes.pixels).to(dtype)
    if in_order:
        images = images.contiguous(memory_format=torch.channels_last)
    return lambda: ops.pack_images(images)


def modulated(shapes: Shapes) -> Callable[[], object]:
    """A norm of the view transformer."""
    tokens = shapes.batch * VIEWS, TOKENS, 256
    x, out, h = torch.randn(tokens), torch.empty(tokens, dtype=LOW), torch.randn(tokens).to(LOW)
    table, known = torch.randn(1 + EVALUATIONS, 3, 256) * 0.1, torch.arange(tokens[0]) % VIEWS == 0
    at, bias = torch.tensor([3]), torch.randn(256)
    return lambda: ops.modulated_norm_(x, out, h, table, known, at, bias)


def activation(shapes: Shapes) -> Callable[[], object]:
    """What stands between two convolutions of the autoencoder at full resolution."""
    images = shapes.part, shapes.pixels, shapes.pixels, CHANNELS
    made, residual = (torch.randn(images, dtype=LOW) for _ in range(2))
    out, total, bias = torch.empty_like(made), torch.empty_like(made), torch.randn(CHANNELS)
    return lambda: ops.residual_act_(out, made, bias, residual, total)


def patches(shapes: Shapes) -> Callable[[], object]:
    """The beginning of the autoencoder, of as many pictures as are packed."""
    count, half = (VIEWS - 1) * shapes.batch, shapes.pixels // 2
    images = torch.randint(0, 256, (count, shapes.pixels, shapes.pixels, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    out = torch.empty(count, half, half, 12, dtype=LOW)
    return lambda: ops.images_to_patches_(out, images)


def products(shapes: Shapes, matrices: list[torch.Size]) -> Callable[[], object]:
    """All products of an evaluation as the engine does them, with matrices of these shapes."""
    operands = []
    for rows, columns in matrices:
        x, out = torch.randn(shapes.batch, columns).to(LOW), torch.empty(shapes.batch, rows, dtype=LOW)
        operands.append((x, torch.randn(rows, columns).to(LOW).t(), out))

    def all_of_them() -> None:
        for x, weight, out in operands:
            torch.mm(x, weight, out=out)

    return all_of_them


def makers(shapes: Shapes) -> dict[str, Callable[[], Callable[[], object]]]:
    """What makes a set of tensors and a launch on them, on torch's default device, by the page's title of the line."""
    width = shapes.width
    return {
        f"group_norm_silu, width {width}, time table": lambda: norm(shapes, table=True),
        f"group_norm_silu, width {width}, bias of the layer before": lambda: norm(shapes),
        f"group_norm_silu, width {2 * width}, two halves": lambda: norm(shapes, halves=True),
        "masked_step, noise and history": lambda: step(shapes, noise=True),
        "masked_step, neither (DDIM)": lambda: step(shapes, noise=False),
        "pack_images, in order, float32": lambda: packing(shapes, torch.float32, in_order=True),
        "pack_images, in order, bfloat16": lambda: packing(shapes, LOW, in_order=True),
        "pack_images, in planes, float32": lambda: packing(shapes, torch.float32, in_order=False),
        "modulated_norm, width 256": lambda: modulated(shapes),
        f"residual_act, {CHANNELS} channels, bfloat16": lambda: activation(shapes),
        "images_to_patches, bfloat16": lambda: patches(shapes),
    }


@dataclass(frozen=True)
class Line:
    """A line of the page, and what a launch took.

    Attributes:
        kernel: Its title there.
        launches: Of an evaluation; 0 for what is no part of one.
        expected_us, found_us: Microseconds of a launch; of the products, of all of them.
    """

    kernel: str
    launches: int
    expected_us: float | None
    found_us: float


def expected_times() -> dict[str, float]:
    """Microseconds of a launch by title, as the page has them."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    times = {row[0]: float(row[-1]) for row in rows if row[-1].replace(".", "").isdigit()}
    floor = next(line for line in PAGE.read_text().splitlines() if " products, " in line)
    return times | {PRODUCTS: float(floor.split(" us at ")[0].split()[-1])}


def time_of(make: Callable[[], Callable[[], object]], moved: float, device: torch.device) -> float:
    """Microseconds of a launch, the median of some replays.

    Args:
        make: Makes a set of tensors, and a launch on them.
        moved: Bytes that a launch reads and writes.
        device: Where they are.
    """
    launches = min(MOST, math.ceil(TIMED_BYTES / moved)) if device.type == "cuda" else 1
    sets = [make() for _ in range(min(launches, math.ceil(SET_BYTES / moved)))] if device.type == "cuda" else [make()]

    def work() -> None:
        for number in range(launches):
            sets[number % len(sets)]()

    run = captured(work).replay if device.type == "cuda" else work
    run()
    return 1e6 * statistics.median(seconds_of(run, device) for _ in range(REPEATS)) / launches


def measure(shapes: Shapes, network: ScoreNetwork, device: torch.device) -> list[Line]:
    """Every line in the order of the page, the products first; each is printed as it is there. The network may be on no
    device."""
    pixels = 3 * shapes.pixels**2
    matrices = [matrix.shape for matrix in performance_model.matrices(fuse_weights(network, LOW))]
    kernels = performance_model.kernels_of(network, VIEWS * shapes.latent)
    others = performance_model.other_kernels((VIEWS - 1) * BATCH, pixels)
    makes, expected, lines = makers(shapes), expected_times(), []

    def add(title: str, launches: int, make: Callable[[], Callable[[], object]], moved: float) -> None:
        lines.append(Line(title, launches, expected.get(title), round(time_of(make, moved, device), 2)))
        expects = "" if lines[-1].expected_us is None else f"{lines[-1].expected_us:.1f}"
        print(f"| {title} | {launches or ''} | {expects} | {lines[-1].found_us:.1f} |", flush=True)

    print("| kernel | launches | expected, us | found, us |\n|---|---|---|---|")
    with torch.no_grad(), current(device), torch.device(device):
        add(PRODUCTS, 1, lambda: products(shapes, matrices), TIMED_BYTES / 16)
        for kernel, launches in [*((k, k.launches) for k in kernels), *((k, 0) for k in others)]:
            add(kernel.title, launches, makes[kernel.title], bytes_of(kernel, shapes))
    print(f"an evaluation: {sum(line.launches * line.found_us for line in lines):.0f} us in all")
    return lines


def bytes_of(kernel: Kernel, shapes: Shapes) -> float:
    """What a launch moves at these sizes, if it does so much as on the page for an element."""
    return kernel.bytes_each * kernel.count * shapes.batch / BATCH


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", metavar="NAME", help="cuda (default), cuda:1, ..., or cpu")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help="rows (default: %(default)s, the page's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the lines there")
    options = parser.parse_args()
    device = torch.device(options.device)
    if not ops.native_available(device.type):
        raise fail(f"there are no native kernels for {device.type}: see dimvida doctor")
    config = load_preset("paper")
    with torch.device("meta"):
        network = config.score.build(VIEWS, config.autoencoder.latent_shape).eval().requires_grad_(False)
    sizes = network.width, config.autoencoder.latent_dim, config.autoencoder.image_size
    lines = measure(Shapes(options.batch, *sizes), network, device)
    if options.json is not None:
        facts = {"versions": machine.versions(), "hardware": machine.hardware(device), "batch": options.batch}
        facts["lines"] = [dataclasses.asdict(line) for line in lines]
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
