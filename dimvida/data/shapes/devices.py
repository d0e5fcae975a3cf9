"""Displays and loudspeakers: telling in front, plain boxes from behind."""

from __future__ import annotations

from collections.abc import Sequence

from .palette import Dice, dark, light, metal, palette, shade, vivid, wood
from .parts import Assembly, Colour, rounded_ring, section, turn


def display(dice: Dice) -> Assembly:
    """A flat or tube monitor, a television or a laptop."""
    out = Assembly()
    main, second, accent = palette(dice)
    case = dice.pick((dark(dice), metal(dice), light(dice), main), (3, 2, 2, 3))
    screen = dice.pick((dark(dice), vivid(dice), second, (0.25, 0.45, 0.7)), (2, 2, 2, 2))
    kind = dice.pick(("flat", "tube", "television", "laptop"), (5, 2.5, 2, 1.5))
    width = dice.between(0.42, 0.72)
    height = width * dice.between(0.52, 0.82)
    if kind == "laptop":
        _laptop(out, dice, (width, height), (case, screen, second))
        return out
    bezel = dice.between(0.015, 0.05)
    panel = Assembly()  # its screen faces -y, its middle is at the origin
    if kind == "tube":
        depth = width * dice.between(0.6, 0.9)
        panel.rounded_box((0, 0.06, 0), (width, 0.12, height), case, axis="y", radius=0.03, bevel=0.01)
        outline = rounded_ring(width * 0.94, height * 0.94, 0.04)
        shrink = dice.between(0.45, 0.7)
        panel.loft(
            [
                section(outline, "y", 0.1),
                section(outline * 0.96, "y", depth * 0.5),
                section(outline * shrink, "y", depth),
            ],
            shade(case, 0.9),
        )
    else:
        thick = dice.between(0.02, 0.06)
        panel.rounded_box(
            (0, thick / 2, 0), (width, thick, height), case, axis="y", radius=dice.between(0.005, 0.04), bevel=0.005
        )
        hump = dice.between(0.4, 0.8)
        panel.box((0, thick + 0.015, -height * 0.08), (width * hump, 0.04, height * hump), shade(case, 0.8))
    panel.box((0, -0.003, bezel * 0.25), (width - 2 * bezel, 0.012, height - 2 * bezel - bezel * 0.5), screen)
    if dice.chance(0.5):
        _screen_picture(panel, dice, (width - 2 * bezel, height - 2 * bezel), (accent, light(dice)))
    if dice.chance(0.5):
        panel.box((width * 0.4, -0.006, -height / 2 + bezel * 0.45), (0.03, 0.01, 0.012), accent)
    rise = height / 2 + (dice.between(0.06, 0.16) if kind == "flat" else dice.between(0.02, 0.07))
    out.merge(panel, offset=(0, -0.02, rise), rotation=turn("x", -dice.between(0, 9)))
    _display_stand(out, dice, kind, case if dice.chance(0.7) else metal(dice), (width, rise))
    return out


def _screen_picture(panel: Assembly, dice: Dice, size: tuple[float, float], colours: tuple[Colour, Colour]) -> None:
    width, height = size
    if dice.chance(0.5):
        panel.box((0, -0.008, height * 0.42), (width * 0.98, 0.008, height * 0.12), colours[0])
    for k in range(dice.count(1, 3)):
        w, h = width * dice.between(0.2, 0.45), height * dice.between(0.2, 0.45)
        x, z = dice.between(-0.25, 0.25) * width, dice.between(-0.25, 0.1) * height
        panel.box((x, -0.009 - 0.002 * k, z), (w, 0.008, h), colours[k % 2])


def _display_stand(out: Assembly, dice: Dice, kind: str, colour: Colour, size: tuple[float, float]) -> None:
    width, rise = size
    foot, deep = width * dice.between(0.3, 0.6), dice.between(0.14, 0.24)
    if kind == "tube":
        out.revolve(
            [(foot * 0.55, 0), (foot * 0.5, 0.02), (foot * 0.3, 0.04), (foot * 0.3, 0.12)], colour, centre=(0, 0.12, 0)
        )
        return
    if kind == "television" or dice.chance(0.15):
        for sx in (-1, 1):
            x = sx * width * 0.34
            out.rod((x, -deep / 2, 0.01), (x, 0.02, rise * 0.5), 0.01, colour, sections=8)
            out.rod((x, deep / 2, 0.01), (x, 0.02, rise * 0.5), 0.01, colour, sections=8)
        return
    if dice.chance(0.5):
        out.rounded_box((0, 0.03, 0.009), (foot, deep, 0.018), colour, radius=dice.between(0.01, 0.08))
    else:
        out.revolve([(foot * 0.5, 0), (foot * 0.48, 0.015), (0.03, 0.03)], colour, centre=(0, 0.03, 0))
    if dice.chance(0.7):
        out.box((0, 0.045, rise * 0.5), (dice.between(0.03, 0.1), 0.03, rise), colour)
    else:
        for sx in (-1, 1):
            out.rod((sx * 0.05, 0.06, 0.01), (sx * 0.02, 0.04, rise), 0.012, colour, sections=8)


