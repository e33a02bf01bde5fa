"""What a sample says, how sure it is, and whether it agrees with what was worked out exactly.

Shape letters: M independent samples, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HALF_WIDTH = 1.96
"""Standard errors on each side of a band: 95 %."""
FAR = 3.0
"""Standard errors from which on a sample contradicts the exact number: by chance in 0.3 %."""
FAR_CHI2 = 4.0
"""The same for all directions of a vector at once, in standard deviations of chi squared."""


QUIET = 1e-2
"""The share of the largest variance from which on a direction is judged."""


@dataclass(frozen=True)
class Estimate:
    """A mean of `num` independent samples and its standard error."""

    value: float
    se: float
    num: int

    @property
    def band(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.value - HALF_WIDTH * self.se, self.value + HALF_WIDTH * self.se

    def z(self, exact: float) -> float:
        """How many standard errors off `exact` it is; 0 where both agree and nothing varies."""
        off = self.value - exact
        if self.se == 0:
            return 0.0 if abs(off) <= 1e-12 * max(1.0, abs(exact)) else math.copysign(math.inf, off)
        return off / self.se

    def agrees(self, exact: float) -> bool:
        """Whether it is within three standard errors of `exact`."""
        return abs(self.z(exact)) < FAR


def mean_of(samples_M: Floats) -> Estimate:
    """Mean and standard error of independent samples (two or more)."""
    num = len(samples_M)
    return Estimate(float(samples_M.mean()), float(samples_M.std(ddof=1)) / math.sqrt(num), num)


def variance_of(samples_M: Floats, mean: float) -> Estimate:
    """Variance about a mean that is known exactly: unbiased, and so is its standard error."""
    return mean_of(np.square(samples_M - mean))


@dataclass(frozen=True)
class Agreement:
    """A sampled vector beside the exact one."""

    ratio: Estimate
    """Its projection on the exact one, over the length of that: 1 where they agree."""
    chi2: float
    """Squared length of the difference where every judged direction has standard error 1."""
    num_directions: int
    cosine: float
    relative_error: float
    """Length of the difference over that of the exact one."""

    @property
    def z_chi2(self) -> float:
        """chi2 in standard deviations from what chance alone would make it."""
        return (self.chi2 - self.num_directions) / math.sqrt(2 * self.num_directions)

    @property
    def holds(self) -> bool:
        """Both tests: the projection, and all directions at once."""
        return self.ratio.agrees(1.0) and abs(self.z_chi2) < FAR_CHI2


def agreement(samples_MD: Floats, exact_D: Floats) -> Agreement:
    """Compare the mean of samples with an exact vector that is not 0.

    chi2 is Hotelling's, scaled to have the mean of a chi squared. Directions with less than
    `QUIET` of the largest variance are left out of it: a few rare samples make them, so that their
    variance is not known, and a softmax's score has one in every prefix that never varies.
    """
    mean_D = samples_MD.mean(0)
    off_D = mean_D - exact_D
    covariance_DD = np.cov(samples_MD.T) / len(samples_MD)
    variances_D, axes_DD = np.linalg.eigh(covariance_DD)
    kept = variances_D > variances_D.max() * QUIET
    whitened = (axes_DD.T @ off_D)[kept] / np.sqrt(variances_D[kept])
    length2 = float(exact_D @ exact_D)
    num, used = len(samples_MD), int(kept.sum())
    return Agreement(
        ratio=mean_of(samples_MD @ exact_D / length2),
        chi2=float(whitened @ whitened) * (num - used) / (num - 1),
        num_directions=used,
        cosine=float(mean_D @ exact_D / math.sqrt(length2 * float(mean_D @ mean_D))),
        relative_error=float(np.linalg.norm(off_D)) / math.sqrt(length2),
    )


@dataclass(frozen=True)
class Verdict:
    """What comes out, by a rule that was there before: `holds` green, `fails` red, `open` grey
    (the experiment cannot tell), `differs` orange (a claim that is often made is not what is seen
    here)."""

    kind: Literal["holds", "fails", "open", "differs"]
    sentence: str
    """What was found, with its numbers."""
    rule: str
    """When it would have been another one."""
    claim: str = ""
    """What is tested, as a statement: green says that it is so."""
