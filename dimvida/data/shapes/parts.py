"""Primitive parts and their assembly into one coloured mesh.

Parts may overlap: the renderer only sees the outermost surface, so no boolean engine is needed.
Axes: x to the viewer's right, -y towards the viewer of the front, z up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import trimesh

Colour = tuple[float, float, float]
Point = Sequence[float]

GLASS: Colour = (0.16, 0.2, 0.26)
SECTIONS = 20  # around what is turned about an axis, unless it says otherwise
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Signs of x and y, for what stands at all four corners of something."""


def turn(axis: str, degrees: float) -> np.ndarray:
    """Right-handed rotation matrix [3, 3] about "x", "y" or "z"."""
    angle = np.radians(degrees)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def spokes(count: int, point: Point) -> list[np.ndarray]:
    """``count`` points [3] spread evenly about z, the first a quarter turn ahead of ``point``."""
    return [turn("z", 90 + 360 * k / count) @ point for k in range(count)]


def rounded_ring(width: float, depth: float, radius: float) -> np.ndarray:
    """Outline [16, 2] of a width x depth rectangle with rounded corners, counter-clockwise."""
    radius = min(radius, width / 2, depth / 2)
    angles = np.radians(np.linspace(0, 90, 4))
    corners = [(1, 1, 0.0), (-1, 1, 90.0), (-1, -1, 180.0), (1, -1, 270.0)]
    points = []
    for sx, sy, start in corners:
        centre = np.array([sx * (width / 2 - radius), sy * (depth / 2 - radius)])
        around = angles + np.radians(start)
        points.append(centre + radius * np.stack([np.cos(around), np.sin(around)], axis=1))
    return np.concatenate(points)


def circle(radius_x: float, radius_y: float, sections: int = 16) -> np.ndarray:
    """Outline [sections, 2] of an ellipse, counter-clockwise."""
    angles = np.linspace(0, 2 * np.pi, sections, endpoint=False)
    return np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)


