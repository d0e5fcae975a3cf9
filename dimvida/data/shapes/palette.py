"""Random choices and harmonious colours, the same on every machine for the same seed."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from .parts import Colour

T = TypeVar("T")


class Dice:
    """Random choices of one object; they follow from its key alone, never from what was made before it."""

    def __init__(self, key: str) -> None:
        entropy = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
        self._generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.between(0.0, 1.0) < probability

    def count(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return min(high, low + int(self.between(0.0, high - low + 1)))

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, with equal or the given weights."""
        if weights is None:
            return options[self.count(0, len(options) - 1)]
        at = self.between(0.0, sum(weights))
        for option, weight in zip(options, weights, strict=True):
            at -= weight
            if at < 0:
                return option
        return options[-1]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in [0, 1] of a colour given by hue (any real, one turn = 1), saturation and value."""
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (factor < 1) or lighter colour."""
    return tuple(min(1.0, c * factor) for c in colour)


def wood(dice: Dice) -> Colour:
    """From pale birch to walnut."""
    return hsv(dice.between(0.05, 0.1), dice.between(0.4, 0.75), dice.between(0.38, 0.82))


def metal(dice: Dice) -> Colour:
    """Steel, dark iron, sometimes brass."""
    if dice.chance(0.15):
        return hsv(0.12, 0.5, dice.between(0.55, 0.75))
    return hsv(0.6, 0.06, dice.between(0.22, 0.75))


def dark(dice: Dice) -> Colour:
    """Nearly black: rubber, screens, plastic."""
    return hsv(dice.between(0.55, 0.7), 0.15, dice.between(0.13, 0.28))


def light(dice: Dice) -> Colour:
    """Off-white that still stands out from a white background."""
    return hsv(dice.between(0.08, 0.16), dice.between(0.03, 0.15), dice.between(0.74, 0.88))


def vivid(dice: Dice) -> Colour:
    """Any hue, clearly coloured."""
    return hsv(dice.between(0.0, 1.0), dice.between(0.45, 0.85), dice.between(0.45, 0.88))


def palette(dice: Dice) -> tuple[Colour, Colour, Colour]:
    """Main, second and accent colour that go together."""
    hue = dice.between(0.0, 1.0)
    saturation, value = dice.between(0.3, 0.8), dice.between(0.4, 0.88)
    main = hsv(hue, saturation, value)
    scheme = dice.pick(("shades", "neighbours", "opposite", "neutral"), (3, 3, 2, 3))
    if scheme == "shades":
        second = hsv(hue, saturation * 0.8, value * dice.between(0.45, 0.7))
    elif scheme == "neighbours":
        second = hsv(hue + dice.pick((-1, 1)) * dice.between(0.07, 0.13), saturation, min(0.9, value * 1.1))
    elif scheme == "opposite":
        second = hsv(hue + 0.5, saturation * 0.8, value)
    else:
        second = dice.pick((light, dark, metal))(dice)
    accent = hsv(hue + dice.pick((0.33, 0.5, 0.67)), dice.between(0.5, 0.9), dice.between(0.55, 0.9))
    return main, second, accent
