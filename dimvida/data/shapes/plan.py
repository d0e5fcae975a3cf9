"""Which objects the embedded data set holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dimvida.errors import InputError

from . import CLASSES, make_shape

if TYPE_CHECKING:
    import trimesh

    from .parts import Colour


class ShapeItem(NamedTuple):
    """Identifies one object."""

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
    """The same plan, rendered with the same settings, gives the same bytes.

    Attributes:
        train_per_class: Objects of each class in split "train".
        test_per_class: Objects of each class in split "test".
        seed: Another seed gives other objects.
        classes: Of `CLASSES`.
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