def _laptop(out: Assembly, dice: Dice, size: tuple[float, float], colours: tuple[Colour, Colour, Colour]) -> None:
    width, height = size
    case, screen, keys = colours
    depth = height * 0.95
    out.rounded_box((0, -depth / 2, 0.012), (width, depth, 0.024), case, radius=0.02)
    out.box((0, -depth * 0.4, 0.026), (width * 0.88, depth * 0.48, 0.008), shade(keys, 0.6))
    out.box((0, -depth * 0.82, 0.026), (width * 0.3, depth * 0.22, 0.006), shade(case, 0.75))
    lid = Assembly()
    lid.rounded_box((0, 0.008, height / 2), (width, 0.016, height), case, axis="y", radius=0.02)
    lid.box((0, -0.002, height / 2), (width * 0.92, 0.01, height * 0.88), screen)
    out.merge(lid, offset=(0, 0, 0.02), rotation=turn("x", -dice.between(5, 35)))


def loudspeaker(dice: Dice) -> Assembly:
    """A box or a column with one to four round drivers in front."""
    out = Assembly()
    main, second, accent = palette(dice)
    case = dice.pick((wood(dice), dark(dice), main, light(dice)), (3, 2.5, 3.5, 1))
    baffle = dice.pick((case, shade(case, 0.6), second))
    cone = dice.pick((dark(dice), accent, second, metal(dice)), (4, 2, 2, 1))
    kind = dice.pick(("bookshelf", "tower", "cube", "round"), (4, 4, 2, 1))
    width, depth = dice.between(0.2, 0.36), dice.between(0.2, 0.38)
    height = {
        "bookshelf": width * dice.between(1.4, 1.9),
        "tower": width * dice.between(2.6, 4.2),
        "cube": width * dice.between(0.9, 1.1),
        "round": width * dice.between(1.3, 2.4),
    }[kind]
    front = -depth / 2
    if kind == "round":
        depth, baffle = width, shade(case, 0.8)
        front = -width / 2
        out.revolve(
            [(width * 0.46, 0), (width / 2, height * 0.05), (width / 2, height * 0.9), (width * 0.42, height)],
            case,
            sections=28,
        )
        out.box((0, front + 0.08, height * 0.47), (width * 0.6, 0.18, height * 0.84), baffle)
        front -= 0.01
    else:
        out.rounded_box(
            (0, 0, height / 2),
            (width, depth, height),
            case,
            radius=dice.pick((0.003, 0.02, 0.05)),
            bevel=dice.pick((0.0, 0.01)),
        )
        out.box((0, front + 0.002, height / 2), (width * 0.9, 0.02, height * 0.95), baffle)
        front -= 0.008
    if kind == "tower" and dice.chance(0.5):
        out.box((0, 0, 0.012), (width * 1.25, depth * 1.15, 0.024), dark(dice))
    if kind != "round":
        out.box((0, depth / 2 + 0.004, height * 0.25), (width * 0.4, 0.016, width * 0.3), dark(dice))
    _drivers(
        out, dice, kind, (width, front, height), (cone, shade(cone, 0.5) if dice.chance(0.5) else metal(dice), accent)
    )
    return out


def _drivers(out: Assembly, dice: Dice, kind: str, size: tuple[float, float, float], colours: Sequence[Colour]) -> None:
    width, y, height = size
    cone, ring, dot = colours
    big = width * dice.between(0.3, 0.4) * (0.75 if kind == "round" else 1.0)
    small = big * dice.between(0.4, 0.65)
    if kind == "cube":
        places = [(height * 0.5, big)]
    elif kind == "round":
        places = [(height * 0.3, big), (height * 0.3 + big * 1.25 + small * 1.3, small)]
    elif kind == "tower":
        tweeter = height - small * 1.5
        count = max(1, min(3, int(height * 0.7 / (2.15 * big))))
        woofer = tweeter - small * 1.2 - big * 1.15
        places = [(tweeter, small), *((woofer - 2.15 * big * k, big) for k in range(count))]
    else:
        low = big * 1.1 + height * 0.04
        places = [(low, big), (min(height - small * 1.2, low + big + small * 1.5), small)]
    forward = turn("x", 90)  # the profile's z points to -y
    for z, radius in places:
        out.revolve(
            [(radius * 1.1, -0.01), (radius * 1.1, 0.008), (radius, 0.012)], ring, centre=(0, y, z), rotation=forward
        )
        out.revolve(
            [(radius * 0.96, 0.0), (radius * 0.9, 0.018), (radius * 0.4, 0.014)],
            cone,
            centre=(0, y, z),
            rotation=forward,
        )
        out.ball((0, y - 0.014, z), (radius * 0.32, radius * 0.12, radius * 0.32), dot, sections=12, levels=6)
