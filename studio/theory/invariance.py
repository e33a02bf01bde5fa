"""Question C3: which changes of the rewards leave the policy alone, and which do not.

The two arms: A pays 1 surely, B pays 10 with probability 0.3, so B is worth 3. pi(A) is a sigmoid
of one logit u; the force is the mean update of u.

Shape letters: M groups, G completions of a group, S group sizes, X shares of A, E runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grpo_core.advantages import DELTA
from studio.digits import n as digits
from studio.theory import difficulty, groups, shaping
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import Estimate, Verdict, mean_of

Floats = NDArray[np.float64]

SIZES = (2, 3, 4, 6, 8, 16, 32)
SHARES = (0.1, 0.5, 0.9)
"""Shares of A at which the force is shown."""
SURE, RARE, CHANCE = 1.0, 10.0, 0.3
"""What A pays, what B pays, and how often."""
NUM_GROUPS = 4000
NUM_RUNS, NUM_STEPS, EVERY, STEP = 64, 1000, 10, 0.4
"""Of the runs that learn; a point is kept `EVERY` so many steps."""
ROUNDING = 1e-9
TOLERATED = 0.01
"""A change of the update that nobody would see: 1 %."""


@dataclass(frozen=True)
class KnobsOfInvariance(Knobs):
    size: int = one_of(4, SIZES, "Group size G", help="*Kept or broken* has groups of at most 3.")
    delta: float = one_of(
        DELTA,
        (0.0, 1e-6, DELTA, 1e-2, 0.1),
        "δ of the z-score",
        help="Added to the deviation of a group.",
    )
    scale: float = one_of(
        1.0,
        (0.001, 0.01, 0.1, 1.0, 10.0),
        "Rewards times a",
        help="A z-score sees it only next to a large δ.",
    )
    shift: float = number(
        10.0, -100.0, 100.0, "Rewards plus c", step=10.0, help="Only in *Kept or broken*."
    )
    gamma: float = number(
        1.0,
        0.5,
        1.0,
        "γ of the potential",
        step=0.05,
        help="Rewards γΦ(after) − Φ(before). Only in *Kept or broken*, and in the verdict where no "
        "force is wrong.",
    )


@dataclass(frozen=True)
class Law:
    """Worked out from all groups that there are."""

    changes: dict[str, tuple[float, float]]
    """Relative change of the mean update by each change of the rewards: mean, z-score. Groups of
    the chosen size, or of 3 where it is larger."""
    force_XS: Floats
    """Mean z-scored update of the logit of the worse arm."""
    true_force: float
    """That of R - mean at pi(A) = 1/2: always below 0."""
    moved_optima: int

    def force(self, size: int, share: float = 0.5) -> float:
        return float(self.force_XS[SHARES.index(share), SIZES.index(size)])


@dataclass(frozen=True)
class Runs:
    """Share of the better arm in the course of learning, over `NUM_RUNS` runs."""

    steps: Floats
    mean: Floats
    half_width: Floats
    """Of the 95 % band."""
    reward: Estimate
    """Expected reward at the end, in units of the scale."""


@dataclass(frozen=True)
class Found:
    """From samples."""

    by_shift: dict[str, float]
    """Largest change of any advantage, over the largest advantage, by estimator."""
    by_scale: dict[str, float]
    force_XS: tuple[tuple[Estimate, ...], ...]
    zscore: Runs
    mean: Runs

    def force(self, size: int, share: float = 0.5) -> Estimate:
        return self.force_XS[SHARES.index(share)][SIZES.index(size)]


def exact(knobs: KnobsOfInvariance) -> Law:
    """All groups of the toy, and all outcomes of groups of the two arms."""
    size = min(knobs.size, 3)
    half = (knobs.size - 1) / knobs.size * 0.25 * (SURE - CHANCE * RARE)
    return Law(
        changes=shaping.changes(size, knobs.delta, knobs.scale, knobs.shift, knobs.gamma),
        force_XS=_forces(knobs.delta, knobs.scale),
        true_force=knobs.scale * half,
        moved_optima=shaping.moved_optima(),
    )


def estimate(knobs: KnobsOfInvariance, seed: int) -> Found:
    """Single groups before and after, the force, and runs that learn."""
    return Found(
        by_shift=_largest(knobs.size, knobs.delta, 1.0, knobs.shift, seed),
        by_scale=_largest(knobs.size, knobs.delta, knobs.scale, 0.0, seed),
        force_XS=_sampled_forces(knobs.delta, knobs.scale, seed),
        zscore=learn(knobs.size, "zscore", knobs.delta, knobs.scale, seed),
        mean=learn(knobs.size, "mean", DELTA, knobs.scale, seed),
    )


CLAIM = (
    "With a z-score, too, neither a shift, a scale nor a potential changes what is learned, and "
    "noisy rewards do not turn it towards the worse arm."
)


def verdict(knobs: KnobsOfInvariance, exact: Law, found: Found) -> Verdict:
    """Is the optimum left alone?"""
    rule = (
        "*Does not hold*: a shift changes a centred advantage by more than rounding ($10^{-9}$), "
        "or a sampled force at $\\pi(A)=\\frac12$ is three standard errors off. *Not as often "
        "said*: the z-score pushes towards the worse arm at $\\pi(A)=\\frac12$, or else at 0.1 or "
        "0.9; or the potential or the scale changes the mean z-scored update by "
        "more than 1 %. *Holds*: "
        "none of these."
    )
    force, seen = exact.force(knobs.size), found.force(knobs.size)
    kept = max(found.by_shift["mean"], found.by_shift["zscore"])
    if kept > ROUNDING or not seen.agrees(force):
        text = (
            f"The shift changes an advantage by {100 * kept:.2g} %; the force on the worse arm is "
            f"{digits(seen.value, 3)} where {digits(force, 3)} was worked out."
        )
        return Verdict("fails", text, rule, CLAIM)
    shift = "Shifting the rewards changes no advantage by more than rounding."
    share = max(SHARES, key=lambda share: exact.force(knobs.size, share)) if force <= 0 else 0.5
    push = exact.force(knobs.size, share)
    pushes = (
        f"at $G={knobs.size}$, $\\pi(A)={share}$ the z-score's force on the worse arm is "
        f"{digits(push, 3)}"
    )
    if push > 0:
        text = f"{shift} But {pushes}, towards it; $R-\\bar R$ has "
        return Verdict("differs", f"{text}{digits(exact.true_force, 3)} at one half.", rule, CLAIM)
    by_potential, by_scale = exact.changes["potential"][1], exact.changes["scale"][1]
    if max(by_potential, by_scale) > TOLERATED:
        text = (
            f"{shift} But the mean z-scored update changes by {100 * by_potential:.1f} % with the "
            f"potential ($\\gamma={knobs.gamma:g}$) and by {100 * by_scale:.1f} % with the scale "
            f"($\\delta={knobs.delta:g}$)."
        )
        return Verdict("differs", text, rule, CLAIM)
    text = f"{shift} And {pushes}, away from it, as it should be (least of the three shares)."
    return Verdict("holds", text, rule, CLAIM)


# --- single groups ----------------------------------------------------------------------------


def _largest(size: int, delta: float, scale: float, shift: float, seed: int) -> dict[str, float]:
    R_MG = np.random.default_rng((seed, size)).random((500, size))
    found = {}
    for estimator in groups.ADVANTAGES:
        before = groups.advantages(R_MG, estimator, delta=delta)
        after = groups.advantages(scale * R_MG + shift, estimator, delta=delta)
        found[estimator] = float(np.abs(after - before).max() / np.abs(before).max())
    return found


# --- the force on the worse arm ---------------------------------------------------------------


@lru_cache(maxsize=64)
def forces_of_groups(
    size: int, estimator: str, delta: float, scale: float, ddof: int = 1
) -> Floats:
    """(1/G) sum of A_i over the A's of a group, `(G + 1, G + 1)`: by how many A's there are, and
    by how many B's pay. Centred advantages add up to 0, so this is (1/G) sum of A_i s_i."""
    found = np.zeros((size + 1, size + 1))
    for num_a in range(1, size):
        pay = np.arange(size - num_a + 1)
        R_KG = np.zeros((len(pay), size))
        R_KG[:, :num_a] = SURE
        R_KG[:, num_a:] = np.where(np.arange(size - num_a) < pay[:, None], RARE, 0.0)
        A_KG = groups.advantages(scale * R_KG, estimator, delta=delta, ddof=ddof)
        found[num_a, : len(pay)] = A_KG[:, :num_a].sum(1) / size
    return found


