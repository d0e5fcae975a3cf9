"""Predicts one evaluation of the paper's network on an H100 from counts of the kernels' machine code: a model on paper.

Compiles the CUDA kernels for sm_90, counts the instructions of a thread in what nvdisasm shows (scripts/sass.py), and
sets them and the bytes that a launch moves beside what the hardware can do, as Markdown. No GPU is needed and none is
measured. Needs nvcc and nvdisasm (CUDA toolkit, or the package triton).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sass
import torch
from native_build import ROOT, fail

from dimvida.models import ScoreNetwork
from dimvida.sampling.fused_mlp_weights import fuse_weights
from dimvida.training.config import load_preset

PAGE = ROOT / "docs" / "performance-model.md"
BEGIN, END = "<!-- begin of what scripts/performance_model.py writes -->", "<!-- end -->"

# An H100 SXM by its data sheet: multiprocessors with four schedulers, each issuing an instruction of a warp a clock.
ISSUE = 132 * 4 * 1.755e9  # instructions of warps a second
MEMORY = 3.35e12  # bytes a second
# Assumed: what libraries reach in products of this size, what a kernel reaches of the two rates above, and what a
# launch in a graph costs.
PRODUCTS = 700e12  # FLOP a second in bfloat16
OF_ISSUE, OF_MEMORY = 0.7, 0.9
LAUNCH = 1e-6  # seconds

BATCH, VIEWS = 4096, 4
TOKENS = 16  # of a view in the view transformer
PART, CHANNELS = 2048, 64  # images that the autoencoder takes at a time, and their channels at full resolution
SAFE = r", -?88\b"  # the upper clamp of the exponential: only where |x| >= 87
DRAWING = "0x2daee0ad|0xd2511f53"  # Philox's multiplier


@dataclass(frozen=True)
class Kernel:
    """A kernel as a table has it.

    Attributes:
        title: What it does.
        source, name: Its file in csrc/cuda, and a part of its mangled name.
        elements: Of a thread.
        bytes_each: Moved from and to memory for an element; weights and tables come from caches.
        count: Elements of a launch at the batch size of the page.
        before: Instructions an element when types and terms were branches, for comparison, if it is that old.
        launches: Of an evaluation.
        without: What marks instructions of ways that are not counted.
    """

    title: str
    source: str
    name: str
    elements: int
    bytes_each: float
    count: int
    before: int | None = None
    launches: int = 1
    without: str = ""


def kernels_of(network: ScoreNetwork, size: int) -> list[Kernel]:
    """The kernels of an evaluation, in bfloat16: norms by width and what they add, and the step."""
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, torch.nn.GroupNorm)]
    width = network.width
    after_time = sum(name.endswith("norm2") for name, _ in norms)
    wide = sum(module.num_channels == 2 * width for _, module in norms)
    norm = "group_norm_silu_held_kernelINS_8BFloat16ELi3E"
    narrow = dict(source="group_norm_silu", name=norm + "Li4E", elements=12, bytes_each=4.0, without=SAFE)
    joined = narrow | dict(name=norm + "Li8E")
    step = dict(source="masked_step", name="masked_step_aligned_kernelINS_8BFloat16E", elements=4, count=BATCH * size)
    return [
        Kernel(
            f"group_norm_silu, width {width}, time table",
            **narrow,
            count=BATCH * width,
            launches=after_time,
            before=118,
        ),
        Kernel(
            f"group_norm_silu, width {width}, bias of the layer before",
            **narrow,
            count=BATCH * width,
            launches=len(norms) - after_time - wide,
            before=117,
        ),
        Kernel(
            f"group_norm_silu, width {2 * width}, two halves",
            **joined,
            count=2 * BATCH * width,
            launches=wide,
            before=118,
        ),
        # Read: x, x0_prev, output; written: x, x0_prev, x as bfloat16.
        Kernel("masked_step, noise and history", **step, bytes_each=20.0, before=127),
        Kernel("masked_step, neither (DDIM)", **step, bytes_each=16.0, launches=0, before=70, without=DRAWING),
    ]


def other_kernels(images: int, elements: int) -> list[Kernel]:
    """A launch of each kernel that is no part of the evaluation: packing, a norm of the view transformer, and those of
    the autoencoder that go over memory once."""
    layouts = [
        ("in order, float32", "in_order_kernelINS_7Float32E", 4, 5.0, "U8"),
        ("in order, bfloat16", "in_order_kernelINS_8BFloat16E", 8, 3.0, "U8"),
        ("in planes, float32", "planes_kernelINS_7Float32E", 12, 5.0, ""),
    ]
    packing = [
        Kernel(
            f"pack_images, {title}", "pack_images", "pack_" + name, each, moved, images * elements, 64, without=without
        )
        for title, name, each, moved, without in layouts
    ]
    # Read: x, h; written: x, out. A lane has eight numbers of a token.
    tokens = BATCH * VIEWS * TOKENS
    norm = "modulated_norm_kernelINS_8BFloat16ELi2E"
    transformer = Kernel("modulated_norm, width 256", "modulated_norm", norm, 8, 12.0, tokens * 256)
    fours = "fours_kernelINS_8BFloat16E"
    # Read: what a convolution made and a residual; written: the activation and the sum, of all of a part at full size.
    act = dict(source="residual_act", name="residual_act_" + fours, elements=4, bytes_each=8.0, without=SAFE)
    patches = dict(source="patches", elements=4, bytes_each=3.0, count=images * elements)
    return [
        *packing,
        transformer,
        Kernel(f"residual_act, {CHANNELS} channels, bfloat16", **act, count=PART * elements // 3 * CHANNELS),
        Kernel("images_to_patches, bfloat16", name="images_to_patches_" + fours, **patches),
    ]


@dataclass(frozen=True)
class Counted:
    """A kernel's way through its code, and the seconds of a launch that follow."""

    kernel: Kernel
    way: sass.Way

    @property
    def each(self) -> float:
        """Instructions an element."""
        return self.way.instructions / self.kernel.elements

    @property
    def memory(self) -> float:
        return self.kernel.bytes_each * self.kernel.count / MEMORY

    def issue(self, each: float) -> float:
        return each * self.kernel.count / 32 / ISSUE

    def expected(self, each: float) -> float:
        return max(self.issue(each) / OF_ISSUE, self.memory / OF_MEMORY) + LAUNCH


