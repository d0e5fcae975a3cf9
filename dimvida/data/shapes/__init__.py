"""Procedural objects of the 13 NMR classes, built from primitive parts.

Every object has a front, which the camera at azimuth 0 sees. An object depends only on its class, the
seed, its split and its index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dimvida.errors import InputError

from .aircraft import airplane
from .boats import watercraft
from .cars import car
from .chairs import chair
from .devices import display, loudspeaker
from .furniture import cabinet, table
from .lamps import lamp
from .palette import Dice
from .rifle import rifle
from .seating import bench, sofa
from .telephones import telephone

if TYPE_CHECKING:
    import trimesh

_MAKERS = {
    "airplane": airplane,
    "bench": bench,
    "cabinet": cabinet,
    "car": car,
    "chair": chair,
    "display": display,
    "lamp": lamp,
    "loudspeaker": loudspeaker,
    "rifle": rifle,
    "sofa": sofa,
    "table": table,
    "telephone": telephone,
    "watercraft": watercraft,
}

CLASSES: tuple[str, ...] = tuple(_MAKERS)


def make_shape(class_name: str, *, seed: int = 0, split: str = "train", index: int = 0) -> trimesh.Trimesh:
    """One object as a mesh with a colour per face; z up, its front towards -y.

    Raises:
        InputError: for a class that is not one of `CLASSES`.
    """
    if class_name not in _MAKERS:
        raise InputError(f"no class {class_name!r}: choose from {', '.join(CLASSES)}")
    return _MAKERS[class_name](Dice(f"{seed}/{split}/{class_name}/{index}")).mesh()
