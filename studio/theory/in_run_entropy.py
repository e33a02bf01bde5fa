"""The change of a run's entropy from step to step against the covariance law.

Shape letters: K tokens of a step, S steps.

For one softmax, to first order, dH = -Cov(log pi, dz), where z are the logits. A step of size eta
on advantages A moves them by eta A (natural gradient). Over stored tokens, which are samples of pi,
the covariance inside their contexts is the mean of (log pi + H) A: log pi + H has mean 0 in every
context, so that what contexts differ in drops out.

The entropy of step k and the covariance of step k are measured on the same completions: a step
that happens to ask harder questions has a higher entropy, a larger covariance, and a fall of the
entropy after it that is chance alone. So the verdict looks at the correlation that remains at
equal entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Row
from studio.theory.in_run_data import (
    LARGE,
    SEED,
    Comparison,
    Floats,
    StepPush,
    Stored,
    percent,
    told,
    undecided,
)
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate, Verdict

TITLE = "What makes the entropy fall?"
SAYS = (
    "One step changes the entropy by $\\Delta H\\approx-\\mathrm{Cov}(\\log\\pi,\\Delta z)"
    "\\approx-\\eta\\,\\mathrm{Cov}(\\log\\pi,\\hat A)$: it falls where likely tokens are rewarded "
    "and rises where unlikely ones are. Here $\\pi$ is the policy, $z$ its logits, $\\hat A$ the "
    "advantage and $\\eta$ the learning rate; the covariance is the mean of "
    "$(\\log\\pi+H)\\,\\hat A$ over the stored tokens, with their weights in the loss."
)
RULE = (
    "Holds where the 95 % interval of the rank correlation between $-\\eta\\,\\mathrm{Cov}$ and "
    "the change of entropy over the following step, at equal entropy before it, lies above 0 "
    "(bootstrap over steps); does not hold where it lies below 0; else, or below 20 steps, no "
    "verdict."
)
APART = (
    "The law is first order and speaks of independent contexts; a run has shared weights, Adam, "
    "clipping, a KL or an entropy bonus, and only some groups keep their tokens (they stand for "
    "all groups of the step with a signal). `train/entropy` is measured on other prompts in every "
    "step: with few of them that noise is larger than the change."
)
MIN_STEPS = 20
DRAWS = 1000


def push_of(
    step: int,
    logp: Floats,
    entropy: Floats,
    advantage: Floats,
    weight: Floats,
    scale: float,
) -> StepPush:
    """Sums over a step's stored tokens, `(K,)` each, times `scale`: all groups of the step that
    have a signal over those of them that are stored. Tokens with a number that is not finite, or
    beyond `LARGE`, are left out."""
    table_4K = np.stack([logp, entropy, advantage, weight])
    table_4K = table_4K[:, (np.abs(table_4K) <= LARGE).all(0)]
    logp, entropy, advantage, weight = table_4K
    natural = float(((logp + entropy) * weight * advantage).sum())
    return StepPush(step, scale * natural, len(logp))


@dataclass(frozen=True, eq=False)
class Law:
    """Steps with what should have moved the entropy and what it did."""

    steps_S: Floats
    predicted_S: Floats
    """-eta Cov(log pi, A)."""
    change_S: Floats
    """Entropy at the next step less that at this one (nats a token)."""
    level_S: Floats
    """Entropy at this one."""


@dataclass(frozen=True)
class Correlation:
    """A correlation with its 95 % interval over bootstrap draws of steps."""

    value: float
    low: float
    high: float

    @property
    def estimate(self) -> Estimate:
        """With half the width of the interval as a band."""
        return Estimate(self.value, (self.high - self.low) / (2 * 1.96), 0)


def law_of(stored: Stored) -> Law:
    """The steps whose tokens, entropy and next entropy are stored, and the learning rate; where
    that is stored of no step it is 1."""
    rates = stored.learning_rate
    known = [
        push
        for push in sorted(stored.pushes, key=lambda push: push.step)
        if push.step in stored.entropy and push.step + 1 in stored.entropy
        if not rates or push.step in rates
    ]
    eta_S = np.array([rates.get(push.step, 1.0) for push in known])
    now_S = np.array([stored.entropy[push.step] for push in known])
    next_S = np.array([stored.entropy[push.step + 1] for push in known])
    return Law(
        np.array([push.step for push in known], dtype=float),
        -eta_S * np.array([push.natural for push in known]),
        next_S - now_S,
        now_S,
    )


# --- correlations --------------------------------------------------------------------------------


def ranks(values: Floats) -> Floats:
    """Ranks along the last axis; equal values share the mean of theirs."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return np.asarray(below + (equal + 1) / 2)


def correlation(x: Floats, y: Floats) -> Floats:
    """Pearson's along the last axis; 0 where one does not vary."""
    x, y = (v - v.mean(-1, keepdims=True) for v in (x, y))
    size = np.sqrt(np.square(x).sum(-1) * np.square(y).sum(-1))
    return np.asarray(np.divide((x * y).sum(-1), size, out=np.zeros_like(size), where=size > 1e-15))


