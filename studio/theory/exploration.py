"""What holds a policy open: nothing in GRPO's own update, and a KL at a temperature that the
advantages change.

Shape letters: S steps. The laws are in `exploration_laws`, the runs in `exploration_runs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studio.theory.exploration_laws import (
    NUM_ACTIONS,
    Policy,
    Rule,
    boltzmann,
    drift,
    expected_path,
    pass_at,
    peaked,
    restlessness,
    settled,
)
from studio.theory.exploration_runs import (
    NOISE_STEPS,
    Settled,
    learned,
    noise_path,
    noise_step,
    num_steps,
    sampled_pass,
)
from studio.theory.knobs import Knobs, one_of
from studio.theory.sampled import FAR, Estimate, Verdict

Floats = NDArray[np.float64]
Kind = Literal["holds", "fails", "open", "differs"]

PEAK = 0.8
"""Of the peaked policy that takes a step of noise beside the uniform one."""
TEMPERATURES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)
"""Of the sharpened policies."""
NEAR_DROP = 0.05
"""How far from the law of the drop, of its size, still agrees: it leaves out higher orders."""
NEAR_VALUE, PER_NOISE = 0.01, 0.1
"""How far from the law of V still agrees: the first is the rest of the way that slow ways have to
go, the second for each unit of `restlessness`, as the law leaves out the noise."""
MOST_NOISE = 0.5
"""Restlessness up to which the law of V is held against the runs: noise then moves a logit by half
a nat, and a law for small steps says nothing beyond."""


@dataclass(frozen=True)
class KnobsOfExploration(Knobs):
    """What can be turned."""

    advantage: str = one_of(
        "mean", ("mean", "loo", "zscore"), "Advantage", help="As in a recipe of this studio."
    )
    group_size: int = one_of(8, (2, 4, 8, 16, 32), "G: completions per group")
    beta: float = one_of(
        0.3,
        (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
        "β: weight of the KL",
        help="To the uniform policy, in the loss. Not in the figures *Noise alone* and "
        "*Sharpening*.",
    )
    eta: float = one_of(1.0, (0.5, 1.0, 2.0), "η: size of a step")
    attempts: int = one_of(16, (4, 16, 64), "k of pass@k", help="Only in the figure *Sharpening*.")

    @property
    def rule(self) -> Rule:
        """How the runs with a signal learn."""
        return Rule(self.advantage, self.group_size, self.eta, self.beta)


@dataclass(frozen=True)
class Exact:
    """What is worked out."""

    drop: float
    """First change of H by noise from the uniform policy, to second order in eta."""
    peaked_drop: float
    """The same where one way has probability `PEAK`."""
    settled: Policy
    """Where the expected update is 0."""
    nominal: Policy
    """The policy of temperature beta."""
    values_S: Floats
    """V along the expected update, from the uniform policy."""
    entropies_S: Floats
    passes: tuple[tuple[float, float], ...]
    """pass@1 and pass@k at `TEMPERATURES`."""


@dataclass(frozen=True)
class Found:
    """What is sampled."""

    drop: Estimate
    peaked_drop: Estimate
    noise: tuple[Estimate, ...]
    """H of runs on coin flips, see `exploration_runs.noise_path`."""
    runs: Settled
    passes: tuple[tuple[Estimate, Estimate], ...]
    """pass@1 and pass@k at `TEMPERATURES`."""


def exact(knobs: KnobsOfExploration) -> Exact:
    """Laws of the expected update, and of its noise to second order."""
    rule = knobs.rule
    values_S, entropies_S = expected_path(rule, num_steps(rule.eta))
    return Exact(
        drop=drift(peaked(1 / NUM_ACTIONS), rule),
        peaked_drop=drift(peaked(PEAK), rule),
        settled=settled(rule.estimator, rule.size, rule.beta),
        nominal=boltzmann(rule.beta),
        values_S=values_S,
        entropies_S=entropies_S,
        passes=tuple((pass_at(1, t), pass_at(knobs.attempts, t)) for t in TEMPERATURES),
    )


def estimate(knobs: KnobsOfExploration, seed: int) -> Found:
    """Runs on sampled groups, and sampled attempts."""
    noise = replace(knobs.rule, beta=0.0)
    first = sampled_pass(1, TEMPERATURES, seed)
    some = sampled_pass(knobs.attempts, TEMPERATURES, seed)
    return Found(
        drop=noise_step(noise, 1 / NUM_ACTIONS, seed),
        peaked_drop=noise_step(noise, PEAK, seed),
        noise=noise_path(noise, seed),
        runs=learned(knobs.rule, seed),
        passes=tuple(zip(first, some, strict=True)),
    )


CLAIM = (
    "GRPO keeps a policy open by itself: rewards that say nothing do not lower its entropy, as an "
    "entropy term in its update would see to."
)
RULE = (
    f"Three tests: (1) the first drop of $H$ by noise within {FAR:g} standard errors or "
    f"{100 * NEAR_DROP:g} % of its law; (2) with $\\beta>0$, $V$ where the runs settle within "
    f"{FAR:g} standard errors or ${NEAR_VALUE:g}+{PER_NOISE:g}\\,x$ of the policy whose "
    "temperature the advantages make of $\\beta$; $x=\\eta c/\\beta$ is the noise of a step "
    "against the pull of the KL ($c$ as in the derivation: a logit wanders by $\\sqrt{x/2}$); (3) "
    "whether coin-flip rewards raise $H$, as an entropy term would have to, or lower it, by more "
    f"than {FAR:g} standard errors. *No verdict* where $x>{MOST_NOISE:g}$: the law of (2) is one "
    "for small steps. Else (1) or (2) not met: *does not hold*. Both met and $H$ falls: *not as "
    "often said*. It rises: *holds*. Neither: *no verdict*."
)


def verdict(knobs: KnobsOfExploration, worked: Exact, found: Found) -> Verdict:
    """By the two laws, then by what noise does to the entropy."""
    start, end = found.noise[0].value, found.noise[-1]
    seen, law = found.runs.value, worked.settled
    sentence = (
        f"Coin-flip rewards take $H$ from {start:.3f} to {end.value:.3f} in {NOISE_STEPS} steps "
        f"(first step {_number(found.drop.value)}, law {_number(worked.drop)}): no entropy term "
        "holds it."
    )
    if knobs.beta:
        sentence += (
            f" With $\\beta={knobs.beta:g}$ the runs settle at $V={seen.value:.3f}$; the law says "
            f"{law.value:.3f} (temperature {law.temperature:.3g}), taking $\\beta$ itself for the "
            f"temperature {worked.nominal.value:.3f}."
        )
    else:
        sentence += f" Without a KL the runs end at $V={seen.value:.3f}$."
    noise, kind = restlessness(knobs.rule), _kind(knobs, worked, found)
    if _too_noisy(knobs):
        sentence += (
            f" No verdict: at $x={noise:.2g}$ the noise of a step is too much beside the pull of "
            "the KL for the law of small steps to say where runs settle."
        )
    elif kind == "fails":
        sentence += " That is further from the laws than they allow for."
    elif kind == "open":
        sentence += f" No verdict: noise moved $H$ by less than {FAR:g} standard errors."
    return Verdict(kind, sentence, RULE, CLAIM)


def _too_noisy(knobs: KnobsOfExploration) -> bool:
    return knobs.beta > 0 and restlessness(knobs.rule) > MOST_NOISE


def _kind(knobs: KnobsOfExploration, worked: Exact, found: Found) -> Kind:
    if _too_noisy(knobs):
        return "open"
    drops = _near(found.drop, worked.drop, NEAR_DROP * abs(worked.drop))
    margin = NEAR_VALUE + PER_NOISE * restlessness(knobs.rule)
    settles = not knobs.beta or _near(found.runs.value, worked.settled.value, margin)
    if not (drops and settles):
        return "fails"
    z = found.noise[-1].z(found.noise[0].value)
    return "differs" if z < -FAR else "holds" if z > FAR else "open"


def _near(found: Estimate, law: float, margin: float) -> bool:
    return found.agrees(law) or abs(found.value - law) <= margin


def _number(value: float) -> str:
    """Three digits; the drops go down to some 1e-5, where a power of ten is shorter."""
    if abs(value) >= 1e-4:
        return f"{value:#.3g}".replace("-", "−")
    mantissa, _, power = f"{value:.2e}".partition("e")
    return f"${mantissa}\\cdot10^{{{int(power)}}}$"
