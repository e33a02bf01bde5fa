"""What a group's z-score makes of a prompt's difficulty, where rewards are 0 or 1.

p: probability of a right completion; G: completions of a group.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pmf(size: int, p: float) -> Floats:
    """Probabilities of 0 … `size` right ones."""
    return np.array([math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)])


def weight(size: int, p: float, ddof: int = 0) -> float:
    """w_G(p) = E sqrt(K (G-K)) / (G p (1-p)): E of the z-scored gradient is w_G(p) times the
    gradient of p (no delta). Its limits at 0 and 1 are sqrt(G-1); 1 for all p at G = 2.

    `ddof=1` divides by the sample deviation: sqrt((G-1)/G) of it.
    """
    factor = math.sqrt((size - 1) / size) if ddof == 1 else 1.0
    if p in (0.0, 1.0):
        return factor * math.sqrt(size - 1)
    # p (1-p) is divided out term by term: 0 / 0 would lose all digits near the ends
    terms = (
        math.comb(size, k) * p ** (k - 1) * (1 - p) ** (size - k - 1) * math.sqrt(k * (size - k))
        for k in range(1, size)
    )
    return factor * sum(terms) / size


def weight_limit(p: float) -> float:
    """w of an endless group: 1 / sqrt(p (1-p)), the derivative of 2 arcsin sqrt(p)."""
    return 1 / math.sqrt(p * (1 - p)) if 0 < p < 1 else math.inf


def flat(size: int, p: float) -> float:
    """Probability that all are right or all are wrong: no signal."""
    return p**size + (1 - p) ** size