def section(outline: np.ndarray, axis: str, at: float, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Place a 2-D outline [N, 2] in the plane ``axis = at``; its own axes are the other two in order."""
    first, second, third = {"x": (1, 2, 0), "y": (0, 2, 1), "z": (0, 1, 2)}[axis]
    ring = np.empty((len(outline), 3))
    ring[:, first] = outline[:, 0] + offset[0]
    ring[:, second] = outline[:, 1] + offset[1]
    ring[:, third] = at
    return ring


class Assembly:
    """Collects coloured parts; ``mesh()`` joins them."""

    def __init__(self) -> None:
        self._vertices: list[np.ndarray] = []
        self._faces: list[np.ndarray] = []
        self._colours: list[np.ndarray] = []
        self._count = 0

    def add(self, vertices: np.ndarray, faces: np.ndarray, colour: Colour) -> None:
        """Add a part: vertices [N, 3], faces [F, 3], RGB in [0, 1]."""
        self._vertices.append(np.asarray(vertices, dtype=np.float64))
        self._faces.append(np.asarray(faces, dtype=np.int64) + self._count)
        self._colours.append(np.tile(np.asarray(colour, dtype=np.float64), (len(faces), 1)))
        self._count += len(vertices)

    def loft(self, rings: Sequence[np.ndarray], colour: Colour) -> None:
        """Skin through rings [N, 3] of equal N, closed by a fan at both ends (rings star-shaped)."""
        count, size = len(rings), len(rings[0])
        around, after, faces = _skin(count, size)
        first, last = count * size, count * size + 1
        top = (count - 1) * size
        faces.append(np.stack([after, around, np.full(size, first)], axis=1))
        faces.append(np.stack([top + around, top + after, np.full(size, last)], axis=1))
        ends = np.stack([rings[0].mean(axis=0), rings[-1].mean(axis=0)])
        self.add(np.concatenate([*rings, ends]), np.concatenate(faces), colour)

    def box(
        self,
        centre: Point,
        size: Point,
        colour: Colour,
        *,
        top: tuple[float, float] = (1.0, 1.0),
        rotation: np.ndarray | None = None,
    ) -> None:
        """A box, its upper face scaled by ``top`` in x and y, rotated about its centre."""
        sx, sy, sz = size
        corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        low = section(corners * (sx, sy), "z", -sz / 2)
        high = section(corners * (sx * top[0], sy * top[1]), "z", sz / 2)
        faces = [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]]
        for k in range(4):
            n = (k + 1) % 4
            faces += [[k, n, n + 4], [k, n + 4, k + 4]]
        self.add(_placed(np.concatenate([low, high]), centre, rotation), np.array(faces), colour)

    def rounded_box(
        self,
        centre: Point,
        size: Point,
        colour: Colour,
        *,
        radius: float,
        axis: str = "z",
        bevel: float = 0.0,
        rotation: np.ndarray | None = None,
    ) -> None:
        """A box with the four edges along ``axis`` rounded, and its two ends bevelled by ``bevel``."""
        third = "xyz".index(axis)
        first, second = [k for k in range(3) if k != third]
        half = size[third] / 2
        bevel = min(bevel, half)
        levels = [(-half, bevel), (-half + bevel, 0.0), (half - bevel, 0.0), (half, bevel)] if bevel else []
        rings = []
        for at, inset in levels or [(-half, 0.0), (half, 0.0)]:
            width = max(size[first] - 2 * inset, 1e-3 * size[first])
            depth = max(size[second] - 2 * inset, 1e-3 * size[second])
            rings.append(section(rounded_ring(width, depth, max(radius - inset / 2, 1e-3 * radius)), axis, at))
        self.loft([_placed(ring, centre, rotation) for ring in rings], colour)

    def rod(
        self, start: Point, end: Point, radius: float, colour: Colour, *, tip: float | None = None, sections: int = 12
    ) -> None:
        """A cylinder from ``start`` to ``end``, or a cone frustum where ``tip`` is the radius at the end."""
        start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        along = (end - start) / max(np.linalg.norm(end - start), 1e-9)
        side = np.cross(along, (0.0, 0.0, 1.0) if abs(along[2]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        other = np.cross(along, side)
        ring = circle(1.0, 1.0, sections) @ np.stack([side, other])
        self.loft([start + radius * ring, end + (radius if tip is None else tip) * ring], colour)

    def path(self, points: Sequence[Point], radius: float, colour: Colour, *, sections: int = 8) -> None:
        """A bent tube through the points."""
        for start, end in pairwise(points):
            self.rod(start, end, radius, colour, sections=sections)
        for joint in points[1:-1]:
            self.ball(joint, (radius, radius, radius), colour, sections=8, levels=4)

    def ball(
        self,
        centre: Point,
        radii: Point,
        colour: Colour,
        *,
        sections: int = 16,
        levels: int = 8,
    ) -> None:
        """An ellipsoid."""
        angles = np.linspace(-np.pi / 2, np.pi / 2, levels + 1)
        profile = [(max(np.cos(a), 1e-3), np.sin(a)) for a in angles]
        rings = [section(circle(r, r, sections), "z", z) * np.asarray(radii) for r, z in profile]
        self.loft([_placed(ring, centre, None) for ring in rings], colour)

    def revolve(
        self,
        profile: Sequence[tuple[float, float]],
        colour: Colour,
        *,
        centre: Point = (0.0, 0.0, 0.0),
        rotation: np.ndarray | None = None,
        sections: int = SECTIONS,
    ) -> None:
        """A solid of revolution about z from (radius, height) pairs, closed at both ends."""
        rings = _turned(profile, sections)
        self.loft([_placed(ring, centre, rotation) for ring in rings], colour)

    def shell(
        self,
        profile: Sequence[tuple[float, float]],
        colour: Colour,
        *,
        centre: Point = (0.0, 0.0, 0.0),
    ) -> None:
        """An open surface of revolution about z, such as a lamp shade."""
        rings = _turned(profile, SECTIONS)
        _, _, faces = _skin(len(rings), SECTIONS)
        self.add(np.concatenate(rings) + np.asarray(centre), np.concatenate(faces), colour)

    def prism(
        self, outline: Sequence[tuple[float, float]], axis: str, span: tuple[float, float], colour: Colour
    ) -> None:
        """A star-shaped outline swept along ``axis`` from span[0] to span[1]; see `section` for its plane."""
        points = np.asarray(outline, dtype=float)
        self.loft([section(points, axis, span[0]), section(points, axis, span[1])], colour)

    def merge(self, other: Assembly, *, offset: Point = (0.0, 0.0, 0.0), rotation: np.ndarray | None = None) -> None:
        """Add all parts of ``other``, rotated about the origin and then moved."""
        for vertices, faces, colours in zip(other._vertices, other._faces, other._colours, strict=True):
            self._vertices.append(_placed(vertices, offset, rotation))
            self._faces.append(faces + self._count)
            self._colours.append(colours)
        self._count += other._count

    def mesh(self) -> trimesh.Trimesh:
        """All parts as one mesh with a colour per face."""
        import trimesh

        colours = np.concatenate(self._colours)
        rgba = np.full((len(colours), 4), 255, dtype=np.uint8)
        rgba[:, :3] = np.round(np.clip(colours, 0.0, 1.0) * 255)
        return trimesh.Trimesh(
            np.concatenate(self._vertices), np.concatenate(self._faces), face_colors=rgba, process=False
        )


def _placed(points: np.ndarray, centre: Point, rotation: np.ndarray | None) -> np.ndarray:
    return (points if rotation is None else points @ rotation.T) + np.asarray(centre)


def _turned(profile: Sequence[tuple[float, float]], sections: int) -> list[np.ndarray]:
    """Rings [sections, 3] about z of (radius, height) pairs."""
    return [section(circle(max(r, 1e-4), max(r, 1e-4), sections), "z", z) for r, z in profile]


def _skin(count: int, size: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Places in a ring of ``size``, those after them, and the faces [size, 3] between ``count`` rings."""
    around = np.arange(size)
    after = (around + 1) % size
    faces = []
    for low in range(0, (count - 1) * size, size):
        high = low + size
        faces.append(np.stack([low + around, low + after, high + after], axis=1))
        faces.append(np.stack([low + around, high + after, high + around], axis=1))
    return around, after, faces
