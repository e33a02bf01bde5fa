"""How sure a share is."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(num: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, `num` of `of`; (0, 1) of nothing.

    It inverts the score test and so stays within 0 and 1, also where all or none are right
    (https://doi.org/10.1080/01621459.1927.10502953).
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = num / of, z * z / of
    centre = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if num == 0 else low), (1.0 if num == of else high)
