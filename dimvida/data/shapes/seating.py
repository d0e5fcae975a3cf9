"""Benches and sofas; they face -y and may look alike from behind or from the side."""

from __future__ import annotations

from .palette import Dice, dark, metal, palette, wood
from .parts import Assembly, Colour, turn


def bench(dice: Dice) -> Assembly:
    """A long seat of planks, slats or stone, with or without a back."""
    out = Assembly()
    main, second, _ = palette(dice)
    seat_colour = wood(dice) if dice.chance(0.55) else main
    frame = dice.pick((metal(dice), dark(dice), seat_colour, second))
    length, depth = dice.between(1.1, 2.0), dice.between(0.34, 0.55)
    height, thick = dice.between(0.38, 0.5), dice.between(0.03, 0.08)
    slats = dice.count(1, 5)
    for k in range(slats):
        pitch = depth / slats
        y = -depth / 2 + pitch * (k + 0.5)
        out.box((0, y, height - thick / 2), (length, pitch * (0.82 if slats > 1 else 1.0), thick), seat_colour)
    _bench_base(out, dice, frame, (length, depth, height - thick))
    backed = dice.chance(0.65)
    if backed:
        _bench_back(out, dice, frame, seat_colour, (length, depth, height))
    if backed and dice.chance(0.6):
        rise = dice.between(0.16, 0.24)
        for sx in (-1, 1):
            x = sx * (length / 2 - 0.03)
            out.box((x, 0, height + rise), (0.06, depth, 0.03), frame)
            out.box((x, -depth / 2 + 0.04, height + rise / 2), (0.04, 0.04, rise), frame)
    return out


def _bench_base(out: Assembly, dice: Dice, colour: Colour, size: tuple[float, float, float]) -> None:
    length, depth, top = size
    style = dice.pick(("posts", "slabs", "trestle", "pedestals"), (3, 2, 2, 1))
    x = length / 2 * dice.between(0.7, 0.94)
    places = (-x, x) if length < 1.6 or dice.chance(0.5) else (-x, 0.0, x)
    post = dice.between(0.035, 0.07)
    for px in places:
        if style == "posts":
            for sy in (-1, 1):
                out.box((px, sy * (depth / 2 - 0.05), top / 2), (post, post, top), colour)
            out.box((px, 0, top - 0.03), (post * 0.8, depth * 0.9, 0.05), colour)
        elif style == "slabs":
            out.box((px, 0, top / 2), (0.06, depth * 0.92, top), colour)
        elif style == "trestle":
            for sy in (-1, 1):
                out.rod((px, sy * depth * 0.55, 0), (px, sy * depth * 0.2, top), 0.026, colour, sections=8)
            out.box((px, 0, top * 0.5), (0.04, depth * 0.7, 0.04), colour)
        else:
            out.box((px, 0, top / 2), (0.22, depth * 0.7, top), colour, top=(1.2, 1.2))


def _bench_back(out: Assembly, dice: Dice, frame: Colour, colour: Colour, size: tuple[float, float, float]) -> None:
    length, depth, seat = size
    tall = dice.between(0.3, 0.48)
    back = Assembly()
    rails = dice.pick((0, 1, 2, 3, 4))
    if rails:
        for k in range(rails):
            back.box((0, -0.02, tall * (k + 0.65) / rails), (length, 0.03, tall * 0.6 / rails), colour)
    else:
        bars = dice.count(6, 12)
        back.box((0, 0, tall), (length, 0.05, 0.06), colour)
        for k in range(bars):
            px = ((k + 0.5) / bars - 0.5) * length * 0.94
            back.box((px, 0, tall / 2), (0.025, 0.025, tall), colour)
    for sx in (-1, 1):
        back.box((sx * length * 0.44, 0.012, tall / 2 - 0.02), (0.05, 0.04, tall + 0.04), frame)
    out.merge(back, offset=(0, depth / 2 - 0.02, seat - 0.02), rotation=turn("x", -dice.between(3, 16)))


