"""What can be proved about the convergence of GRPO, and how far the proofs are from what happens.

The toy's policy is trained by exact expected updates and by sampled ones; beside both stand the
bounds of Theorems 1 and 2. Theorem 3 (a KL to a reference) is shown on one softmax over answers.

Shape letters: R runs, N completions, X cells; K updates, L marks among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from studio.theory import many
from studio.theory.anchored import FLOOR, Anchored, anchored, anchored_runs, step_size
from studio.theory.ascent import NUM_EXACT, STARTS, Ascent, Setting, ascend, marks, setting
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import FAR, Estimate, Verdict, mean_of
from studio.theory.toy import Floats, Ints

NUM_SAMPLED, RUNS = 400, 32
"""Sampled updates, and how many runs of them."""


@dataclass(frozen=True)
class KnobsOfConvergence(Knobs):
    step: float = one_of(
        0.1,
        (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 4.0),
        "Step size, of the largest allowed",
        help="Theorems 1 and 2 allow η up to 1 / (c L); beyond 1 they say nothing.",
    )
    group_size: int = one_of(
        8, (2, 4, 8, 16, 32), "Group size G", help="Of the sampled updates; not of the exact ones."
    )
    start: str = one_of(
        "random",
        (*STARTS,),
        "Best answer at the start",
        help="Unlikely: probability 1 in 1,000. Hidden: 1 in 100,000. Not in *With KL*.",
    )
    beta: float = number(
        0.3, 0.05, 0.5, "KL coefficient β", step=0.05, help="Only in the figure *With KL*."
    )


# --- exact ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exact:
    """What needs no samples."""

    setting: Setting
    ascent: Ascent
    anchored: Anchored
    bound_L: Floats
    """Theorem 1 for the sampled runs, after each of `marks(NUM_SAMPLED)` updates."""
    noise_term: float
    """The part of it that does not fall with the updates, L eta c nu^2."""


def exact(knobs: KnobsOfConvergence) -> Exact:
    at = setting(knobs.start)
    noise = at.noise(knobs.group_size)
    bound_L = at.theorem_1(knobs.step, noise, marks(NUM_SAMPLED))
    held = anchored(step_size(knobs.step, knobs.beta), knobs.beta)
    return Exact(at, ascend(knobs.step, knobs.start), held, bound_L, knobs.step * noise)


# --- sampled updates ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """`RUNS` runs of sampled updates, after each of `num_L` of them."""

    num_L: Ints
    gap_L: list[Estimate]
    mean_square_L: list[Estimate]
    fisher_L: list[Estimate]
    """Mean over the updates so far of E ||score||^2, of which Theorem 1 only says that it is at
    most T."""


@lru_cache(maxsize=64)
def train(step: float, group_size: int, start: str, seed: int) -> Training:
    """GRPO as it is: one group a step, its mean as the baseline, one update on it."""
    at, rng = setting(start), np.random.default_rng(seed)
    model, uses_NX = at.model, many.uses_NX(at.model)
    # the mean-centred estimate is c = (G-1)/G too short on average
    eta = step / at.smoothness * group_size / (group_size - 1)
    theta_RX, gaps, squares, fishers = np.tile(at.theta_P, (RUNS, 1)), [], [], []
    for _ in range(NUM_SAMPLED + 1):
        logp_RX = many.logp_RX(model, theta_RX)
        p_RN = np.exp(logp_RX @ uses_NX.T)
        value_R1 = p_RN @ at.R_N[:, None]
        exact_RX = many.pull_RX(model, (p_RN * (at.R_N - value_R1)) @ uses_NX, logp_RX)
        gaps.append(at.R_N[at.best] - value_R1[:, 0])
        squares.append(np.square(exact_RX).sum(1))
        fishers.append(model.T - ((p_RN @ uses_NX) * np.exp(logp_RX)).sum(1))
        counts_RN = rng.multinomial(group_size, p_RN / p_RN.sum(1, keepdims=True))
        A_RN = at.R_N - counts_RN @ at.R_N[:, None] / group_size
        pull_RX = many.pull_RX(model, (counts_RN * A_RN / group_size) @ uses_NX, logp_RX)
        theta_RX = theta_RX + eta * pull_RX
    num_L = marks(NUM_SAMPLED)
    return Training(
        num_L,
        [mean_of(each) for each in np.array(gaps)[num_L]],
        [mean_of(each) for each in _running(squares)[num_L - 1]],
        [mean_of(each) for each in _running(fishers)[num_L - 1]],
    )


def _running(values_KR: list[Floats]) -> Floats:
    """Mean over the updates so far."""
    return np.asarray(np.cumsum(values_KR, 0) / np.arange(1, len(values_KR) + 1)[:, None])


@dataclass(frozen=True)
class Found:
    """What was sampled."""

    training: Training
    taxed: list[Estimate]
    """J* - J with the KL in the reward, and the next with it in the loss."""
    in_loss: list[Estimate]


def estimate(knobs: KnobsOfConvergence, seed: int) -> Found:
    eta = step_size(knobs.step, knobs.beta)
    return Found(
        train(knobs.step, knobs.group_size, knobs.start, seed),
        anchored_runs(eta, knobs.beta, knobs.group_size, "reward", seed),
        anchored_runs(eta, knobs.beta, knobs.group_size, "loss", seed),
    )


# --- what comes out -------------------------------------------------------------------------------

CLAIM = (
    "What was trained here keeps the bounds of Theorems 1 to 3, and they are small enough to say "
    "something."
)
RULE = (
    "*Does not hold* if the exact gap is above the bound of Theorem 2 or 3 anywhere, or the "
    "sampled mean of $\\Vert\\nabla V\\Vert^2$ more than three standard errors above that of "
    "Theorem 1. *No verdict* if the step size is beyond what the theorems allow, if Theorem 1 "
    "allows at the end more than $\\mathrm{span}^2/8$, which no policy exceeds anyway, or if "
    "Theorem 2 allows more than half of the gap at the start. Else *holds*."
)


def verdict(knobs: KnobsOfConvergence, exact: Exact, found: Found) -> Verdict:
    """Whether the bounds hold, and whether they say anything."""
    ascent, held, last = exact.ascent, exact.anchored, found.training.mean_square_L[-1]
    if knobs.step > 1:
        return Verdict(
            "open",
            f"No verdict, as the theorems do not apply: the step size is {knobs.step:g} times the "
            "largest that they allow. Here the exact updates still end "
            f"{_number(ascent.gap_L[-1])} below the best answer, the sampled ones "
            f"{_number(found.training.gap_L[-1].value)}.",
            RULE,
            CLAIM,
        )
    broken = _broken(exact, found)
    if broken:
        return Verdict("fails", f"Above its bound: {', '.join(broken)}.", RULE, CLAIM)
    bound, allowed = float(exact.bound_L[-1]), float(ascent.path_bound_L[-1])
    empty = bound >= exact.setting.ceiling, allowed > exact.setting.gap / 2
    sentence = (
        f"After {NUM_SAMPLED} sampled updates the mean of $\\Vert\\nabla V\\Vert^2$ is "
        f"**{_number(last.value)}**, Theorem 1 allows {_number(bound)}. "
        f"After {NUM_EXACT:,} exact updates the best answer is **{_number(ascent.gap_L[-1])}** "
        f"away, Theorem 2 allows {_number(allowed)}. With the KL every update takes "
        f"{_percent(1 - held.factor)} off the gap, Theorem 3 promises "
        f"{_percent(1 - held.factor_bound)}."
    )
    if not any(empty):
        return Verdict("holds", f"No bound is broken. {sentence}", RULE, CLAIM)
    why = []
    if empty[0]:
        why.append(f"Theorem 1 allows more than the {_number(exact.setting.ceiling)} of any policy")
    if empty[1]:
        gap = _number(exact.setting.gap)
        why.append(f"Theorem 2 allows more than half of the gap of {gap} at the start")
    start = f"No verdict, as the bounds are kept but say nothing: {' and '.join(why)}. "
    return Verdict("open", start + sentence, RULE, CLAIM)


def _number(value: float) -> str:
    """Two digits, as Markdown."""
    if value == 0 or abs(value) >= 1e-4:
        return f"{value:#.2g}".rstrip(".").replace("-", "−")
    mantissa, _, power = f"{value:.1e}".partition("e")
    return f"${mantissa}\\cdot10^{{{int(power)}}}$".replace("$-", "$−")


def _percent(share: float) -> str:
    return f"{_number(100 * share)} %"


def _broken(exact: Exact, found: Found) -> list[str]:
    """Theorems whose bound does not hold."""
    ascent, held = exact.ascent, exact.anchored
    pairs = zip(found.training.mean_square_L, exact.bound_L, strict=True)
    tests = {
        "Theorem 1": any(each.value - FAR * each.se > bound for each, bound in pairs),
        "Theorem 2": bool((ascent.gap_L > ascent.path_bound_L * (1 + 1e-9)).any()),
        "Theorem 3": bool((held.gap_K > held.bound_K * (1 + 1e-9) + FLOOR).any()),
    }
    return [name for name, is_broken in tests.items() if is_broken]
