"""Rifles; the muzzle points to the viewer of the front."""

from __future__ import annotations

from .palette import Dice, dark, metal, palette, shade, wood
from .parts import Assembly, Colour, turn


def rifle(dice: Dice) -> Assembly:
    """Hunting, assault, sniper, lever-action rifles and shotguns, with or without a scope."""
    out = Assembly()
    main, second, _ = palette(dice)
    kind = dice.pick(("hunting", "assault", "sniper", "shotgun", "carbine"), (3, 4, 3, 2, 2))
    steel = dice.pick((dark(dice), metal(dice)), (3, 2))
    furniture = dice.pick((wood(dice), dark(dice), main), (4, 2, 3))
    barrel = {"hunting": 0.62, "assault": 0.4, "sniper": 0.75, "shotgun": 0.66, "carbine": 0.42}[kind] * dice.between(
        0.88, 1.12
    )
    body, bore = dice.between(0.22, 0.34), dice.between(0.013, 0.022)
    front, back = -body / 2, body / 2
    out.box((0, 0, 0), (0.05, body, 0.085 if kind == "assault" else 0.065), steel)
    out.rod((0, front, 0.012), (0, front - barrel, 0.012), bore, steel, sections=10)
    if dice.chance(0.5):
        out.rod(
            (0, front - barrel, 0.012),
            (0, front - barrel - 0.09, 0.012),
            bore * dice.between(1.4, 2.2),
            dark(dice),
            sections=10,
        )
    guard = barrel * dice.between(0.4, 0.72)
    out.rounded_box(
        (0, front - guard / 2, -0.005), (0.055, guard, dice.between(0.05, 0.08)), furniture, radius=0.02, axis="y"
    )
    if kind == "shotgun":
        out.rod((0, front, -0.035), (0, front - barrel * 0.85, -0.035), bore, steel, sections=10)
    _stock(out, dice, kind, back, furniture, steel)
    _below(out, dice, kind, (front, back), (steel, second if dice.chance(0.25) else furniture))
    _above(out, dice, kind, (front, barrel), steel)
    if kind == "sniper" and dice.chance(0.7):
        for sx in (-1, 1):
            out.rod((0, front - guard, -0.02), (sx * 0.14, front - guard - 0.03, -0.24), 0.011, steel, sections=6)
    return out


def _stock(out: Assembly, dice: Dice, kind: str, back: float, colour: Colour, steel: Colour) -> None:
    reach, drop = dice.between(0.28, 0.4), dice.between(0.03, 0.11)
    style = dice.pick(("solid", "frame", "tube"), (1, 2, 2) if kind == "assault" else (6, 1, 0))
    if style == "solid":
        tall = dice.between(0.1, 0.15)
        outline = [
            (back - 0.03, 0.03),
            (back - 0.03, -0.035),
            (back + 0.1, -0.06),
            (back + reach, -drop - tall),
            (back + reach, -drop + 0.05),
        ]
        out.prism(outline, "x", (-0.026, 0.026), colour)
        out.box((0, back + reach, -drop - tall / 2 + 0.025), (0.054, 0.025, tall + 0.05), shade(colour, 0.5))
    elif style == "frame":
        low = -drop - 0.1
        out.path([(0, back, 0.02), (0, back + reach, 0.015), (0, back + reach, low), (0, back, -0.03)], 0.014, steel)
        out.box((0, back + reach, (low + 0.02) / 2), (0.05, 0.025, abs(low) + 0.05), steel)
    else:
        out.rod((0, back, 0.01), (0, back + reach * 0.7, 0.01), 0.02, steel)
        outline = [(back + reach * 0.4, 0.04), (back + reach * 0.4, -0.03), (back + reach, -0.13), (back + reach, 0.04)]
        out.prism(outline, "x", (-0.024, 0.024), colour)


def _below(out: Assembly, dice: Dice, kind: str, span: tuple[float, float], colours: tuple[Colour, Colour]) -> None:
    front, back = span
    steel, grip = colours
    out.path(
        [(0, back - 0.12, -0.03), (0, back - 0.12, -0.085), (0, back - 0.03, -0.085), (0, back - 0.02, -0.03)],
        0.008,
        steel,
        sections=6,
    )
    if kind in ("assault", "carbine") or dice.chance(0.25):
        out.box((0, back - 0.0, -0.1), (0.042, 0.06, 0.15), grip, rotation=turn("x", dice.between(12, 28)))
    if kind in ("assault", "carbine"):
        tall, lean = dice.between(0.14, 0.26), dice.between(-20, 2)
        out.box((0, front + 0.08, -0.03 - tall / 2), (0.034, 0.075, tall), steel, rotation=turn("x", lean))
        if dice.chance(0.35):
            out.box(
                (0, front + 0.06 - 0.0012 * abs(lean) * tall, -0.02 - tall),
                (0.034, 0.075, tall * 0.5),
                steel,
                rotation=turn("x", lean * 2),
            )
    elif dice.chance(0.4):
        out.box((0, front + 0.1, -0.06), (0.034, 0.09, 0.07), steel)


def _above(out: Assembly, dice: Dice, kind: str, size: tuple[float, float], steel: Colour) -> None:
    front, barrel = size
    scope = kind == "sniper" or dice.chance(0.35)
    if scope:
        length, z = dice.between(0.2, 0.36), dice.between(0.075, 0.1)
        colour = dark(dice)
        out.rod((0, -length / 2, z), (0, length / 2, z), 0.018, colour)
        out.rod((0, -length / 2 - 0.04, z), (0, -length / 4, z), 0.032, colour, tip=0.02)
        out.rod((0, length / 3, z), (0, length / 2 + 0.03, z), 0.02, colour, tip=0.028)
        for y in (-length * 0.2, length * 0.2):
            out.box((0, y, z / 2 + 0.015), (0.022, 0.03, z - 0.02), steel)
    elif kind == "assault" and dice.chance(0.4):
        out.box((0, 0, 0.085), (0.025, 0.2, 0.02), steel)
        for y in (-0.08, 0.08):
            out.box((0, y, 0.06), (0.022, 0.03, 0.05), steel)
    out.box((0, front - barrel * 0.93, 0.035), (0.012, 0.03, 0.05), steel)
