"""Lamps: floor, table, desk, arc and hanging ones."""

from __future__ import annotations

from .palette import Dice, dark, metal, palette, shade, wood
from .parts import Assembly, Colour, Point, turn


def lamp(dice: Dice) -> Assembly:
    """Floor, table, desk and hanging lamps; the shade's shape and colour vary most."""
    out = Assembly()
    main, second, accent = palette(dice)
    stand = dice.pick((metal(dice), dark(dice), wood(dice), second))
    kind = dice.pick(("table", "floor", "desk", "hanging", "arc"), (4, 3, 2, 2, 1))
    if kind == "table":
        _table_lamp(out, dice, (main, stand if dice.chance(0.5) else accent))
    elif kind == "floor":
        height, stem = dice.between(1.1, 1.6), dice.between(0.012, 0.025)
        _lamp_foot(out, dice, stand, dice.between(0.13, 0.2))
        out.rod((0, 0, 0), (0, 0, height), stem, stand, sections=10)
        _shade(out, dice, main, (0, 0, height), dice.between(0.16, 0.26), dice.between(0.2, 0.34))
    elif kind == "desk":
        _lamp_foot(out, dice, stand, dice.between(0.1, 0.15))
        elbow, head = (
            (0, dice.between(0.08, 0.2), dice.between(0.28, 0.4)),
            (0, -dice.between(0.08, 0.25), dice.between(0.42, 0.6)),
        )
        out.path([(0, 0.02, 0.01), elbow, head], 0.014, stand)
        cone = Assembly()
        radius, tall = dice.between(0.08, 0.13), dice.between(0.1, 0.17)
        cone.shell([(radius, -tall), (radius * 0.4, 0), (0.02, 0.03)], main)
        cone.ball((0, 0, -tall * 0.5), (0.045, 0.045, 0.045), (0.95, 0.9, 0.65))
        out.merge(cone, offset=head, rotation=turn("x", -dice.between(15, 50)))
    elif kind == "hanging":
        drop = dice.between(0.25, 0.6)
        out.rod((0, 0, 0), (0, 0, drop), 0.01, stand, sections=8)
        out.revolve([(0.07, drop), (0.07, drop + 0.02), (0.03, drop + 0.05)], stand)
        arms = dice.pick((1, 3, 5), (3, 1, 1))
        small = 0.6 if arms > 1 else 1.0
        hood = Assembly()
        _shade(hood, dice, main, (0, 0, 0), small * dice.between(0.14, 0.24), small * dice.between(0.12, 0.26))
        for k in range(arms):
            x, y, _ = turn("z", 90 + 360 * k / arms) @ (0.3 if arms > 1 else 0.0, 0, 0)
            out.rod((0, 0, 0.04), (x, y, 0), 0.01, stand, sections=8)
            out.merge(hood, offset=(x, y, 0))
    else:
        height, reach = dice.between(1.2, 1.5), dice.between(0.4, 0.7)
        _lamp_foot(out, dice, stand, dice.between(0.14, 0.2), y=reach / 2)
        out.path(
            [
                (0, reach / 2, 0),
                (0, reach / 2, height * 0.75),
                (0, reach * 0.35, height * 0.95),
                (0, 0, height * 1.03),
                (0, -reach * 0.4, height * 0.98),
                (0, -reach / 2, height * 0.88),
            ],
            0.016,
            stand,
        )
        _shade(out, dice, main, (0, -reach / 2, height * 0.86), dice.between(0.13, 0.2), dice.between(0.12, 0.2))
    return out


def _table_lamp(out: Assembly, dice: Dice, colours: tuple[Colour, Colour]) -> None:
    shade_colour, body = colours
    height, radius = dice.between(0.2, 0.42), dice.between(0.05, 0.13)
    style = dice.pick(("vase", "balls", "column", "box"))
    if style == "vase":
        belly = dice.between(0.25, 0.6)
        out.revolve(
            [
                (radius * 0.7, 0),
                (radius * 0.75, 0.02),
                (radius, height * belly),
                (radius * 0.6, height * 0.8),
                (radius * 0.25, height),
            ],
            body,
        )
    elif style == "balls":
        count = dice.count(2, 3)
        for k in range(count):
            r = height / count / 2 * 1.08
            out.ball((0, 0, height * (k + 0.5) / count), (r, r, r), body)
        out.revolve([(radius, 0), (radius, 0.02)], body)
    elif style == "column":
        _lamp_foot(out, dice, body, radius * 1.3)
        out.rod((0, 0, 0), (0, 0, height), radius * 0.35, body)
    else:
        out.box((0, 0, height / 2), (radius * 1.7, radius * 1.7, height), body, top=(dice.between(0.5, 1),) * 2)
    out.rod((0, 0, height * 0.9), (0, 0, height + 0.1), 0.012, (0.3, 0.3, 0.3), sections=8)
    _shade(out, dice, shade_colour, (0, 0, height + 0.06), dice.between(0.14, 0.24), dice.between(0.14, 0.26))


def _lamp_foot(out: Assembly, dice: Dice, colour: Colour, radius: float, y: float = 0.0) -> None:
    if dice.chance(0.75):
        out.revolve([(radius, 0), (radius, 0.02), (radius * 0.2, 0.045)], colour, centre=(0, y, 0))
    else:
        out.box((0, y, 0.015), (radius * 1.8, radius * 1.8, 0.03), colour)


def _shade(out: Assembly, dice: Dice, colour: Colour, at: Point, radius: float, tall: float) -> None:
    """A shade around ``at``: cone, drum, bell, globe or a square one."""
    x, y, z = at
    style = dice.pick(("cone", "drum", "bell", "globe", "square"), (4, 3, 2, 1.5, 1))
    low, high = -tall * 0.5, tall * 0.5
    if style == "globe":
        out.ball(at, (radius * 0.8, radius * 0.8, radius * 0.8 * dice.between(0.8, 1.1)), colour)
    elif style == "square":
        out.box(at, (radius * 1.8, radius * 1.8, tall), colour, top=(dice.between(0.4, 0.95),) * 2)
    else:
        narrow = {"cone": dice.between(0.35, 0.7), "drum": dice.between(0.85, 1.0), "bell": 0.3}[style]
        middle = {"cone": (1 + narrow) / 2, "drum": (1 + narrow) / 2, "bell": 0.5}[style]
        out.shell([(radius, low), (radius * middle, 0.0), (radius * narrow, high)], colour, centre=(x, y, z))
        out.revolve(
            [(radius * narrow, 0), (radius * narrow, 0.004)],
            shade(colour, 0.8),
            centre=(x, y, z + high - 0.02),
        )
