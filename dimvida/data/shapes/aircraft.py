"""Airplanes; the nose points to the viewer of the front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .palette import Dice, dark, light, metal, palette, shade
from .parts import GLASS, Assembly, Colour, Point, circle, section


def airplane(dice: Dice) -> Assembly:
    """Airliner, business jet, fighter, propeller airplane, twin or biplane."""
    out = Assembly()
    main, second, accent = palette(dice)
    kind = dice.pick(("airliner", "jet", "fighter", "propeller", "twin", "biplane"), (4, 2, 3, 3, 2, 1.5))
    skin = dice.pick((light(dice), metal(dice), main), (3, 2, 4) if kind in ("airliner", "jet") else (1, 2, 5))
    wing = dice.pick((skin, second, shade(skin, 0.8)))
    tail = dice.pick((accent, second, main, skin))
    if kind == "fighter":
        _fighter(out, dice, (skin, wing, tail))
    elif kind in ("airliner", "jet"):
        _airliner(out, dice, kind, (skin, wing, tail, second))
    else:
        _propeller(out, dice, kind, (skin, wing, tail, accent))
    return out


def _airliner(out: Assembly, dice: Dice, kind: str, colours: Sequence[Colour]) -> None:
    skin, wing, tail, trim = colours
    length = dice.between(3.2, 4.2)
    radius = length * (dice.between(0.05, 0.065) if kind == "airliner" else 0.055)
    _add_fuselage(
        out,
        length,
        radius,
        skin,
        [
            (0, 0.1, -0.25),
            (0.02, 0.45, -0.2),
            (0.07, 0.85, -0.06),
            (0.12, 1, 0),
            (0.68, 1, 0),
            (0.85, 0.65, 0.25),
            (0.97, 0.25, 0.55),
            (1, 0.08, 0.62),
        ],
    )
    if dice.chance(0.6):
        for sx in (-1, 1):
            out.box(
                (sx * radius * 0.97, -length * 0.06, radius * 0.2), (radius * 0.12, length * 0.7, radius * 0.22), trim
            )
    out.box((0, -length * 0.455, radius * 0.42), (radius * 1.0, radius * 0.5, radius * 0.32), GLASS, top=(0.7, 0.6))
    span, sweep = length * dice.between(0.42, 0.54), length * dice.between(0.14, 0.26)
    low = kind == "airliner" and dice.chance(0.8)
    z = -radius * 0.55 if low else radius * dice.pick((-0.5, 0.7))
    front, chord = -length * dice.between(0.1, 0.16), length * dice.between(0.18, 0.24)
    _add_wing_pair(
        out,
        (0, front, z),
        (span, front + sweep, z + span * dice.between(0.03, 0.12)),
        (chord, chord * 0.3),
        radius * 0.35,
        wing,
    )
    fin = length * dice.between(0.13, 0.18)
    _add_wing(
        out,
        (0, length * 0.34, radius * 0.5),
        (0, length * 0.46, radius * 0.5 + fin),
        (length * 0.14, length * 0.06),
        radius * 0.25,
        tail,
    )
    high = kind == "jet" and dice.chance(0.7)
    z = radius * 0.5 + fin * 0.95 if high else radius * 0.3
    back = length * (0.43 if high else 0.36)
    _add_wing_pair(
        out, (0, back, z), (span * 0.38, back + sweep * 0.4, z), (length * 0.1, length * 0.045), radius * 0.2, wing
    )
    engine, pod = radius * dice.between(0.4, 0.55), dice.pick((skin, metal(dice), trim))
    if kind == "jet":
        places = [(radius * 1.45, length * 0.2, radius * 0.35)]
    else:
        places = [
            (span * f, front + sweep * f + chord * 0.05, z_)
            for f, z_ in (
                [(0.33, -radius * 0.95)] if dice.chance(0.65) else [(0.3, -radius * 0.95), (0.58, -radius * 0.8)]
            )
        ]
    for x, y, z in places:
        for sx in (-1, 1):
            out.rod(
                (sx * x, y - length * 0.05, z),
                (sx * x, y + length * 0.06, z),
                engine,
                pod,
                tip=engine * 0.7,
                sections=14,
            )
            out.rod(
                (sx * x, y - length * 0.052, z),
                (sx * x, y - length * 0.04, z),
                engine * 0.8,
                (0.13, 0.13, 0.14),
                sections=14,
            )


def _fighter(out: Assembly, dice: Dice, colours: Sequence[Colour]) -> None:
    skin, wing, tail = colours
    length, radius = dice.between(2.6, 3.2), dice.between(0.15, 0.2)
    _add_fuselage(
        out,
        length,
        radius,
        skin,
        [(0, 0.03, -0.1), (0.1, 0.4, -0.05), (0.28, 0.9, 0), (0.5, 1.1, 0), (0.85, 1.0, 0), (1, 0.75, 0)],
    )
    out.ball((0, -length * 0.2, radius * 0.75), (radius * 0.5, length * 0.1, radius * 0.55), GLASS)
    out.rod((0, length * 0.49, 0), (0, length * 0.53, 0), radius * 0.6, (0.13, 0.13, 0.14))
    span = dice.between(0.85, 1.2)
    if dice.chance(0.5):
        _add_wing_pair(out, (0, -length * 0.1, 0), (span, length * 0.3, 0), (length * 0.5, length * 0.08), 0.09, wing)
    else:
        _add_wing_pair(
            out,
            (0, -length * 0.05, 0),
            (span, length * dice.between(0.05, 0.15), 0),
            (length * 0.3, length * 0.12),
            0.08,
            wing,
        )
        _add_wing_pair(
            out, (0, length * 0.3, 0), (span * 0.55, length * 0.42, 0), (length * 0.16, length * 0.08), 0.05, wing
        )
    tall = dice.between(0.4, 0.6)
    if dice.chance(0.5):
        _add_wing(
            out, (0, length * 0.24, 0.05), (0, length * 0.42, radius + tall), (length * 0.22, length * 0.08), 0.06, tail
        )
    else:
        for sx in (-1, 1):
            _add_wing(
                out,
                (sx * radius, length * 0.25, 0.05),
                (sx * (radius + tall * 0.3), length * 0.38, radius + tall * 0.85),
                (length * 0.18, length * 0.08),
                0.05,
                tail,
            )
    armed, store = dice.chance(0.5), dark(dice)
    for sx in (-1, 1):
        out.box(
            (sx * radius * 1.0, -length * 0.02, -radius * 0.15),
            (radius * 0.8, length * 0.3, radius * 1.1),
            shade(skin, 0.85),
        )
        if armed:
            x = sx * span * 0.55
            out.rod((x, 0, -0.1), (x, length * 0.25, -0.1), 0.04, store, sections=8)


def _propeller(out: Assembly, dice: Dice, kind: str, colours: Sequence[Colour]) -> None:
    skin, wing, tail, accent = colours
    length, radius = dice.between(2.0, 2.6), dice.between(0.15, 0.22)
    nose = 0.55 if kind == "twin" else 0.85
    _add_fuselage(
        out,
        length,
        radius,
        skin,
        [(0, nose * 0.6, -0.1), (0.05, nose, -0.05), (0.25, 1, 0), (0.45, 1, 0.05), (0.8, 0.5, 0.2), (1, 0.15, 0.35)],
    )
    out.box((0, -length * 0.14, radius * 1.0), (radius * 1.3, length * 0.2, radius * 0.7), GLASS, top=(0.7, 0.5))
    span, chord = dice.between(1.15, 1.5), dice.between(0.38, 0.52)
    front = -length * dice.between(0.2, 0.28)
    high = radius * 1.35
    z = dice.pick((high, -radius * 0.7)) if kind != "biplane" else -radius * 0.8
    sweep = dice.between(0.0, 0.15)
    _add_wing_pair(
        out,
        (0, front, z),
        (span, front + sweep, z + dice.between(0.0, 0.12)),
        (chord, chord * dice.between(0.5, 1.0)),
        0.08,
        wing,
    )
    if kind == "biplane":
        top = radius * dice.between(2.4, 3.0)
        _add_wing_pair(out, (0, front - 0.06, top), (span, front - 0.06 + sweep, top), (chord, chord), 0.08, wing)
        for x in (span * 0.35, span * 0.8):
            for sx in (-1, 1):
                for y in (front + 0.08, front + chord * 0.75):
                    out.rod((sx * x, y, z), (sx * x, y, top), 0.022, accent, sections=6)
    _add_wing(out, (0, length * 0.36, radius * 0.3), (0, length * 0.44, radius * 0.3 + 0.45), (0.32, 0.2), 0.06, tail)
    _add_wing_pair(
        out, (0, length * 0.38, radius * 0.35), (span * 0.36, length * 0.42, radius * 0.35), (0.3, 0.2), 0.05, tail
    )
    hubs = [(0.0, -length * 0.5, -radius * 0.08)]
    if kind == "twin":
        hubs = [(sx * span * 0.38, front - 0.16, z) for sx in (-1, 1)]
        for x, y, hub_z in hubs:
            out.rod((x, y, hub_z), (x, y + 0.5, hub_z), 0.12, accent, tip=0.06, sections=14)
    blades, reach, turned = dice.count(2, 4), dice.between(0.28, 0.4), dice.between(0, np.pi)
    for x, y, hub_z in hubs:
        out.rod((x, y, hub_z), (x, y - 0.1, hub_z), 0.07, accent, tip=0.01, sections=10)
        for k in range(blades):
            angle = turned + 2 * np.pi * k / blades
            out.rod(
                (x, y - 0.03, hub_z),
                (x + reach * np.cos(angle), y - 0.03, hub_z + reach * np.sin(angle)),
                0.04,
                (0.16, 0.16, 0.17),
                tip=0.03,
                sections=4,
            )
    if dice.chance(0.7):
        for sx in (-1, 1):
            foot = (sx * radius * 1.6, -length * 0.26, -radius * 2.1)
            out.rod((sx * radius * 0.4, -length * 0.24, -radius * 0.5), foot, 0.025, (0.3, 0.3, 0.32), sections=6)
            out.rod(
                (foot[0] - 0.03, foot[1], foot[2]),
                (foot[0] + 0.03, foot[1], foot[2]),
                0.1,
                (0.1, 0.1, 0.11),
                sections=12,
            )


def _add_fuselage(
    out: Assembly, length: float, radius: float, colour: Colour, stations: Sequence[tuple[float, float, float]]
) -> None:
    """Stations are (place from nose 0 to tail 1, radius factor, height of the axis in radii)."""
    rings = [
        section(circle(radius * f, radius * f, 16), "y", length * (s - 0.5), (0, radius * h)) for s, f, h in stations
    ]
    out.loft(rings, colour)


def _add_wing(out: Assembly, root: Point, tip: Point, chord: tuple[float, float], thick: float, colour: Colour) -> None:
    """A tapered wing from ``root`` to ``tip`` (leading edges); chords run towards +y."""
    root, tip = np.asarray(root, dtype=float), np.asarray(tip, dtype=float)
    normal = np.array([0.0, 0.0, 1.0]) if abs(tip[0] - root[0]) > abs(tip[2] - root[2]) else np.array([1.0, 0.0, 0.0])
    rings = []
    for edge, c, t in ((root, chord[0], thick), (tip, chord[1], thick * 0.5)):
        profile = [(0.0, 0.0), (0.25, 0.5), (1.0, 0.05), (1.0, -0.05), (0.25, -0.5)]
        rings.append(np.array([edge + (0, c * s, 0) + normal * (t * h) for s, h in profile]))
    out.loft(rings, colour)


def _add_wing_pair(
    out: Assembly, root: Point, tip: Point, chord: tuple[float, float], thick: float, colour: Colour
) -> None:
    """A wing and its mirror image."""
    for sx in (-1, 1):
        _add_wing(out, (sx * root[0], root[1], root[2]), (sx * tip[0], tip[1], tip[2]), chord, thick, colour)
