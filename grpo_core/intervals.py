"""How sure a share, a mean, or the difference of two shares is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

Interval = tuple[float, float]
_PSEUDO = 2
"""Values of 0 and as many of 1 that a mean's interval counts beside those observed."""


def wilson(num: int, of: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share, `num` of `of`; (0, 1) of nothing.

    It inverts the score test and so stays within 0 and 1, also where all or none are right
    (https://doi.org/10.1080/01621459.1927.10502953).
    """
    if not of:
        return 0.0, 1.0
    z = _z(confidence)
    share, spread = num / of, z * z / of
    centre = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if num == 0 else low), (1.0 if num == of else high)


def of_mean(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval of the mean of values between 0 and 1, one a problem; (0, 1) of nothing.

    Student's, after two values of 0 and two of 1 are added, as Agresti and Coull do for shares
    (https://doi.org/10.1080/00031305.1998.10480550): where nearly all problems have the same
    value, their spread says next to nothing, and what rests on it alone (the bootstrap too) is far
    too narrow.
    """
    if not values:
        return 0.0, 1.0
    num = len(values) + 2 * _PSEUDO
    mean = (math.fsum(values) + _PSEUDO) / num
    spread = (math.fsum(value * value for value in values) + _PSEUDO) / num - mean * mean
    half = _student(confidence, num - 1) * math.sqrt(spread / num)
    return max(0.0, mean - half), min(1.0, mean + half)


def of_difference(lost: int, gained: int, of: int, confidence: float = 0.95) -> Interval:
    """The interval of the difference of two shares of the same `of` problems, where the second is
    right on `gained` that the first is not, and wrong on `lost` that the first is right on.

    Tango's: the differences that the score test does not refuse
    (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B).
    """
    if not of:
        return -1.0, 1.0
    z, seen = _z(confidence), (gained - lost) / of

    def excess(difference: float) -> float:
        return abs(_score(lost, gained, of, difference)) - z

    return _root(excess, -1.0, seen), _root(excess, 1.0, seen)


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided p-value of McNemar's test: how likely the two kinds of change are at
    least so uneven, were each as likely as the other (https://doi.org/10.1007/BF02295996)."""
    num, few = lost + gained, min(lost, gained)
    tail = sum(math.comb(num, k) for k in range(few + 1))
    return min(1.0, float(2 * tail / 2**num)) if num else 1.0


def of_mean_difference(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval of a mean of paired differences between -1 and 1; (-1, 1) of nothing.

    Of halves, shifted into 0 to 1: see `of_mean`.
    """
    low, high = of_mean([(value + 1) / 2 for value in differences], confidence)
    return 2 * low - 1, 2 * high - 1


def _score(lost: int, gained: int, of: int, difference: float) -> float:
    """Tango's statistic: standard errors between what is seen and `difference`."""
    b = (2 * of - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    lost_share = (math.sqrt(max(0.0, b * b - 8 * of * c)) - b) / (4 * of)
    variance = of * (2 * lost_share + difference * (1 - difference))
    return (gained - lost - of * difference) / math.sqrt(max(variance, 1e-300))


def _root(excess: Callable[[float], float], outer: float, inner: float) -> float:
    """Where `excess` changes sign, positive towards `outer`."""
    for _ in range(60):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if excess(middle) > 0 else (outer, middle)
    return (outer + inner) / 2


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _student(confidence: float, freedom: int) -> float:
    """Student's quantile by Cornish and Fisher's expansion: with 4 degrees of freedom 1 % too
    small, with 10 right to 4 digits (Abramowitz and Stegun, 26.7.5)."""
    z = _z(confidence)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
