"""Tables, cabinets and lamps."""

from __future__ import annotations

from collections.abc import Sequence

from .palette import Dice, dark, light, metal, palette, shade, wood
from .parts import CORNERS, Assembly, Colour, Point, spokes, turn


def table(dice: Dice) -> Assembly:
    """A round or rectangular top on legs, a pedestal, panels or a trestle; some are desks with drawers."""
    out = Assembly()
    main, second, accent = palette(dice)
    top_colour = wood(dice) if dice.chance(0.55) else main
    legs = dice.pick((top_colour, metal(dice), dark(dice), second))
    kind = dice.pick(("plain", "round", "desk", "low"), (4, 2.5, 2, 2))
    length, depth = dice.between(0.9, 1.9), dice.between(0.6, 0.95)
    height, thick = dice.between(0.68, 0.8), dice.between(0.025, 0.07)
    if kind == "low":
        height, depth = dice.between(0.32, 0.46), dice.between(0.5, 0.8)
    if kind == "round":
        radius = dice.between(0.4, 0.7)
        length = depth = radius * 1.3
        out.revolve(
            [(radius * 0.96, height - thick), (radius, height - thick / 2), (radius, height)], top_colour, sections=28
        )
    else:
        out.rounded_box(
            (0, 0, height - thick / 2), (length, depth, thick), top_colour, radius=dice.pick((0.01, 0.06, depth * 0.3))
        )
    base = dice.pick(("legs", "pedestal", "panels", "trestle"), (5, 2 if kind == "round" else 0.5, 1, 1))
    if kind == "round" and base == "panels":
        base = "pedestal"
    if kind == "desk":
        _desk_drawers(out, dice, (length, depth, height - thick), top_colour, second, accent)
        base = dice.pick(("legs", "panels"))
    _table_base(out, dice, base, legs, (length, depth, height - thick))
    return out


def _table_base(out: Assembly, dice: Dice, base: str, colour: Colour, size: tuple[float, float, float]) -> None:
    length, depth, top = size
    if base == "legs":
        radius, splay = dice.between(0.02, 0.05), dice.pick((0.0, 0.0, 0.06, 0.12))
        x, y = length / 2 - 0.07, depth / 2 - 0.07
        sections, taper = dice.pick((4, 10)), dice.between(0.5, 1.0)
        for sx, sy in CORNERS:
            out.rod(
                (sx * (x + splay * 0.6), sy * (y + splay * 0.3), 0),
                (sx * (x - splay), sy * (y - splay), top),
                radius * taper,
                colour,
                tip=radius,
                sections=sections,
            )
        if dice.chance(0.5):
            apron = dice.between(0.05, 0.12)
            out.box((0, 0, top - apron / 2), (2 * (x - splay), 2 * (y - splay), apron), colour)
        if dice.chance(0.2):
            out.box((0, 0, top * 0.3), (2 * x, 2 * y, 0.025), colour)
    elif base == "pedestal":
        foot, stem = dice.between(0.22, 0.36), dice.between(0.035, 0.08)
        if dice.chance(0.5):
            out.revolve(
                [(foot, 0), (foot, 0.02), (stem * 1.4, 0.07), (stem, 0.2), (stem, top - 0.1), (stem * 2.5, top)], colour
            )
        else:
            out.rod((0, 0, 0.1), (0, 0, top), stem, colour)
            for tip in spokes(dice.count(3, 5), (foot * 1.15, 0, 0.02)):
                out.rod((0, 0, 0.2), tip, stem * 0.7, colour, tip=0.022, sections=8)
    elif base == "panels":
        for sx in (-1, 1):
            out.box((sx * (length / 2 - 0.06), 0, top / 2), (0.045, depth * 0.9, top), colour)
        if dice.chance(0.6):
            out.box((0, depth * 0.38, top * 0.62), (length - 0.12, 0.025, top * 0.6), colour)
    else:
        for sx in (-1, 1):
            x = sx * length * 0.36
            for sy in (-1, 1):
                out.rod((x, sy * depth * 0.42, 0), (x, -sy * depth * 0.3, top), 0.03, colour, sections=4)
        out.box((0, 0, top * 0.48), (length * 0.72, 0.05, 0.06), colour)


def _desk_drawers(out: Assembly, dice: Dice, size: Point, body: Colour, fronts: Colour, knobs: Colour) -> None:
    length, depth, top = size
    for side in dice.pick(((-1,), (1,), (-1, 1))):
        width, rows = length * dice.between(0.22, 0.3), dice.count(2, 4)
        low = dice.pick((0.04, top * 0.45))
        x = side * (length / 2 - width / 2 - 0.04)
        out.box((x, 0, (low + top) / 2), (width, depth * 0.9, top - low), body)
        pitch = (top - low) / rows
        for k in range(rows):
            z = low + pitch * (k + 0.5)
            out.box((x, -depth * 0.45 - 0.008, z), (width * 0.9, 0.02, pitch * 0.82), fronts)
            out.box((x, -depth * 0.45 - 0.025, z), (width * 0.3, 0.02, 0.02), knobs)


