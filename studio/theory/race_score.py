"""Who is ahead in a race, by iterations and by compute.

Shape letters: S seeds, E evaluations.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studio.theory.race_run import EPOCHS
from studio.theory.sampled import Estimate, mean_of

Floats = NDArray[np.float64]
Ahead = Literal["GRPO", "PPO", "nobody"]

CLEAR = 2.0
"""Standard errors of the paired difference from which on somebody is ahead."""
GROUP_COST = 2 + 3 * EPOCHS
"""Forwards of the actor in an iteration: sampling, old log-probs, and forward and backward (twice a
forward) of each update."""
CRITIC_COST = 1 + 3 * EPOCHS
"""The same for a critic as large as the actor: it samples nothing."""


def slowdown(rho: float) -> float:
    """Compute of an iteration with a critic of `rho` times the actor's size, over one without."""
    return (GROUP_COST + rho * CRITIC_COST) / GROUP_COST


def at_compute(curve_SE: Floats, rho: float) -> Floats:
    """What a race with a critic has reached when one without has used the same compute: the curve
    at x / slowdown, linear between evaluations."""
    last = curve_SE.shape[1] - 1
    where_E = np.arange(last + 1) / slowdown(rho)
    below_E = np.minimum(where_E.astype(int), max(last - 1, 0))
    part_E = where_E - below_E
    return np.asarray((1 - part_E) * curve_SE[:, below_E] + part_E * curve_SE[:, below_E + 1])


def areas(curve_SE: Floats) -> Floats:
    """Mean of V / V* over the evaluations, of each seed: the area under the curve."""
    return np.asarray(curve_SE.mean(1))


def lead(group_SE: Floats, critic_SE: Floats, rho: float = 0.0) -> Estimate:
    """Area of GRPO minus that of PPO over the seeds they share; `rho` 0 is by iterations."""
    return mean_of(areas(group_SE) - areas(at_compute(critic_SE, rho)))


def ahead(difference: Estimate) -> Ahead:
    """Who leads by two standard errors or more."""
    if abs(difference.value) < CLEAR * difference.se or difference.value == 0:
        return "nobody"
    return "GRPO" if difference.value > 0 else "PPO"