def force(
    size: int, share: float, estimator: str, delta: float, scale: float = 1.0, ddof: int = 1
) -> float:
    """E of it where A has probability `share`: a sum over all groups there are."""
    table = forces_of_groups(size, estimator, delta, scale, ddof)
    chances = difficulty.pmf(size, share)
    return sum(
        float(chances[a] * (difficulty.pmf(size - a, CHANCE) @ table[a, : size - a + 1]))
        for a in range(size + 1)
    )


@lru_cache(maxsize=64)
def _forces(delta: float, scale: float) -> Floats:
    rows = [[force(g, share, "zscore", delta, scale) for g in SIZES] for share in SHARES]
    return np.array(rows)


@lru_cache(maxsize=64)
def _sampled_forces(delta: float, scale: float, seed: int) -> tuple[tuple[Estimate, ...], ...]:
    found = []
    for x, share in enumerate(SHARES):
        row = []
        for size in SIZES:
            rng = np.random.default_rng((seed, x, size))
            a_M = rng.binomial(size, share, NUM_GROUPS)
            pay_M = rng.binomial(size - a_M, CHANCE)
            table = forces_of_groups(size, "zscore", delta, scale)
            row.append(mean_of(table[a_M, pay_M]))
        found.append(tuple(row))
    return tuple(found)


@lru_cache(maxsize=64)
def learn(
    size: int,
    estimator: str,
    delta: float,
    scale: float,
    seed: int,
    *,
    num_steps: int = NUM_STEPS,
    num_runs: int = NUM_RUNS,
    step: float = STEP,
    ddof: int = 1,
) -> Runs:
    """Independent runs from pi(A) = 1/2, one group a step."""
    table = forces_of_groups(size, estimator, delta, scale, ddof)
    rng = np.random.default_rng((seed, size))
    u_E = np.zeros(num_runs)
    steps, share = [0], [np.full(num_runs, 0.5)]
    for k in range(1, num_steps + 1):
        is_a_EG = rng.random((num_runs, size)) < 1 / (1 + np.exp(-u_E))[:, None]
        pays_EG = rng.random((num_runs, size)) < CHANCE
        u_E = u_E + step * table[is_a_EG.sum(1), (pays_EG & ~is_a_EG).sum(1)]
        if k % EVERY == 0:
            steps.append(k)
            share.append(1 / (1 + np.exp(u_E)))
    share_KE = np.array(share)
    spread = share_KE.std(1, ddof=1) / math.sqrt(num_runs)
    reward = mean_of(SURE + (CHANCE * RARE - SURE) * share_KE[-1])
    return Runs(np.array(steps, dtype=float), share_KE.mean(1), 1.96 * spread, reward)
