"""The advantages in the second half of each group, by what the first half of it was.

Whatever a prompt's solve rate is, both halves have it: the first says how likely each rate is, and
each rate says how large the advantages of the second should be.

Shape letters: M groups, G completions of a group, H different numbers of right ones in a first
half, Q points of a grid of rates, K numbers of right ones in a second half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studio.theory.in_run_data import Floats, Ints, Successes
from studio.theory.in_run_rates import LATE, binomial, fit, posteriors, pulls

MIN_IN_BIN = 8
"""Groups with the same first half, below which they are not judged."""


@dataclass(frozen=True, eq=False)
class Halves:
    """The second half of each group, by what its first half was."""

    right_H: Ints
    """Right ones in the first half."""
    num_H: Ints
    law_H: Floats
    """Mean size of an advantage in the second half, worked out."""
    error_H: Floats
    """Standard error of `seen_H` where the law is true."""
    seen_H: Floats

    @property
    def z_chi2(self) -> float | None:
        """All together, in standard deviations from what chance would make it; None without any
        that can be judged."""
        judged = (self.num_H >= MIN_IN_BIN) & (self.error_H > 1e-9)
        if not judged.any():
            return None
        z_H = (self.seen_H - self.law_H)[judged] / self.error_H[judged]
        return float((z_H @ z_H - judged.sum()) / np.sqrt(2 * judged.sum()))


def halves_of(successes: Successes, size: int, is_zscore: bool) -> Halves | None:
    """Of the groups of one size; None below 4."""
    ahead, behind = size // 2, size - size // 2
    if ahead < 2:
        return None
    weights_Q = fit(successes.right_M, successes.size_M, LATE)
    hits_MG = np.array([one for one in successes.hits if len(one) == size])
    first_M, second_M = (part.sum(1).astype(int) for part in np.split(hits_MG, [ahead], axis=1))
    right_H = np.unique(first_M)
    posterior_HQ = posteriors(weights_Q, right_H, np.full_like(right_H, ahead))
    chance_HK, size_K = posterior_HQ @ binomial(behind), pulls(behind, is_zscore)
    law_H, square_H = chance_HK @ size_K, chance_HK @ size_K**2
    num_H = np.array([(first_M == right).sum() for right in right_H])
    seen_H = np.array([size_K[second_M[first_M == right]].mean() for right in right_H])
    error_H = np.sqrt(np.maximum(square_H - law_H**2, 0.0) / num_H)
    return Halves(right_H, num_H, law_H, error_H, seen_H)