def cabinet(dice: Dice) -> Assembly:
    """Doors, drawers and open shelves in front; the sides are plain and so is the back."""
    out = Assembly()
    main, second, accent = palette(dice)
    body = wood(dice) if dice.chance(0.5) else main
    fronts = dice.pick((body, shade(body, 1.2), shade(body, 0.75), second, light(dice)))
    knobs = dice.pick((metal(dice), dark(dice), accent))
    kind = dice.pick(("tall", "wide", "cube"), (4, 4, 3))
    width, height = {
        "tall": (dice.between(0.6, 1.1), dice.between(1.4, 2.1)),
        "wide": (dice.between(1.2, 1.9), dice.between(0.55, 0.9)),
        "cube": (dice.between(0.6, 0.9), dice.between(0.6, 0.95)),
    }[kind]
    depth = dice.between(0.36, 0.62)
    foot = dice.pick((0.0, 0.05, 0.12))
    out.box((0, 0.01, foot + (height - foot) / 2), (width, depth, height - foot), body)
    if dice.chance(0.6):
        out.box((0, 0, height + 0.015), (width + 0.06, depth + 0.06, 0.04), dice.pick((body, second, shade(body, 0.8))))
    if foot:
        for sx, sy in CORNERS:
            out.box((sx * (width / 2 - 0.06), sy * (depth / 2 - 0.06), foot / 2), (0.06, 0.06, foot + 0.01), dark(dice))
    out.box(
        (0, depth / 2 + 0.012, foot + (height - foot) / 2),
        (width * 0.94, 0.02, (height - foot) * 0.95),
        shade(body, 0.8),
    )
    _cabinet_front(out, dice, (width, -depth / 2 + 0.01, foot, height), (fronts, knobs, body))
    return out


def _cabinet_front(out: Assembly, dice: Dice, size: Point, colours: tuple[Colour, Colour, Colour]) -> None:
    """A grid of columns, each cut into doors, drawers and open compartments."""
    width, y, low, high = size
    columns = max(1, min(4, round(width / dice.between(0.32, 0.6))))
    pitch = width / columns
    layouts = [dice.pick(("door", "drawers", "mixed", "shelves"), (4, 3, 3, 1.5)) for _ in range(2)]
    for column in range(columns):
        layout = layouts[min(column, columns - 1 - column) % 2]
        x = (column + 0.5) * pitch - width / 2
        hinge = -1 if column % 2 else 1
        if layout == "door":
            cells = [("door", low, high)]
        elif layout == "drawers":
            rows = max(2, round((high - low) / 0.24))
            cells = [
                ("drawer", low + (high - low) * k / rows, low + (high - low) * (k + 1) / rows) for k in range(rows)
            ]
        elif layout == "mixed":
            middle = low + (high - low) * 0.55
            cells = [
                ("door", low, middle),
                ("drawer", middle, (middle + high) / 2),
                ("drawer", (middle + high) / 2, high),
            ]
        else:
            rows = max(2, round((high - low) / 0.38))
            cells = [("shelf", low + (high - low) * k / rows, low + (high - low) * (k + 1) / rows) for k in range(rows)]
        for kind, bottom, top in cells:
            _cabinet_cell(out, kind, (x, y, pitch * 0.92), (bottom, top), hinge, colours)


def _cabinet_cell(
    out: Assembly, kind: str, at: Point, span: tuple[float, float], hinge: int, colours: Sequence[Colour]
) -> None:
    x, y, width = at
    fronts, knobs, body = colours
    middle, tall = sum(span) / 2, (span[1] - span[0]) * 0.92
    if kind == "shelf":  # a dark recess is how an open compartment looks from outside
        out.box((x, y - 0.004, middle), (width, 0.012, tall), shade(body, 0.35))
        return
    out.box((x, y - 0.012, middle), (width, 0.026, tall), fronts)
    if kind == "door":
        out.box((x + hinge * width * 0.38, y - 0.04, middle), (0.03, 0.03, min(0.25, tall * 0.3)), knobs)
    else:
        out.box((x, y - 0.04, middle), (width * 0.35, 0.03, 0.03), knobs)


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
        for x, y, _ in spokes(arms, (0.3 if arms > 1 else 0.0, 0, 0)):
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
            [(radius * narrow, 0), (radius * narrow, 0.004)], shade(colour, 0.8), centre=(x, y, z + high - 0.02)
        )