def sofa(dice: Dice) -> Assembly:
    """One to four seats, box or rolled arms, sometimes a chaise."""
    out = Assembly()
    main, second, accent = palette(dice)
    seats = dice.pick((1, 2, 3, 4), (1.5, 3, 4, 1))
    length = 0.6 * seats + dice.between(0.1, 0.3)
    depth, seat = dice.between(0.75, 1.0), dice.between(0.34, 0.46)
    back_top, soft = dice.between(0.68, 0.98), dice.between(0.02, 0.07)
    foot = dice.between(0.02, 0.14)
    cushion_colour = main if dice.chance(0.6) else second
    out.rounded_box((0, 0, foot + (seat - 0.1) / 2), (length, depth, seat - 0.1), main, radius=0.04, bevel=0.02)
    thick = dice.between(0.14, 0.26)
    tilt = turn("x", -dice.between(0, 10))
    out.rounded_box(
        (0, depth / 2 - thick / 2, (foot + back_top) / 2),
        (length, thick, back_top - foot),
        main,
        axis="x",
        radius=soft * 1.5,
        bevel=soft * 0.6,
    )
    gap, pitch = 0.012, length / seats
    tall = (back_top - seat) * dice.between(0.85, 1.1)
    for k in range(seats):
        x = (k + 0.5) * pitch - length / 2
        out.rounded_box(
            (x, -thick / 2 - 0.01, seat - 0.02),
            (pitch - gap, depth - thick + 0.02, 0.16),
            cushion_colour,
            radius=0.05,
            bevel=soft,
        )
        out.rounded_box(
            (x, depth / 2 - thick - 0.07, seat + 0.04 + tall / 2),
            (pitch - gap, 0.16, tall),
            cushion_colour,
            axis="y",
            radius=0.05,
            bevel=soft,
            rotation=tilt,
        )
    if dice.chance(0.85):
        _sofa_arms(out, dice, main, (length, depth, seat, foot), back_top)
    if seats >= 2 and dice.chance(0.2):
        side, reach = dice.pick((-1, 1)), dice.between(0.45, 0.7)
        x = side * (length / 2 - length / seats / 2)
        out.rounded_box(
            (x, -depth / 2 - reach / 2 + 0.03, (foot + seat) / 2),
            (length / seats, reach + 0.06, seat - foot),
            cushion_colour,
            radius=0.05,
            bevel=soft,
        )
    if dice.chance(0.4):
        for sx in dice.pick(((-1,), (1,), (-1, 1))):
            out.rounded_box(
                (sx * (length / 2 - 0.2), -0.08, seat + 0.22),
                (0.34, 0.12, 0.32),
                accent,
                axis="y",
                radius=0.06,
                bevel=0.04,
                rotation=turn("x", -25),
            )
    legs = dice.pick((dark, wood, metal))(dice)
    for sx in (-1, 1):
        for sy in (-1, 1):
            out.rod(
                (sx * (length / 2 - 0.08), sy * (depth / 2 - 0.08), 0),
                (sx * (length / 2 - 0.1), sy * (depth / 2 - 0.1), foot + 0.08),
                0.02,
                legs,
                tip=0.035,
                sections=8,
            )
    return out


def _sofa_arms(out: Assembly, dice: Dice, colour: Colour, size: tuple[float, float, float, float], back: float) -> None:
    length, depth, seat, foot = size
    style = dice.pick(("box", "rolled", "slope"), (3, 2, 2))
    wide, top = dice.between(0.1, 0.24), min(back, seat + dice.between(0.12, 0.3))
    for sx in (-1, 1):
        x = sx * (length / 2 + wide / 2 - 0.01)
        if style == "slope":
            low = seat + 0.08
            outline = [(-depth / 2, foot), (depth / 2, foot), (depth / 2, back * 0.97), (-depth / 2, low)]
            out.prism(outline, "x", (x - wide / 2, x + wide / 2), colour)
            continue
        out.rounded_box((x, 0, (foot + top) / 2), (wide, depth, top - foot), colour, radius=0.05, bevel=0.02, axis="y")
        if style == "rolled":
            radius = wide * 0.62
            out.rod((x, -depth / 2 - 0.01, top - 0.02), (x, depth / 2, top - 0.02), radius, colour, sections=16)
