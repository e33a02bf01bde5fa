"""The change of a run's entropy from step to step against the covariance law.

Shape letters: K tokens of a step, S steps.

For one softmax, to first order, dH = -Cov(log pi, dz), where z are the logits. A step of size eta
on advantages A moves them by eta A (natural gradient) or eta pi A (plain gradient). Over stored
tokens, which are samples of pi, the covariance inside their contexts is the mean of
(log pi + H) A: log pi + H has mean 0 in every context, so that what contexts differ in drops out.

The entropy of step k and the covariance of step k are measured on the same completions: a step
that happens to ask harder questions has a higher entropy, a larger covariance, and a fall of the
entropy after it that is chance alone. So the verdict looks at the correlation that remains at
equal entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from studio.digits import n
from studio.theory import plots
from studio.theory.card import Row
from studio.theory.in_run_data import (
    SEED,
    Comparison,
    Floats,
    StepPush,
    Stored,
    undecided,
)
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate, Verdict

TITLE = "What makes the entropy fall?"
SAYS = (
    "One step changes the entropy by $\\Delta H\\approx-\\mathrm{Cov}(\\log\\pi,\\Delta z)"
    "\\approx-\\eta\\,\\mathrm{Cov}(\\log\\pi,\\hat A)$: it falls where likely tokens are rewarded "
    "and rises where unlikely ones are. The covariance is taken inside each token's context, as "
    "the mean of $(\\log\\pi+H)\\,\\hat A$ over the stored tokens with their weights in the loss."
)
RULE = (
    "Agrees where the rank correlation of $-\\eta\\,\\mathrm{Cov}$ and the change of entropy over "
    "the following step, at equal entropy before it, is above 0 in 95 % of bootstrap draws over "
    "steps on both sides; disagrees where it is below 0; else, or below 20 steps, cannot tell."
)
APART = (
    "The law is first order and speaks of independent contexts moved by a gradient. A run has "
    "shared weights, Adam (which divides by the gradient's own size and remembers ten steps), "
    "clipping of long gradients, several updates on a rollout, a KL or an entropy bonus that "
    "move the logits without an advantage, and answers whose length changes, so that "
    "`train/entropy` is a mean over other contexts. It is measured on other prompts in every "
    "step; with few prompts a step that noise is larger than the change. Only the groups whose "
    "tokens were kept count, scaled up to all groups of the step with a signal."
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
    have a signal over those of them that are stored. Numbers that are not finite are left out."""
    seen = np.isfinite(logp) & np.isfinite(entropy) & np.isfinite(advantage) & np.isfinite(weight)
    logp, entropy, pull = logp[seen], entropy[seen], (weight * advantage)[seen]
    each = (logp + entropy) * pull
    natural, plain = float(each.sum()), float((each * np.exp(logp)).sum())
    return StepPush(step, scale * natural, scale * plain, int(seen.sum()))


@dataclass(frozen=True, eq=False)
class Law:
    """Steps with what should have moved the entropy and what it did."""

    steps_S: Floats
    predicted_S: Floats
    """-eta Cov(log pi, A), natural gradient."""
    plain_S: Floats
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
    """The steps whose tokens, entropy and next entropy are stored. Without a stored learning rate
    it is 1 at every step."""
    known = [
        push
        for push in sorted(stored.pushes, key=lambda push: push.step)
        if push.step in stored.entropy and push.step + 1 in stored.entropy
    ]
    eta_S = np.array([stored.learning_rate.get(push.step, 1.0) for push in known])
    now_S = np.array([stored.entropy[push.step] for push in known])
    next_S = np.array([stored.entropy[push.step + 1] for push in known])
    return Law(
        np.array([push.step for push in known], dtype=float),
        -eta_S * np.array([push.natural for push in known]),
        -eta_S * np.array([push.plain for push in known]),
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
    pearson: Correlation
    plain: Correlation
    """Spearman's, where the logits move by eta pi A."""
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
    x_rank, y_rank, plain_rank, level_rank = (
        ranks(values)[draws] for values in (law.predicted_S, law.change_S, law.plain_S, law.level_S)
    )
    ratio = np.divide(y.std(-1), x.std(-1), out=np.zeros(DRAWS), where=x.std(-1) > 0)
    slope = _banded(correlation(x, y) * ratio)
    return Fit(
        num,
        _banded(correlation(x_rank, y_rank)),
        _banded(partial(x_rank, y_rank, level_rank)),
        _banded(correlation(x, y)),
        _banded(correlation(plain_rank, y_rank)),
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
        f"${n(at_level.value, 2)}$ (95 %: ${n(at_level.low, 2)}$ to ${n(at_level.high, 2)}$)"
    )
    if found.num < MIN_STEPS:
        return undecided(f"{said}; {MIN_STEPS} steps are needed.", RULE)
    if at_level.low > 0:
        return Verdict("holds", f"{said}: agrees with the law.", RULE)
    if at_level.high < 0:
        return Verdict("fails", f"{said}: disagrees with the law.", RULE)
    return undecided(f"{said}: cannot tell.", RULE)


def _shows(found: Fit, law: Law) -> str:
    total = law.level_S[-1] - law.level_S[0]
    falls = float((law.predicted_S < 0).mean())
    return (
        f"The entropy changes by ${n(float(total), 3)}$ nats a token from step "
        f"{int(law.steps_S[0])} to {int(law.steps_S[-1])}. In {falls:.0%} of the steps the "
        "covariance says that it should fall. Prediction and change have the rank correlation "
        f"${n(found.rank.value, 2)}$ (Pearson ${n(found.pearson.value, 2)}$), of which "
        f"${n(found.rank_at_level.value, 2)}$ remains at equal entropy: the rest may be that both "
        "are measured on the same completions."
    )


def _rows(found: Fit) -> list[Row]:
    return [
        Row("Rank correlation (Spearman)", None, found.rank.estimate),
        Row("Rank correlation at equal entropy", None, found.rank_at_level.estimate),
        Row("Correlation (Pearson)", None, found.pearson.estimate),
        Row("Rank correlation, $\\Delta z=\\eta\\,\\pi A$", None, found.plain.estimate),
        Row("Slope of the change over the prediction", None, found.slope.estimate),
        Row("Change where none is predicted (nats a token)", None, found.offset),
    ]


def draw(law: Law, found: Fit, palette: Palette) -> go.Figure:
    """Each step: what the covariance predicts and what came."""
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
    plots.line(drawn, ends, found.offset + found.slope.value * ends, "fitted line", palette.exact)
    plots.line(drawn, ends, [0.0, 0.0], "no change", palette.quiet, "dash")
    return drawn
