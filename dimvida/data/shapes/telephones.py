"""Telephones: keys and screens in front, nearly plain from behind."""

from __future__ import annotations

import math

from .palette import Dice, dark, light, metal, palette, shade, vivid
from .parts import Assembly, Colour, turn


def telephone(dice: Dice) -> Assembly:
    """A mobile phone, with or without keys, a flip phone, or a desk telephone with its handset."""
    out = Assembly()
    main, second, accent = palette(dice)
    case = dice.pick((dark(dice), main, metal(dice), light(dice)), (3, 4, 1.5, 1))
    screen = dice.pick(((0.3, 0.5, 0.7), vivid(dice), dark(dice), light(dice)))
    keys = dice.pick((light(dice), accent, second, shade(case, 0.55)))
    kind = dice.pick(("slab", "keys", "flip", "desk", "handset"), (4, 4, 2, 2.5, 1.5))
    if kind == "desk":
        _desk_telephone(out, dice, (case, second, keys))
        return out
    if kind == "handset":
        _cordless(out, dice, (case, screen, keys, second))
        return out
    width = dice.between(0.42, 0.56)
    height, thick = width * dice.between(1.75, 2.5), dice.between(0.06, 0.14)
    radius, bevel = dice.between(0.02, 0.14), thick * dice.between(0.1, 0.35)
    if kind == "flip":
        half = height * 0.55
        out.rounded_box((0, 0, half / 2), (width, thick, half), case, axis="y", radius=radius, bevel=bevel)
        _keypad(out, dice, (width * 0.8, half * 0.75), (-thick / 2, half * 0.45), keys)
        lid = Assembly()
        lid.rounded_box(
            (0, 0, half / 2), (width, thick * 0.7, half), shade(case, 0.9), axis="y", radius=radius, bevel=bevel
        )
        lid.box((0, -thick * 0.35, half * 0.52), (width * 0.78, 0.014, half * 0.66), screen)
        lid.box((0, thick * 0.35, half * 0.6), (width * 0.45, 0.02, half * 0.28), second)
        out.merge(lid, offset=(0, 0.02, half), rotation=turn("x", dice.between(-10, 28)))
        return out
    out.rounded_box((0, 0, height / 2), (width, thick, height), case, axis="y", radius=radius, bevel=bevel)
    front = -thick / 2
    part = dice.between(0.78, 0.9) if kind == "slab" else dice.between(0.32, 0.48)
    middle = 0.5 if kind == "slab" else 0.93 - part / 2
    out.box((0, front, height * middle), (width * 0.86, 0.014, height * part), screen)
    if kind == "keys":
        _keypad(out, dice, (width * 0.82, height * (0.86 - part)), (front, height * (0.9 - part) / 2), keys)
    elif dice.chance(0.6):
        out.revolve(
            [(width * 0.08, 0), (width * 0.08, 0.012)],
            keys,
            centre=(0, front, height * (1 - part) / 4),
            rotation=turn("x", 90),
        )
    if kind == "keys" and dice.chance(0.35):
        out.rod(
            (width * 0.34, 0.01, height * 0.9),
            (width * 0.34, 0.01, height * dice.between(1.1, 1.3)),
            0.035,
            case,
            tip=0.025,
        )
    _phone_back(out, dice, (width, thick, height), second)
    return out


def _phone_back(out: Assembly, dice: Dice, size: tuple[float, float, float], colour: Colour) -> None:
    width, thick, height = size
    style = dice.pick(("camera", "cover", "plain"))
    if style == "camera":
        x = dice.pick((-0.25, 0.0, 0.25)) * width
        out.revolve(
            [(width * 0.11, 0), (width * 0.1, 0.02)],
            (0.12, 0.12, 0.14),
            centre=(x, thick / 2, height * 0.86),
            rotation=turn("x", -90),
        )
    elif style == "cover":
        out.box((0, thick / 2, height * 0.36), (width * 0.8, 0.014, height * 0.55), colour)


