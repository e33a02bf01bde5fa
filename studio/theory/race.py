"""GRPO against PPO on the same prompts and samples: who is ahead, and by which measure.

Shape letters: S seeds, E evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studio.theory.knobs import Knobs, number, one_of
from studio.theory.race_prompts import REGIMES, expected_update, make, prefix_values, softmax
from studio.theory.race_run import ARMS, EVERY, Arm, Setting, learn
from studio.theory.race_score import (
    CLEAR,
    CRITIC_COST,
    GROUP_COST,
    Ahead,
    ahead,
    areas,
    at_compute,
    lead,
)
from studio.theory.sampled import HALF_WIDTH, Estimate, Verdict, mean_of

Floats = NDArray[np.float64]

NUM_SEEDS = 12
FIRST_SEED = 1000
"""Those of the study are below: what is shown live has neither tuned nor judged there."""
MOST_ITERATIONS = 200
"""Of a live race; the study runs `many` for 240 and `sparse` for 400."""
PAIRS = {
    "scaled": ("zscore", "ppo_whiten"),
    "plain": ("loo", "ppo"),
    "spread": ("loo", "ppo_spread"),
}
RATES = {"slow": 0.1, "fast": 1.0, "exact": 0.1}
"""Of the critic; `exact` follows slowly, or it would forget what it knows."""
_USUAL = {
    "loo": Setting(64.0),
    "zscore": Setting(32.0),
    "ppo": Setting(64.0, 1.0),
    "ppo_whiten": Setting(32.0, 0.3),
    "ppo_spread": Setting(64.0, 0.3),
}
TUNED: dict[str, dict[str, Setting]] = {
    "base": {**_USUAL, "ppo_whiten": Setting(32.0, 0.03)},
    "uniform": {**_USUAL, "ppo_whiten": Setting(32.0, 0.1)},
    "few": {**_USUAL, "zscore": Setting(16.0), "ppo_spread": Setting(64.0, 1.0)},
    "strategy": _USUAL,
    "sparse": _USUAL,
    "many": {
        "loo": Setting(128.0),
        "zscore": Setting(64.0),
        "ppo": Setting(128.0, 1.0),
        "ppo_whiten": Setting(64.0, 0.3),
        "ppo_spread": Setting(128.0, 0.3),
    },
}
"""What the study (`race_study`) chose, by its tuning seeds."""


@dataclass(frozen=True)
class KnobsOfRace(Knobs):
    """The settings of a race."""

    regime: str = one_of(
        "base",
        tuple(name for name, regime in REGIMES.items() if not regime.exact_critic),
        "Prompts",
        help="; ".join(f"{n}: {r.says}" for n, r in REGIMES.items() if not r.exact_critic),
    )
    arms: str = one_of(
        "scaled",
        tuple(PAIRS),
        "Who races",
        help="scaled: z-score against PPO with whitened advantages, as both are mostly used. "
        "plain: leave-one-out against PPO without whitening. spread: leave-one-out "
        "against PPO on 64 prompts with one completion each.",
    )
    group_size: int = one_of(
        8, (2, 4, 8, 16, 32), "Group size G", help="64 / G prompts an iteration, for both."
    )
    step: float = one_of(
        1.0,
        (0.25, 0.5, 1.0, 2.0, 4.0),
        "Step size, times the tuned one",
        help="Each side at this multiple of the step size that was best for it at G = 8.",
    )
    critic: str = one_of(
        "tuned",
        ("tuned", *RATES),
        "Critic",
        help="How far it goes in an iteration towards the mean of what it saw: slow 0.1, fast all "
        "the way, tuned what was best, each from 0. exact: it starts with the true values.",
    )
    lam: float = number(
        0.95, 0.0, 1.0, "λ of PPO", step=0.05, help="1 trusts the rewards, 0 the critic."
    )
    rho: float = number(
        1.0,
        0.0,
        2.0,
        "ρ: size of the critic",
        step=0.1,
        help="Over that of the actor. At 0 it costs nothing: the axis is iterations.",
    )


@dataclass(frozen=True)
class Exact:
    """What is worked out."""

    group_cost: float
    """Compute of an iteration of GRPO, in forwards of the actor over its samples."""
    critic_cost: float
    """The same of PPO."""
    bias: float
    """Length of the bias of PPO's expected first update over that of the gradient."""


@dataclass(frozen=True)
class Found:
    """Two races over the same seeds."""

    iteration_E: Floats
    group_SE: Floats
    """V / V* of GRPO."""
    critic_SE: Floats
    """V / V* of PPO, by iterations."""

    def critic_at(self, rho: float) -> Floats:
        """V / V* of PPO where GRPO has used the same compute."""
        return at_compute(self.critic_SE, rho)

    def lead(self, rho: float = 0.0) -> Estimate:
        """Paired difference of the areas, GRPO minus PPO."""
        return lead(self.group_SE, self.critic_SE, rho)


@dataclass(frozen=True)
class Curve:
    """Mean over the seeds, with its 95 % band."""

    mean: Floats
    low: Floats
    high: Floats


