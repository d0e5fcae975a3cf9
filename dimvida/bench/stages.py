"""Each stage of generation beside its own floor, the products and convolutions that it asks the library for, alone, and
beside the eager backend, the networks' own layers in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dimvida.bench.case import one_known
from dimvida.bench.timing import interleaved
from dimvida.results.benchmarks import Spread
from dimvida.results.generation import StageAndFloor
from dimvida.sampling.backends import default_dtype
from dimvida.sampling.engine import engine_of
from dimvida.sampling.multiview import MultiViewModel

REPEATS = 5
PRODUCT_OPERATIONS = {
    *("mm", "addmm", "addmm_", "_addmm_activation", "bmm", "baddbmm"),
    *("convolution", "_convolution", "mkldnn_convolution"),
}
"""Names of torch's operations that are products; of a transformer's attention only where it is made of them."""


class _Recorder(TorchDispatchMode):
    """Notes the products that are asked for while entered, by what decides how long they take."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, list[Any], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func.overloadpacket.__name__ in PRODUCT_OPERATIONS:
            named = {name: _form(value) for name, value in kwargs.items()}
            self.calls.append((func, [_form(value) for value in args], named))
        return func(*args, **kwargs)


class _Form(tuple):
    """Size, strides, type and device of an operand."""


def _form(value: Any) -> Any:
    return _Form((value.size(), value.stride(), value.dtype, value.device)) if isinstance(value, Tensor) else value


def products_of(work: Callable[[], object]) -> Callable[[], None]:
    """The library's products and convolutions of some work, in its order, and nothing else.

    Operands have the same sizes, strides and types as in the work, and random values. Equal ones are the same memory,
    so that there is less of it than in the work.
    """
    with _Recorder() as recorder:
        work()
    generator = torch.Generator().manual_seed(0)
    memory: dict[tuple[Any, int], Tensor] = {}

    def operand(value: Any, place: int) -> Any:
        if not isinstance(value, _Form):
            return value
        if (value, place) not in memory:
            size, strides, dtype, device = value
            tensor = torch.empty_strided(size, strides, dtype=dtype, device=device)
            memory[value, place] = tensor.copy_(torch.randn(size, generator=generator))
        return memory[value, place]

    calls = [
        (
            func,
            [operand(value, place) for place, value in enumerate(args)],
            {name: operand(value, -1) for name, value in kwargs.items()},
        )
        for func, args, kwargs in recorder.calls
    ]

    def products() -> None:
        with torch.inference_mode():
            for func, args, kwargs in calls:
                func(*args, **kwargs)

    return products


@contextmanager
def _without_graph(model: MultiViewModel) -> Iterator[None]:
    """Have the engine launch one by one meanwhile: of what a graph replays, nothing could be noted."""
    engine = engine_of(model.score, default_dtype(model.device), model.device)
    before, engine.graphs = engine.graphs, False
    try:
        yield
    finally:
        engine.graphs = before


def stage_floors(model: MultiViewModel, batch: int, steps: int) -> list[StageAndFloor]:
    """Time encoding, sampling and decoding of a batch, one view of each row known, beside products and eager layers.

    All are warmed up and run in turn, ``REPEATS`` times.

    Args:
        model: The model whose stages are timed, on its device.
        batch: Rows of the batch, one for each object.
        steps: Network evaluations of a trajectory.
    """
    known = one_known(batch, len(model.view_names))
    shape = (batch, *model.config.autoencoder.image_shape)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(model.device)
    latents = model.encode_known(images, known)
    sampled = model.sample_missing(latents, known, steps=steps)

    def stages_by(name: str = "", **how: Any) -> dict[str, Callable[[], object]]:
        return {
            f"encode{name}": lambda: model.encode_known(images, known, **how),
            f"sample{name}": lambda: model.sample_missing(latents, known, steps=steps, **how),
            f"decode{name}": lambda: model.decode_views(sampled, ~known, **how),
        }

    stages = stages_by()
    with _without_graph(model):
        floors = {f"{stage} floor": products_of(work) for stage, work in stages.items()}
    works = stages | floors | stages_by(" eager", backend="eager", dtype=None)
    for work in works.values():
        work()
    seconds = interleaved(works, REPEATS, model.device)
    return [
        StageAndFloor(
            stage=stage,
            batch=batch,
            steps=steps if stage == "sample" else None,
            ms=Spread.of(seconds[stage]).scaled(1e3),
            floor_ms=Spread.of(seconds[f"{stage} floor"]).scaled(1e3),
            eager_ms=Spread.of(seconds[f"{stage} eager"]).scaled(1e3),
        )
        for stage in stages
    ]
