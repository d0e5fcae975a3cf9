"""Watercraft; the bow points to the viewer of the front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .palette import Dice, dark, light, metal, palette, vivid, wood
from .parts import GLASS, Assembly, Colour, Point, section


def watercraft(dice: Dice) -> Assembly:
    """Sailing boat, motor boat, cargo ship, cruise ship, tug or rowing boat."""
    out = Assembly()
    main, second, accent = palette(dice)
    hull = dice.pick((main, dark(dice), light(dice), wood(dice)), (5, 1.5, 1.5, 1.5))
    kind = dice.pick(("sail", "motor", "cargo", "cruise", "tug", "row"), (3, 3, 2, 2, 2, 1.5))
    slender = {"sail": 3.4, "motor": 3.0, "cargo": 5.5, "cruise": 5.0, "tug": 2.6, "row": 2.9}[kind] * dice.between(
        0.9, 1.1
    )
    beam, length = 1.0, slender
    depth = {"cruise": 0.55, "cargo": 0.5, "tug": 0.5}.get(kind, 0.38) * dice.between(0.9, 1.15)
    deck = dice.pick((wood(dice), light(dice), second))
    _hull(
        out,
        dice,
        (length, beam, depth),
        (hull, dice.pick((accent, second, hull)), deck),
        blunt=kind in ("cargo", "tug"),
    )
    upper = dice.pick((light(dice), second), (3, 1))
    if kind == "sail":
        _sails(out, dice, (length, depth), (upper, accent, metal(dice) if dice.chance(0.5) else wood(dice)))
    elif kind == "motor":
        _motor_cabin(out, dice, (length, beam, depth), (upper, GLASS, accent))
    elif kind == "row":
        for k in range(dice.count(2, 3)):
            out.box((0, length * (-0.18 + 0.2 * k), depth - 0.05), (beam * 0.86, 0.16, 0.05), wood(dice))
        for sx in (-1, 1):
            out.rod((sx * 0.2, -0.05, depth + 0.08), (sx * beam * 1.1, 0.15, depth - 0.15), 0.03, deck, sections=8)
    else:
        _superstructure(out, dice, kind, (length, beam, depth), (upper, accent, second))
    return out


def _hull(
    out: Assembly, dice: Dice, size: tuple[float, float, float], colours: Sequence[Colour], *, blunt: bool
) -> None:
    """Rings from bow to stern; the sheer rises to the bow, the keel line is narrower than the deck."""
    length, beam, depth = size
    paint, stripe, deck = colours
    rise, keel = dice.between(0.15, 0.5), dice.between(0.35, 0.75)
    stations = np.linspace(0, 1, 9)
    full = 0.5 if blunt else dice.between(0.75, 1.1)
    stern = dice.between(0.65, 0.95)
    rings, lid = [], []
    for s in stations:
        half = 0.5 * beam * min(1.0, (s / 0.45 + 0.004) ** full) * (1 - (1 - stern) * max(0.0, (s - 0.55) / 0.45))
        top = depth * (1 + rise * (1 - s) ** 2)
        bottom = depth * 0.55 * max(0.0, 1 - s / 0.25) ** 1.5
        y = length * (s - 0.5)
        profile = [
            (half, top),
            (-half, top),
            (-half * (1 + keel) / 2, (top + bottom) / 2),
            (-half * keel * 0.5, bottom),
            (half * keel * 0.5, bottom),
            (half * (1 + keel) / 2, (top + bottom) / 2),
        ]
        rings.append(section(np.array(profile), "y", y))
        inner = half * 0.9
        lid.append(
            section(
                np.array([(inner, top + 0.012), (-inner, top + 0.012), (-inner, top - 0.05), (inner, top - 0.05)]),
                "y",
                y,
            )
        )
    out.loft(rings, paint)
    out.loft(lid[1:], deck)
    if dice.chance(0.6):
        band = []
        for ring in rings:
            outline = ring[[0, 1, 2, 5]].copy()
            outline[2:] = outline[:2][::-1] + 0.35 * (outline[2:] - outline[:2][::-1])
            band.append(outline * (1.012, 1.0, 1.0) - (0, 0, 0.02))
        out.loft(band, stripe)


def _sails(out: Assembly, dice: Dice, size: tuple[float, float], colours: Sequence[Colour]) -> None:
    length, depth = size
    cloth, jib_cloth, spar = colours
    tall, at = length * dice.between(0.9, 1.25), -length * dice.between(0.02, 0.12)
    out.rod((0, at, depth * 0.5), (0, at, depth + tall), 0.035, spar, tip=0.02, sections=8)
    swing, low = dice.between(0.1, 0.5) * dice.pick((-1, 1)), depth + 0.22
    boom = (swing, at + length * 0.42, low)
    out.rod((0, at, low), boom, 0.03, spar, sections=8)
    _sail(out, [(0, at + 0.02, low), boom, (0, at + 0.02, depth + tall * 0.97)], cloth)
    if dice.chance(0.75):
        _sail(
            out,
            [
                (0, -length * 0.47, depth * 1.3),
                (swing * 0.7, at - 0.06, low),
                (0, at - 0.03, depth + tall * dice.between(0.65, 0.9)),
            ],
            jib_cloth if dice.chance(0.5) else cloth,
        )
    if dice.chance(0.5):
        out.rounded_box((0, length * 0.05, depth + 0.08), (0.5, length * 0.28, 0.2), cloth, radius=0.08, bevel=0.03)


def _sail(out: Assembly, corners: Sequence[Point], colour: Colour) -> None:
    points = np.array(corners, dtype=float)
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    belly = points.mean(axis=0) + 0.1 * normal / np.linalg.norm(normal)
    out.add(np.vstack([points, belly]), np.array([[0, 1, 3], [1, 2, 3], [2, 0, 3]]), colour)


def _motor_cabin(out: Assembly, dice: Dice, size: tuple[float, float, float], colours: Sequence[Colour]) -> None:
    length, beam, depth = size
    paint, glass, accent = colours
    span, tall = length * dice.between(0.22, 0.4), dice.between(0.22, 0.4)
    at = length * dice.between(-0.08, 0.08)
    out.box((0, at, depth + tall / 2), (beam * 0.66, span, tall), paint, top=(0.88, 0.8))
    out.box((0, at, depth + tall * 1.1), (beam * 0.58, span * 0.8, tall * 0.4), glass, top=(0.85, 0.7))
    if dice.chance(0.6):
        out.rounded_box((0, at + 0.04, depth + tall * 1.36), (beam * 0.6, span * 0.75, 0.06), accent, radius=0.08)
    out.box((0, at - span * 0.75, depth + 0.1), (beam * 0.5, span * 0.7, 0.16), paint, top=(0.7, 0.6))
    if dice.chance(0.5):
        out.box((0, length * 0.52, depth * 0.7), (0.22, 0.2, 0.5), (0.12, 0.12, 0.13), top=(1.2, 1.3))
    if dice.chance(0.5):
        out.rod((0, at, depth + tall), (0, at + 0.12, depth + tall * 2.4), 0.02, (0.3, 0.3, 0.3), sections=6)


def _superstructure(
    out: Assembly, dice: Dice, kind: str, size: tuple[float, float, float], colours: Sequence[Colour]
) -> None:
    length, beam, depth = size
    paint, accent, second = colours
    if kind == "cruise":
        decks = dice.count(2, 4)
        for k in range(decks):
            span = length * (0.72 - 0.09 * k)
            z = depth + 0.08 + 0.19 * k
            out.rounded_box((0, 0.12, z), (beam * (0.8 - 0.05 * k), span, 0.17), paint, radius=0.2)
            out.rounded_box((0, 0.12, z + 0.02), (beam * (0.815 - 0.05 * k), span * 0.985, 0.06), GLASS, radius=0.2)
        base, at = depth + 0.19 * decks, [0.1 * length, 0.22 * length][: dice.count(1, 2)]
        for y in at:
            out.rod((0, y, base - 0.05), (0, y + 0.06, base + 0.35), 0.14, accent, tip=0.12)
        return
    at = length * (0.34 if kind == "cargo" else dice.between(-0.05, 0.1))
    span, tall = length * (0.14 if kind == "cargo" else 0.3), dice.between(0.4, 0.65)
    out.box((0, at, depth + tall / 2), (beam * 0.7, span, tall), paint)
    out.box((0, at - span * 0.05, depth + tall * 0.8), (beam * 0.72, span * 0.94, tall * 0.18), GLASS)
    out.box((0, at, depth + tall), (beam * 0.78, span * 1.1, 0.05), accent)
    out.rod((0, at + span * 0.35, depth + tall), (0, at + span * 0.4, depth + tall + 0.3), 0.1, second)
    if kind == "cargo":
        rows, stacks = dice.count(4, 7), (vivid(dice), accent, second)
        for k in range(rows):
            y = length * (-0.34 + 0.56 * k / rows)
            for sx in (-1, 0, 1):
                high = 0.18 * dice.count(1, 2)
                out.box((sx * 0.27, y, depth + high / 2), (0.25, length * 0.5 / rows, high), dice.pick(stacks))
    else:
        out.rod(
            (0, at - span * 0.2, depth + tall),
            (0, at - span * 0.2, depth + tall + 0.6),
            0.025,
            (0.25, 0.25, 0.27),
            sections=8,
        )