def curve_of(values_SE: Floats) -> Curve:
    """Point by point."""
    mean_E = values_SE.mean(0)
    half_E = HALF_WIDTH * values_SE.std(0, ddof=1) / np.sqrt(len(values_SE))
    return Curve(mean_E, mean_E - half_E, mean_E + half_E)


def exact(knobs: KnobsOfRace) -> Exact:
    """Costs, and the bias of a critic that is not trained yet."""
    bias = _bias(knobs.regime, knobs.lam, knobs.critic == "exact")
    return Exact(float(GROUP_COST), GROUP_COST + knobs.rho * CRITIC_COST, bias)


@lru_cache(maxsize=64)
def _bias(regime: str, lam: float, knows: bool) -> float:
    """On the prompts of one seed."""
    prompts = make(regime, (FIRST_SEED,))
    pi_VSQC = softmax(prompts.theta_VSQC)
    true_SQC = prefix_values(pi_VSQC, prompts.mu_VSQX)
    critic_SQC = true_SQC if knows else np.zeros_like(true_SQC)
    gradient = expected_update(pi_VSQC, prompts.mu_VSQX, critic_SQC, 1.0)
    update = expected_update(pi_VSQC, prompts.mu_VSQX, critic_SQC, lam)
    return float(np.linalg.norm(update - gradient) / np.linalg.norm(gradient))


def estimate(knobs: KnobsOfRace, seed: int) -> Found:
    """12 seeds of both sides, on the same prompts and with the same chance."""
    group, critic = (_scaled(knobs, name) for name in PAIRS[knobs.arms])
    arm = replace(ARMS[PAIRS[knobs.arms][1]], lam=knobs.lam)
    group_SE = _race(knobs.regime, ARMS[PAIRS[knobs.arms][0]], group, knobs.group_size, False, seed)
    knows = knobs.critic == "exact"
    critic = replace(critic, rate=RATES.get(knobs.critic, critic.rate))
    critic_SE = _race(knobs.regime, arm, critic, knobs.group_size, knows, seed)
    iteration_E = EVERY * np.arange(group_SE.shape[1], dtype=float)
    return Found(iteration_E, group_SE, critic_SE)


def _scaled(knobs: KnobsOfRace, arm: str) -> Setting:
    tuned = TUNED[knobs.regime][arm]
    return replace(tuned, step=knobs.step * tuned.step)


@lru_cache(maxsize=64)
def _race(
    regime: str, arm: Arm, setting: Setting, group_size: int, knows: bool, seed: int
) -> Floats:
    """One side: a knob of the other does not run it again."""
    first = FIRST_SEED + NUM_SEEDS * seed
    return learn(
        regime,
        (*range(first, first + NUM_SEEDS),),
        arm,
        (setting,),
        group_size=group_size,
        iterations=min(REGIMES[regime].iterations, MOST_ITERATIONS),
        exact_critic=knows,
    )[0]


def verdict(knobs: KnobsOfRace, exact: Exact, found: Found) -> Verdict:
    """Who has the larger area, at two standard errors of the paired difference."""
    by_iterations, judged = found.lead(), found.lead(knobs.rho)
    group, critic = (mean_of(areas(c)).value for c in (found.group_SE, found.critic_SE))
    sentence = (
        f"By iterations {_SAYS[ahead(by_iterations)]}: the mean of $V/V^\\star$ over the race "
        f"is {group:.3f} for GRPO and {critic:.3f} for PPO; paired difference "
        f"{signed(by_iterations)}."
    )
    if knobs.rho:
        sentence = (
            f"By compute {_SAYS[ahead(judged)]}: paired difference {signed(judged)}. {sentence}"
        )
    if ahead(judged) == "nobody":
        sentence += f" No verdict: so small a difference {NUM_SEEDS} seeds cannot tell from chance."
    by = f"compute, with $\\rho = {knobs.rho:g}$" if knobs.rho else "iterations"
    rule = (
        "The claim is judged on the axis that ρ sets (0: iterations). A side is ahead where the "
        f"difference of the areas, seed by seed, is {CLEAR:g} standard errors or more from 0 over "
        f"{NUM_SEEDS} seeds. The claim holds where GRPO is ahead and is not as often said where "
        "PPO is; below that there is no verdict. ± is half of the 95 % interval, "
        f"{HALF_WIDTH:g} standard errors."
    )
    return Verdict(_KINDS[ahead(judged)], sentence, rule, f"GRPO is faster by {by}.")


_KINDS: dict[Ahead, Literal["holds", "differs", "open"]] = {
    "GRPO": "holds",
    "PPO": "differs",
    "nobody": "open",
}
_SAYS: dict[Ahead, str] = {
    "GRPO": "GRPO is ahead",
    "PPO": "PPO is ahead",
    "nobody": "the two are not distinguishable",
}


def signed(found: Estimate) -> str:
    """With a sign, and half of the 95 % interval."""
    return f"{found.value:+.4f} ± {HALF_WIDTH * found.se:.4f}".replace("-", "−")
