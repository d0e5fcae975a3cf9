"""Fuselages and wings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .parts import Assembly, Colour, Point, circle, section


def add_fuselage(
    out: Assembly,
    length: float,
    radius: float,
    colour: Colour,
    stations: Sequence[tuple[float, float, float]],
) -> None:
    """Stations are (place from nose 0 to tail 1, radius factor, height of the axis in radii)."""
    rings = [
        section(circle(radius * f, radius * f, 16), "y", length * (s - 0.5), (0, radius * h)) for s, f, h in stations
    ]
    out.loft(rings, colour)


def add_wing(out: Assembly, root: Point, tip: Point, chord: tuple[float, float], thick: float, colour: Colour) -> None:
    """A tapered wing from ``root`` to ``tip`` (leading edges); chords run towards +y."""
    root, tip = np.asarray(root, dtype=float), np.asarray(tip, dtype=float)
    normal = np.array([0.0, 0.0, 1.0]) if abs(tip[0] - root[0]) > abs(tip[2] - root[2]) else np.array([1.0, 0.0, 0.0])
    rings = []
    for edge, c, t in ((root, chord[0], thick), (tip, chord[1], thick * 0.5)):
        profile = [(0.0, 0.0), (0.25, 0.5), (1.0, 0.05), (1.0, -0.05), (0.25, -0.5)]
        rings.append(np.array([edge + (0, c * s, 0) + normal * (t * h) for s, h in profile]))
    out.loft(rings, colour)


def add_wing_pair(
    out: Assembly, root: Point, tip: Point, chord: tuple[float, float], thick: float, colour: Colour
) -> None:
    """A wing and its mirror image."""
    for sx in (-1, 1):
        add_wing(out, (sx * root[0], root[1], root[2]), (sx * tip[0], tip[1], tip[2]), chord, thick, colour)
