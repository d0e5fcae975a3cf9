"""Renders many objects in worker processes, in order; one bad object does not stop the others."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, NamedTuple

from dimvida.data.meshes import DEFAULT_COLOUR, MeshFile, UnreadableMesh, Up, load_mesh
from dimvida.data.render import Renderer, RenderSettings
from dimvida.data.shapes.palette import Dice, hsv
from dimvida.data.write import encode_png
from dimvida.errors import DimvidaError, InputError

if TYPE_CHECKING:
    import trimesh

MakeMesh = Callable[[Any], tuple["trimesh.Trimesh", tuple[float, float, float]]]
"""From an item to its mesh and the colour for a mesh without colours; it must be picklable."""


class Rendered(NamedTuple):
    """One object's PNG views by name, or what was wrong with it.

    Attributes:
        item: The mesh file, or the procedural object, that was rendered.
        views: PNG files by view name.
        problem: Why there are none, or "".
        notes: What its file names and lacks, as ``<what>: <which>``.
        digests: Hex SHA-256 of the files that it was made of, by path.
    """

    item: Any
    views: dict[str, bytes]
    problem: str
    notes: tuple[str, ...] = ()
    digests: Mapping[str, str] | None = None


def render_items(
    items: Sequence[Any], make: MakeMesh, settings: RenderSettings, *, workers: int = 1
) -> Iterator[Rendered]:
    """Yield every item rendered, in the order of ``items`` and the same for any number of workers.

    Raises:
        DimvidaError: A worker process died.
    """
    task = partial(_render_one, make, settings)
    if workers <= 1:
        yield from map(task, items)
        return
    # Spawned, not forked: the caller may run threads (torch does), which do not survive a fork.
    pool = ProcessPoolExecutor(min(workers, len(items)), get_context("spawn"), _end_with_parent)
    try:
        # Ctrl-C reaches every process of a terminal; only this one is to answer it, so the workers inherit the block.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = pool.map(task, items, chunksize=4)  # starts the workers
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        yield from results
    except BrokenProcessPool as error:
        raise DimvidaError("a rendering process died, perhaps of memory: try fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def make_from_file(item: MeshFile, *, up: Up = "auto", color_seed: int | None = None) -> tuple[Any, Any]:
    """A `MakeMesh` for mesh files; with a seed each object without colours gets one of its own."""
    colour = DEFAULT_COLOUR
    if color_seed is not None:
        dice = Dice(f"{color_seed}/{item.split}/{item.class_name}/{item.name}")
        colour = hsv(dice.between(0.0, 1.0), dice.between(0.15, 0.65), dice.between(0.45, 0.85))
    return load_mesh(item.path, up=up), colour


def _render_one(make: MakeMesh, settings: RenderSettings, item: Any) -> Rendered:
    try:
        mesh, colour = make(item)
        images = _renderer(settings).render(mesh, colour)
    except UnreadableMesh as error:
        return Rendered(item, {}, error.reason)
    except InputError as error:
        return Rendered(item, {}, str(error))
    views = {name: encode_png(image) for name, image in zip(settings.view_names, images, strict=True)}
    told = mesh.metadata
    return Rendered(item, views, "", tuple(told.get("notes", ())), dict(told.get("digests", {})))


def _end_with_parent() -> None:
    """Have this worker process end when the one that started it is gone, even if it was killed."""
    sentinel = parent_process().sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=1)  # a worker renders thousands of objects with the same settings
def _renderer(settings: RenderSettings) -> Renderer:
    return Renderer(settings)
