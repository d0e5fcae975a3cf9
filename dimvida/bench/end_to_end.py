"""Pictures in, pictures out: how many views a second the whole model encodes, makes and decodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dimvida.bench.timing import Spread, current, interleaved, one_line
from dimvida.sampling.multiview import MultiViewModel

BACKENDS = ("eager", "fused")
WARM_UPS = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One piece of the way from pictures to pictures.

    Attributes:
        name: ``encode``, ``decode``, or ``generate`` with a backend, which is encode, sample and decode.
        views: Views that it takes (encode) or makes.
        time: Milliseconds.
    """

    name: str
    views: int
    time: Spread

    @property
    def views_per_second(self) -> float:
        return self.views / self.time.median * 1e3

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "views": self.views,
            "ms": asdict(self.time),
            "views_per_second": self.views_per_second,
        }


def runs_of(repeats: int) -> int:
    """How often ``measure_end_to_end`` calls ``progress``, at most."""
    return (2 + len(BACKENDS)) * (WARM_UPS + repeats)


def measure_end_to_end(
    model: MultiViewModel,
    batch: int,
    repeats: int,
    *,
    solver: str,
    steps: int,
    progress: Callable[[str], object] = lambda what: None,
) -> tuple[list[Stage], dict[str, str]]:
    """Time ``MultiViewModel.generate`` and its parts on random pictures, one known view each.

    Reading and writing files is not part of it.

    Returns:
        The stages that ran, and those that did not with the reason.
    """
    with torch.no_grad(), current(model.device):
        return _measure(model, batch, repeats, solver, steps, progress)


def _measure(
    model: MultiViewModel, batch: int, repeats: int, solver: str, steps: int, progress: Callable[[str], object]
) -> tuple[list[Stage], dict[str, str]]:
    views, config = len(model.view_names), model.config.autoencoder
    generator = torch.Generator().manual_seed(0)
    shape = (batch, views, config.channels, model.image_size, model.image_size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(model.device)
    known = (torch.arange(views) == torch.arange(batch)[:, None] % views).to(model.device)
    latents = torch.randn(int((~known).sum()), config.latent_dim, generator=generator).to(model.device)
    works: dict[str, Callable[[], Any]] = {
        "encode": lambda: model.encode(images[known]),
        "decode": lambda: model.decode(latents),
    }
    for backend in BACKENDS:
        works[f"generate, {backend}"] = lambda backend=backend: model.generate(
            images, known, solver=solver, steps=steps, backend=backend
        )
    failed = {}
    for name in list(works):
        try:
            for _ in range(WARM_UPS):
                works[name]()
                progress(f"{name}, warm-up")
        except Exception as error:  # no such backend here, or too little memory: the other stages still can run
            failed[name] = one_line(error)
            del works[name]
    seconds = interleaved(works, repeats, model.device, progress)
    made = {"encode": int(known.sum())}
    stages = [
        Stage(name, made.get(name, len(latents)), Spread.of([1e3 * value for value in values]))
        for name, values in seconds.items()
    ]
    return stages, failed
