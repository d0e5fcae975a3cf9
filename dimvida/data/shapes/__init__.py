"""Procedural objects of the 13 NMR classes, built from primitive parts.

Every object has a front, which the camera at azimuth 0 sees. An object depends only on its class, the
seed, its split and its index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dimvida.errors import InputError, require_choice

from .aircraft import airplane
from .boats import watercraft
from .cars import car
from .devices import display, loudspeaker
from .furniture import cabinet, lamp, table
from .palette import Dice
from .rifle import rifle
from .seating import bench, chair, sofa
from .telephones import telephone

if TYPE_CHECKING:
    import trimesh

    from .parts import Colour

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
        InputError: There is no such class in ``CLASSES``.
    """
    require_choice("no class", class_name, CLASSES)
    return _MAKERS[class_name](Dice(f"{seed}/{split}/{class_name}/{index}")).mesh()


class ShapeItem(NamedTuple):
    """What identifies one object: equal items are equal objects."""

    seed: int
    split: str
    class_name: str
    index: int

    @property
    def name(self) -> str:
        """The object's name in its class."""
        return f"{self.class_name}_{self.index:04d}"


@dataclass(frozen=True, slots=True)
class ShapesPlan:
    """Which objects a data set of shapes has; rendered alike, equal plans give equal bytes.

    Attributes:
        train_per_class: Objects of each class in split "train".
        test_per_class: Objects of each class in split "test".
        seed: Another seed gives other objects.
        classes: Some of `CLASSES`.
    """

    train_per_class: int = 400
    test_per_class: int = 60
    seed: int = 0
    classes: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        unknown = [name for name in self.classes if name not in CLASSES]
        if unknown:
            raise InputError(f"no class {', '.join(unknown)}: choose from {', '.join(CLASSES)}")
        if len(set(self.classes)) != len(self.classes):
            raise InputError("a class is named twice")
        if min(self.train_per_class, self.test_per_class) < 0:
            raise InputError("the number of objects per class must not be negative")
        if not self.classes or self.train_per_class + self.test_per_class == 0:
            raise InputError("the data set would be empty: ask for at least one class and one object")

    def items(self) -> list[ShapeItem]:
        """All objects, in the order in which they are written."""
        return [
            ShapeItem(self.seed, split, class_name, index)
            for split, count in (("test", self.test_per_class), ("train", self.train_per_class))
            for class_name in self.classes
            for index in range(count)
        ]


def make_from_item(item: ShapeItem) -> tuple[trimesh.Trimesh, Colour]:
    """The item's mesh, and a colour that it does not need: every part has its own."""
    mesh = make_shape(item.class_name, seed=item.seed, split=item.split, index=item.index)
    return mesh, (0.5, 0.5, 0.5)
