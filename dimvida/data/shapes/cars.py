"""Cars; they come towards the viewer of the front."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .palette import Dice, dark, light, metal, palette, shade, vivid
from .parts import GLASS, Assembly, Colour, rounded_ring, section

TYRE: Colour = (0.1, 0.1, 0.11)

Triple = tuple[float, float, float]
Frame = tuple[list[float], float, float]
"""Places of the cross sections along y, width, height of the lower edge."""


class _Kind(NamedTuple):
    # Foot and head of the windscreen, head and foot of the rear window; from nose 0 to tail 1.
    marks: tuple[float, float, float, float]
    heights: tuple[float, float, float]  # of the body at its nose, waist and tail, in metres
    roof: float
    length: float


_CARS = {
    "sedan": _Kind((0.28, 0.42, 0.66, 0.86), (0.62, 0.86, 0.88), 1.4, 4.6),
    "hatchback": _Kind((0.22, 0.38, 0.84, 0.97), (0.66, 0.9, 0.95), 1.48, 3.9),
    "suv": _Kind((0.22, 0.35, 0.9, 0.98), (0.9, 1.1, 1.12), 1.8, 4.6),
    "sports": _Kind((0.34, 0.5, 0.62, 0.84), (0.5, 0.76, 0.86), 1.18, 4.4),
    "pickup": _Kind((0.24, 0.36, 0.54, 0.6), (0.9, 1.08, 1.05), 1.75, 5.2),
    "van": _Kind((0.06, 0.2, 0.96, 0.995), (0.85, 1.1, 1.1), 2.0, 4.7),
}


def car(dice: Dice) -> Assembly:
    """Sedan, hatchback, SUV, sports car, pickup or van."""
    out = Assembly()
    main, second, accent = palette(dice)
    paint = dice.pick((main, vivid(dice), metal(dice), light(dice)), (5, 3, 2, 1))
    kind = dice.pick(tuple(_CARS), (4, 3, 3, 3, 2, 2))
    marks, heights, roof, length = _CARS[kind]
    length *= dice.between(0.92, 1.08)
    roof *= dice.between(0.94, 1.08)
    width = dice.between(1.65, 1.95)
    marks = tuple(m + dice.between(-0.015, 0.015) for m in marks)
    nose, waist, tail = (h * dice.between(0.94, 1.06) for h in heights)
    clearance = roof * dice.between(0.14, 0.2)
    y = [length * (m - 0.5) for m in (0.0, 0.03, *marks, 0.97, 1.0)]
    _car_body(out, (y, width, clearance), (nose, waist, tail), paint, dice.between(0.12, 0.35))
    roof_colour = paint if dice.chance(0.7) else dice.pick((second, dark(dice), accent))
    _car_cabin(out, dice, (y, width * dice.between(0.84, 0.93), waist, roof), (roof_colour, paint))
    if kind == "pickup":
        out.box(
            (0, (y[5] + y[7]) / 2 + 0.1, tail + 0.01), (width * 0.78, (y[7] - y[5]) * 0.82, 0.05), (0.13, 0.13, 0.14)
        )
    _car_front_and_back(out, dice, (y, width, clearance), (nose, waist, tail), (paint, second))
    radius = roof * dice.between(0.2, 0.25)
    rim = dice.pick((metal(dice), light(dice), dark(dice)))
    for wheel_y in (y[0] + length * 0.19, y[-1] - length * 0.2):
        for sx in (-1, 1):
            x = sx * width / 2
            out.rod((x - sx * 0.22, wheel_y, radius), (x + sx * 0.03, wheel_y, radius), radius, TYRE, sections=20)
            out.rod((x, wheel_y, radius), (x + sx * 0.045, wheel_y, radius), radius * 0.6, rim, sections=14)
    if kind == "sports" and dice.chance(0.6):
        out.box((0, y[-1] - 0.15, tail + 0.2), (width * 0.9, 0.25, 0.05), second)
        for sx in (-1, 1):
            out.box((sx * width * 0.36, y[-1] - 0.15, tail + 0.08), (0.05, 0.16, 0.25), second)
    if kind in ("suv", "van") and dice.chance(0.4):
        rail = dark(dice)
        for sx in (-1, 1):
            x, z = sx * width * 0.36, roof + 0.05
            out.rod((x, y[3] + 0.1, z), (x, y[4] - 0.1, z), 0.03, rail, sections=8)
    return out


def _car_body(out: Assembly, frame: Frame, heights: Triple, paint: Colour, soft: float) -> None:
    y, width, low = frame
    nose, waist, tail = heights
    tops = [nose * 0.85, nose, waist * 0.96, waist, waist, (waist + tail) / 2, tail, tail * 0.85]
    widths = [0.84, 0.94, 1.0, 1.0, 1.0, 1.0, 0.97, 0.9]
    rings = []
    for at, top, w in zip(y, tops, widths, strict=True):
        outline = rounded_ring(width * w, top - low, soft)
        rings.append(section(outline, "y", at, (0, (top + low) / 2)))
    out.loft(rings, paint)


def _car_cabin(
    out: Assembly, dice: Dice, size: tuple[list[float], float, float, float], colours: tuple[Colour, Colour]
) -> None:
    """Glass between waist and roof, roof skin on top, pillars at the sides."""
    y, width, waist, roof = size
    roof_colour, paint = colours
    lean = dice.between(0.74, 0.88)
    base, top = waist - 0.04, roof - 0.06
    low = np.array(
        [[-width / 2, y[2], base], [width / 2, y[2], base], [width / 2, y[5], base], [-width / 2, y[5], base]]
    )
    high = np.array(
        [
            [-width / 2 * lean, y[3], top],
            [width / 2 * lean, y[3], top],
            [width / 2 * lean, y[4], top],
            [-width / 2 * lean, y[4], top],
        ]
    )
    out.loft([low, high], GLASS)
    skin = rounded_ring(width * lean * 1.03, (y[4] - y[3]) * 1.04, 0.12)
    middle = (0.0, (y[3] + y[4]) / 2)
    out.loft(
        [
            section(skin, "z", top - 0.01, middle),
            section(skin, "z", top + 0.03, middle),
            section(skin * 0.9, "z", roof, middle),
        ],
        roof_colour,
    )
    for k in range(4):
        out.rod(low[k], high[k], 0.055, paint, sections=6)
    pillars = 1 if (y[4] - y[3]) < 1.3 else 2
    for k in range(pillars):
        at = y[3] + (y[4] - y[3]) * (k + 1) / (pillars + 1)
        for sx in (-1, 1):
            out.rod((sx * width / 2, at, base), (sx * width / 2 * lean, at, top), 0.05, paint, sections=6)


def _car_front_and_back(
    out: Assembly, dice: Dice, frame: Frame, heights: Triple, colours: tuple[Colour, Colour]
) -> None:
    y, width, low = frame
    nose, _, tail = heights
    paint, second = colours
    front, back = y[0], y[-1]
    lamp = (0.93, 0.9, 0.72)
    round_lamps, z = dice.chance(0.4), low + (nose - low) * 0.62
    tail_lamp = (width * dice.pick((0.12, 0.2)), 0.1, dice.between(0.1, 0.22))
    for sx in (-1, 1):
        x = sx * width * 0.33
        if round_lamps:
            out.ball((x, front + 0.02, z), (0.13, 0.08, 0.13), lamp, sections=12, levels=6)
        else:
            out.box((x, front + 0.02, z), (width * 0.17, 0.1, 0.13), lamp)
        out.box((x * 1.08, back - 0.02, low + (tail - low) * 0.62), tail_lamp, (0.75, 0.08, 0.08))
    grille = dice.pick(((0.14, 0.14, 0.15), metal(dice)))
    out.box((0, front - 0.005, z - 0.04), (width * dice.between(0.3, 0.45), 0.06, dice.between(0.08, 0.22)), grille)
    bumper = dice.pick((paint, dark(dice), second, shade(paint, 0.7)))
    out.rounded_box((0, front + 0.06, low + 0.1), (width * 0.92, 0.24, 0.16), bumper, radius=0.08)
    out.rounded_box((0, back - 0.06, low + 0.12), (width * 0.94, 0.22, 0.18), bumper, radius=0.08)
    out.box((0, back + 0.01, low + (tail - low) * 0.45), (0.42, 0.05, 0.12), (0.88, 0.87, 0.8))
