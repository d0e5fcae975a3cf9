"""Chairs; they face -y."""

from __future__ import annotations

from .palette import Dice, dark, metal, palette, wood
from .parts import Assembly, Colour, turn


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
        for sx in (-1, 1):
            for sy in (-1, 1):
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
        for k in range(arms):
            tip = turn("z", 90 + 360 * k / arms) @ (reach, 0, 0.05)
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
            (0, 0, tall / 2),
            (w, thick, tall),
            colour,
            axis="y",
            radius=dice.between(0.01, 0.2),
            bevel=thick * 0.3,
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
                (0, -post * 0.5, tall - span / 2),
                (w, thick, span),
                colour,
                axis="y",
                radius=0.05,
                bevel=0.008,
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