def _keypad(out: Assembly, dice: Dice, size: tuple[float, float], at: tuple[float, float], colour: Colour) -> None:
    """Keys on a face towards -y; ``at`` is (y, middle z)."""
    width, height = size
    columns, rows = 3, dice.count(3, 5)
    for row in range(rows):
        for column in range(columns):
            x = ((column + 0.5) / columns - 0.5) * width
            z = at[1] + ((row + 0.5) / rows - 0.5) * height
            out.box((x, at[0] - 0.004, z), (width / columns * 0.72, 0.024, height / rows * 0.64), colour)


def _desk_telephone(out: Assembly, dice: Dice, colours: tuple[Colour, Colour, Colour]) -> None:
    case, grip, keys = colours
    width, depth = dice.between(0.5, 0.7), dice.between(0.55, 0.75)
    low, high = dice.between(0.08, 0.14), dice.between(0.22, 0.36)
    outline = [(-depth / 2, 0), (depth / 2, 0), (depth / 2, high * 0.8), (depth * 0.15, high), (-depth / 2, low)]
    out.prism(outline, "x", (-width / 2, width / 2), case)
    classic = dice.chance(0.5)
    slope = turn("x", math.degrees(math.atan2(high - low, depth * 0.65)))
    face = Assembly()  # lies on the sloped top, its z along the surface normal
    if classic:
        face.revolve([(width * 0.3, 0), (width * 0.3, 0.03), (width * 0.1, 0.035)], keys)
        face.revolve([(width * 0.12, 0.02), (width * 0.1, 0.05)], grip)
    else:
        for row in range(4):
            for column in range(3):
                face.box(
                    ((column - 1) * width * 0.17, (row - 1.5) * depth * 0.12, 0.012),
                    (width * 0.12, depth * 0.08, 0.03),
                    keys,
                )
    out.merge(face, offset=(0 if classic else width * 0.18, -depth * 0.17, (low + high) / 2), rotation=slope)
    handset = Assembly()
    colour = grip if dice.chance(0.6) else case
    reach = width * 0.62 if classic else depth * 0.48
    handset.path([(-reach, 0, 0), (-reach * 0.6, 0, 0.06), (reach * 0.6, 0, 0.06), (reach, 0, 0)], 0.05, colour)
    for sx in (-1, 1):
        handset.rod((sx * reach * 0.92, 0, 0.02), (sx * reach * 0.92, 0, -0.06), 0.085, colour, sections=14)
    if classic:
        out.merge(handset, offset=(0, depth * 0.28, high + 0.06))
    else:
        out.merge(handset, offset=(-width * 0.32, 0, (low + high) / 2 + 0.1), rotation=slope @ turn("z", 90))


def _cordless(out: Assembly, dice: Dice, colours: tuple[Colour, Colour, Colour, Colour]) -> None:
    case, screen, keys, cradle = colours
    width, height, thick = dice.between(0.2, 0.28), dice.between(0.75, 1.0), dice.between(0.1, 0.15)
    phone = Assembly()
    phone.rounded_box((0, 0, height / 2), (width, thick, height), case, axis="y", radius=0.06, bevel=0.03)
    phone.box((0, -thick / 2, height * 0.75), (width * 0.7, 0.014, height * 0.2), screen)
    _keypad(phone, dice, (width * 0.74, height * 0.4), (-thick / 2, height * 0.38), keys)
    if dice.chance(0.5):
        phone.rod((width * 0.3, 0, height * 0.95), (width * 0.3, 0, height * 1.2), 0.03, case, tip=0.022)
    out.rounded_box(
        (0, 0.05, 0.05), (width * dice.between(1.4, 2.0), dice.between(0.3, 0.45), 0.1), cradle, radius=0.08, bevel=0.03
    )
    out.merge(phone, offset=(0, 0, 0.05), rotation=turn("x", -dice.between(4, 16)))