def partial(x: Floats, y: Floats, z: Floats) -> Floats:
    """The correlation of x and y that remains at equal z; 0 where nothing of them remains."""
    xy, xz, yz = correlation(x, y), correlation(x, z), correlation(y, z)
    rest = np.sqrt(np.maximum((1 - xz**2) * (1 - yz**2), 0.0))
    return np.asarray(np.divide(xy - xz * yz, rest, out=np.zeros_like(rest), where=rest > 1e-9))


@dataclass(frozen=True, eq=False)
class Fit:
    """What the steps say together."""

    num: int
    rank: Correlation
    """Spearman's, of what was predicted and what came."""
    rank_at_level: Correlation
    """The same at equal entropy before: what the verdict is about."""
    slope: Correlation
    """Of the straight line: change of the entropy over what was predicted."""
    offset: float
    """Its height at 0: what changes the entropy without an advantage."""


def fit_of(law: Law) -> Fit | None:
    """None where steps are fewer than three, or nothing varies."""
    num = len(law.steps_S)
    if num < 3 or np.ptp(law.predicted_S) == 0 or np.ptp(law.change_S) == 0:
        return None
    draws = np.random.default_rng(SEED).integers(num, size=(DRAWS, num))
    draws[0] = np.arange(num)  # the steps themselves come first
    x, y = law.predicted_S[draws], law.change_S[draws]
    # Ranks of all steps, drawn: ranking each draw anew costs a hundred times more.
    x_rank, y_rank, level_rank = (
        ranks(values)[draws] for values in (law.predicted_S, law.change_S, law.level_S)
    )
    ratio = np.divide(y.std(-1), x.std(-1), out=np.zeros(DRAWS), where=x.std(-1) > 0)
    slope = _banded(correlation(x, y) * ratio)
    return Fit(
        num,
        _banded(correlation(x_rank, y_rank)),
        _banded(partial(x_rank, y_rank, level_rank)),
        slope,
        float(law.change_S.mean() - slope.value * law.predicted_S.mean()),
    )


def _banded(values_D: Floats) -> Correlation:
    ordered = np.sort(values_D[1:])
    low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]
    return Correlation(float(values_D[0]), float(low), float(high))


# --- the comparison ------------------------------------------------------------------------------


def compare(stored: Stored) -> Comparison:
    """The fifth comparison; see the module's docstring."""
    law = law_of(stored)
    found = fit_of(law)
    if found is None:
        if not stored.pushes:
            why = "No tokens are stored (`store.token_groups`), or none of them has an advantage."
        else:
            why = "Too few steps have stored tokens with an advantage, and a next step."
        return Comparison("entropy", TITLE, SAYS, why, undecided(why, RULE), APART)
    return Comparison(
        "entropy",
        TITLE,
        SAYS,
        _shows(found, law),
        verdict_of(found),
        APART,
        tuple(_rows(found)),
        lambda palette: draw(law, found, palette),
    )


def verdict_of(found: Fit) -> Verdict:
    """By `RULE`."""
    at_level = found.rank_at_level
    said = (
        f"Over {found.num} steps the rank correlation at equal entropy is "
        f"${told(at_level.value, 2)}$ "
        f"(95 %: ${told(at_level.low, 2)}$ to ${told(at_level.high, 2)}$)"
    )
    if found.num < MIN_STEPS:
        return undecided(f"{said}. Below {MIN_STEPS} steps that says nothing.", RULE)
    if at_level.low > 0:
        return Verdict("holds", f"{said}, as the law wants it: above 0.", RULE)
    if at_level.high < 0:
        return Verdict("fails", f"{said}, against the law: below 0.", RULE)
    return undecided(f"{said}. That has both signs, so nothing can be said.", RULE)


def _shows(found: Fit, law: Law) -> str:
    total = law.level_S[-1] - law.level_S[0]
    falls = float((law.predicted_S < 0).mean())
    return (
        f"The entropy changes by ${told(float(total))}$ nats a token from step "
        f"{int(law.steps_S[0])} to {int(law.steps_S[-1])}, and in {percent(falls)} of the steps "
        "the covariance says that it should fall. Both are measured on the same completions, "
        "which alone makes them correlated: only what remains at equal entropy is judged."
    )


def _rows(found: Fit) -> list[Row]:
    return [
        Row("Rank correlation at equal entropy (judged)", None, found.rank_at_level.estimate),
        Row("Rank correlation with the shared noise", None, found.rank.estimate),
    ]


def draw(law: Law, found: Fit, palette: Palette) -> go.Figure:
    """Each step: what the covariance predicts and what came, and a line where there is a verdict:
    else its slope has no sign."""
    drawn = plots.figure("−η Cov(log π, A), predicted", "ΔH to the next step, nats a token")
    shown = np.unique(np.linspace(0, found.num - 1, min(found.num, 400)).round().astype(int))
    drawn.add_scatter(
        x=law.predicted_S[shown].tolist(),
        y=law.change_S[shown].tolist(),
        text=[f"step {int(step)}" for step in law.steps_S[shown]],
        name="a step",
        mode="markers",
        marker={"color": palette.found, "size": 7},
    )
    ends = np.array([law.predicted_S.min(), law.predicted_S.max()])
    if verdict_of(found).kind != "open":
        fitted = found.offset + found.slope.value * ends
        plots.line(drawn, ends, fitted, "fitted line", palette.other)
    plots.line(drawn, ends, [0.0, 0.0], "no change", palette.quiet, "dash")
    return drawn