def counted(kernels: list[Kernel]) -> list[Counted]:
    codes: dict[str, dict[str, sass.Code]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in {kernel.source for kernel in kernels}:
            path = ROOT / "csrc" / "cuda" / f"{source}.cu"
            codes[source] = sass.kernels(sass.disassembled(path, "sm_90a", Path(folder)))
    rows = []
    for kernel in kernels:
        found = [code for name, code in codes[kernel.source].items() if kernel.name in name]
        if len(found) != 1:
            raise fail(f"{len(found)} kernels of {kernel.source}.cu have {kernel.name} in their names")
        rows.append(Counted(kernel, sass.longest_way(found[0], kernel.without)))
    return rows


def matrices(weights: object) -> Iterator[torch.Tensor]:
    """The matrices in a layout of weights, but for those of the time embedding, whose products are a table."""
    if isinstance(weights, torch.Tensor):
        if weights.ndim == 2:
            yield weights
    elif isinstance(weights, (list, tuple)):
        for part in weights:
            yield from matrices(part)
    elif dataclasses.is_dataclass(weights):
        for field in dataclasses.fields(weights):
            if field.name != "time":
                yield from matrices(getattr(weights, field.name))


def table(rows: list[Counted], launches: bool) -> str:
    head = ["kernel", *(["launches"] if launches else []), "instructions an element", "before", "bytes an element"]
    head += ["memory, us", "issue, us", "expected, us"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for row in rows:
        kernel = row.kernel
        line = [kernel.title, *([str(kernel.launches)] if launches else []), f"{row.each:.1f}"]
        line += [str(kernel.before or ""), f"{kernel.bytes_each:.0f}"]
        lines.append([*line, *(f"{1e6 * t:.1f}" for t in (row.memory, row.issue(row.each), row.expected(row.each)))])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report() -> str:
    config = load_preset("paper")
    with torch.device("meta"):
        network = config.score.build(VIEWS, config.autoencoder.latent_shape).eval().requires_grad_(False)
    size = VIEWS * config.autoencoder.latent_dim
    products = list(matrices(fuse_weights(network, torch.bfloat16)))
    flops = BATCH * sum(2 * matrix.numel() for matrix in products)
    floor = flops / PRODUCTS
    evaluation = counted(kernels_of(network, size))
    fixed = floor + len(products) * LAUNCH
    others = sum(row.kernel.launches * row.expected(row.each) for row in evaluation)
    before = fixed + sum(row.kernel.launches * row.expected(row.kernel.before) for row in evaluation)
    total = fixed + others
    pixels = config.autoencoder.channels * config.autoencoder.image_size**2
    lines = [
        f"One evaluation of the preset `paper` at batch {BATCH}, bfloat16:",
        table(evaluation, launches=True),
        f"- {len(products)} products, {flops / 1e12:.3f} TFLOP: {1e6 * floor:.0f} us at {PRODUCTS / 1e12:.0f} TFLOP/s, "
        f"the floor; {1e6 * len(products) * LAUNCH:.0f} us for their launches.\n"
        f"- All other kernels: {1e6 * others:.0f} us.\n"
        f"- **Predicted: {1e6 * total:.0f} us, {100 * floor / total:.0f} % of the floor** "
        f"({1e6 * before:.0f} us and {100 * floor / before:.0f} % by the counts of before).",
        f"A launch of other kernels: packing of {(VIEWS - 1) * BATCH} pictures of {pixels} bytes, once a batch; a norm "
        f"of the view transformer on {BATCH} objects of {VIEWS} views and {TOKENS} tokens; between two convolutions of "
        f"the autoencoder, {PART} images at full resolution; and its beginning, as many pictures as are packed:",
        table(counted(other_kernels((VIEWS - 1) * BATCH, pixels)), launches=False),
    ]
    return "\n\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    text = report()
    if options.write:
        page = PAGE.read_text()
        head, rest = page.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
