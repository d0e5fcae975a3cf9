"""McNemar's test: do two classifiers differ on the same objects?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor


@dataclass(frozen=True, slots=True)
class McNemar:
    """Objects that one of two classifiers alone has right, and what they tell.

    Attributes:
        only_a: Right by the first alone.
        only_b: Right by the second alone.
        p: Two-sided mid-p value of the hypothesis that both are right equally often.
    """

    only_a: int
    only_b: int
    p: float


def mcnemar(right_a: Tensor, right_b: Tensor) -> McNemar:
    """The test on which objects each of two classifiers has right, bool [N] each."""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return McNemar(only_a, only_b, mid_p(only_a, only_b))


def mid_p(only_a: int, only_b: int) -> float:
    """The mid-p form of the exact test: half as conservative, and still about right for few objects.

    Under the hypothesis only_a is binomial (n = only_a + only_b, 1/2). The exact two-sided p-value less half the
    probability of what was seen, on either side (Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13:91, 2013).
    """
    count, least = only_a + only_b, min(only_a, only_b)
    below = sum(math.comb(count, number) for number in range(least))
    twice = 2 * below + math.comb(count, least)  # 2 P(X < least) + P(X = least), times 2^count
    return float(Fraction(twice, 2**count))
