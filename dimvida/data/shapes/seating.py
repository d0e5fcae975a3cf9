"""Chairs, benches and sofas; they face -y, and benches and sofas may look alike from behind or from the side."""

from __future__ import annotations

from .palette import Dice, dark, metal, palette, wood
from .parts import CORNERS, Assembly, Colour, spokes, turn


def chair(dice: Dice) -> Assembly:
    """A seat on four legs, a pedestal, a sled or a wheeled star, with one of several backs."""
    out = Assembly()
    main, second, _ = palette(dice)
    frame = dice.pick((wood, metal, dark))(dice)
    seat_colour = main if dice.chance(0.75) else frame
    back_colour = seat_colour if dice.chance(0.7) else second
    width, depth = dice.between(0.42, 0.62), dice.between(0.4, 0.58)
    height, thick = dice.between(0.4, 0.52), dice.between(0.03, 0.12)
    base = dice.pick(("legs", "pedestal", "sled", "star"), (5, 1.5, 1.5, 2))
    _chair_base(out, dice, base, frame, (width, depth, height - thick))
    round_seat = base != "sled" and dice.chance(0.2)
    if round_seat:
        out.revolve(
            [(0.47 * width, 0), (0.5 * width, thick * 0.5), (0.46 * width, thick)],
            seat_colour,
            centre=(0, 0, height - thick),
        )
    else:
        out.rounded_box(
            (0, 0, height - thick / 2),
            (width, depth, thick),
            seat_colour,
            radius=dice.between(0.01, 0.12),
            bevel=thick * dice.between(0.1, 0.4),
        )
    back_depth = (width if round_seat else depth) / 2
    _chair_back(out, dice, (width, back_depth, height), frame, back_colour)
    if not round_seat and dice.chance(0.4):
        _chair_arms(out, dice, (width, depth, height), frame, second)
    return out


def _chair_base(out: Assembly, dice: Dice, base: str, colour: Colour, size: tuple[float, float, float]) -> None:
    width, depth, top = size
    if base == "legs":
        radius, splay = dice.between(0.014, 0.034), dice.between(0.0, 0.08)
        x, y = width / 2 - 0.04, depth / 2 - 0.04
        sections, taper = dice.pick((4, 10)), dice.between(0.5, 0.85)
        for sx, sy in CORNERS:
            foot, head = (sx * (x + splay), sy * (y + splay), 0), (sx * x, sy * y, top)
            out.rod(foot, head, radius * 1.2 * taper, colour, tip=radius * 1.2, sections=sections)
        if dice.chance(0.4):
            for sx in (-1, 1):
                out.rod((sx * x, -y, top * 0.4), (sx * x, y, top * 0.4), radius * 0.7, colour, sections=8)
    elif base == "sled":
        radius, x, y = dice.between(0.012, 0.022), width / 2 - 0.03, depth / 2
        side = [(y * 0.7, top), (-y, top), (-y, 0.02), (y, 0.02)]
        if dice.chance(0.5):
            side.append(side[0])
        for sx in (-1, 1):
            out.path([(sx * x, py, pz) for py, pz in side], radius, colour)
        out.rod((-x, y, 0.02), (x, y, 0.02), radius, colour, sections=8)
    elif base == "pedestal":
        foot = dice.between(0.18, 0.28)
        out.revolve([(foot, 0), (foot, 0.015), (0.06, 0.05), (0.03, 0.1), (0.03, top - 0.06), (0.08, top)], colour)
    else:
        arms, reach = dice.count(4, 6), dice.between(0.24, 0.32)
        out.rod((0, 0, 0.06), (0, 0, top), 0.03, colour)
        for tip in spokes(arms, (reach, 0, 0.05)):
            out.rod((0, 0, 0.1), tip, 0.026, colour, tip=0.016, sections=8)
            out.ball((tip[0], tip[1], 0.03), (0.03, 0.03, 0.03), (0.12, 0.12, 0.13), sections=10, levels=6)


def _chair_back(out: Assembly, dice: Dice, size: tuple[float, float, float], frame: Colour, colour: Colour) -> None:
    width, y, low = size
    tall, lean = dice.between(0.32, 0.62), dice.between(4, 18)
    style = dice.pick(("solid", "slats", "ladder", "panel", "hoop"), (4, 2, 2, 2, 1))
    back = Assembly()  # stands on its lower edge at the origin, then leans back
    thick = dice.between(0.025, 0.08)
    w = width * dice.between(0.82, 1.0)
    if style == "solid":
        back.rounded_box(
            (0, 0, tall / 2), (w, thick, tall), colour, axis="y", radius=dice.between(0.01, 0.2), bevel=thick * 0.3
        )
    else:
        post = dice.between(0.014, 0.025)
        if style == "hoop":
            bend = [
                (-w / 2, 0, 0),
                (-w / 2, 0, tall * 0.7),
                (-w / 3, 0, tall * 0.95),
                (w / 3, 0, tall * 0.95),
                (w / 2, 0, tall * 0.7),
                (w / 2, 0, 0),
            ]
            back.path(bend, post, frame)
        else:
            for sx in (-1, 1):
                back.rod((sx * (w / 2 - post), 0, -0.03), (sx * (w / 2 - post), 0, tall), post, frame, sections=8)
        if style == "panel":
            span = tall * dice.between(0.3, 0.6)
            back.rounded_box(
                (0, -post * 0.5, tall - span / 2), (w, thick, span), colour, axis="y", radius=0.05, bevel=0.008
            )
        elif style == "ladder":
            rungs = dice.count(2, 5)
            for k in range(rungs):
                back.box((0, 0, tall * (k + 1) / rungs - 0.04), (w - post, 0.02, tall * 0.45 / rungs), colour)
        else:
            bars = dice.count(3, 6)
            back.box((0, 0, tall * 0.9), (w, 0.028, tall * 0.14), colour)
            for k in range(bars):
                x = (k + 1) / (bars + 1) * w - w / 2
                back.rod((x, 0, 0), (x, 0, tall * 0.9), post * 0.7, frame, sections=6)
    out.merge(back, offset=(0, y - 0.025, low - 0.01), rotation=turn("x", -lean))


def _chair_arms(out: Assembly, dice: Dice, size: tuple[float, float, float], frame: Colour, pad: Colour) -> None:
    width, depth, seat = size
    rise, reach = dice.between(0.16, 0.25), dice.between(0.5, 0.95) * depth
    padded = dice.chance(0.5)
    for sx in (-1, 1):
        x = sx * (width / 2 + 0.015)
        out.box((x, depth / 2 - reach / 2, seat + rise), (0.05, reach, 0.03), pad if padded else frame)
        front = depth / 2 - reach + 0.03
        out.rod((x, front, seat - 0.03), (x, front, seat + rise), 0.016, frame, sections=8)


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
    for sx, sy in CORNERS:
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
