"""What a run's prompts have of its update, by how hard they are.

Shape letters: M groups, Q points of a grid of rates, B bins of rates; p: probability that a prompt
is solved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from grpo_core.advantages import COMPARES
from studio.theory import plots
from studio.theory.card import Row
from studio.theory.in_run_data import (
    FEW_GROUPS,
    NO_GROUPS,
    SEED,
    Comparison,
    Floats,
    Ints,
    Stored,
    StoredGroup,
    Successes,
    percent,
    successes_of,
    told,
    undecided,
    usual_size,
)
from studio.theory.in_run_halves import MIN_IN_BIN, Halves, halves_of
from studio.theory.in_run_rates import (
    BINS,
    EARLY,
    GRID_Q,
    bins_of,
    fit,
    posteriors,
    pull,
)
from studio.theory.plots import Palette
from studio.theory.sampled import FAR_CHI2, Estimate, Verdict

TITLE = "Which prompts does the update listen to?"
SAYS = (
    "Divided by the group's deviation, the update is $w_G(p)\\,\\nabla p$ with $w_G(p)=\\mathbb E"
    "\\sqrt{K(G-K)}\\,/\\,(G\\,p(1-p))$: prompts that are nearly always or nearly never solved "
    "count up to $\\sqrt{G-1}$ times as much as in the gradient of the solve rate. Without the "
    "division every prompt has the weight 1. The mean size of an advantage at a solve rate is "
    "$2p(1-p)\\,w_G(p)$, times $\\sqrt{1-\\frac1G}$ where the deviation is the sample's, as it is "
    "stored. Here $p$ is a prompt's solve rate, $G$ the size of the group and $K$ its right ones."
)
RULE = (
    "Holds where the mean size of an advantage in the second half of each group is, for every "
    "number of right ones in the first half, that of independent draws from the fitted rates "
    "(all together below 4 deviations of chi squared); no verdict below 20 groups of 4, with "
    "filtered groups, or where all prompts are always or never solved."
)
APART = (
    "The law needs rewards of two values and completions drawn by themselves; a KL or a penalty in "
    "the reward makes advantages where it has none. The stored shares spread each group over the "
    "rates that it may have, by the same fit as the law: they are a picture, and the test is that "
    "of the halves."
)
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Difficulty:
    """Rates, weights and shares."""

    size: int
    is_zscore: bool
    successes: Successes
    weights_Q: Floats
    """Of the rates of the grid, at the moments of the groups."""
    prompts_B: Floats
    """Share of the prompts by solve rate, all completions of a prompt taken together."""
    num_prompts: int
    num_repeated: int
    """Prompts that came up more than once."""
    law_B: Floats
    """Share of the update, worked out from the rates."""
    even_B: Floats
    """The same without a division by the deviation."""
    seen_B: list[Estimate]
    """Share of the stored sizes of advantages, each group spread over the rates that it may
    have."""
    halves: Halves | None


def difficulty_of(stored: Stored) -> Difficulty | None:
    """None below two groups of two completions with a reward."""
    groups = [group for group in stored.groups if group.size > 1]
    if len(groups) < 2:
        return None
    is_zscore = stored.estimator == "zscore"
    successes = successes_of(groups)
    right_M, size_M = successes.right_M, successes.size_M
    weights_Q = fit(right_M, size_M, EARLY)
    right_P, size_P, num_repeated = _prompts(successes)
    law_B, even_B = (_shares(weights_Q, size_M, one) for one in (is_zscore, False))
    return Difficulty(
        usual_size(groups),
        is_zscore,
        successes,
        weights_Q,
        bins_of(fit(right_P, size_P, EARLY)),
        len(right_P),
        num_repeated,
        law_B,
        even_B,
        _seen(stored, groups, posteriors(weights_Q, right_M, size_M)),
        halves_of(successes, usual_size(groups), is_zscore),
    )


def _prompts(successes: Successes) -> tuple[Ints, Ints, int]:
    """Right ones and completions of each prompt over all its groups, and how many have several."""
    places: dict[str, int] = {}
    place_M = np.array([places.setdefault(name, len(places)) for name in successes.problems])
    right_P = np.bincount(place_M, successes.right_M).astype(np.int64)
    size_P = np.bincount(place_M, successes.size_M).astype(np.int64)
    return right_P, size_P, int((np.bincount(place_M) > 1).sum())


def _shares(weights_Q: Floats, size_M: Ints, is_zscore: bool) -> Floats:
    """Share of the update by bin: the mean size of an advantage over the groups' own sizes."""
    sizes, counts = np.unique(size_M, return_counts=True)
    total_Q = sum(
        num * size * pull(int(size), is_zscore) for size, num in zip(sizes, counts, strict=True)
    )
    return _normal(bins_of(weights_Q * total_Q))


def _normal(values_B: Floats) -> Floats:
    total = values_B.sum(-1, keepdims=True)
    return np.asarray(np.divide(values_B, total, out=np.zeros_like(values_B), where=total > 0))


def _seen(stored: Stored, groups: list[StoredGroup], posterior_MQ: Floats) -> list[Estimate]:
    """Stored sizes of advantages (centred rewards where the estimator does not compare inside the
    group), with a bootstrap over groups."""
    compares = stored.estimator in COMPARES
    sizes_M = np.array(
        [
            np.nansum(np.abs(group.advantage_G if compares else group.R_G - group.R_G.mean()))
            for group in groups
        ]
    )
    own_MB = np.stack([bins_of(row) for row in posterior_MQ]) * sizes_M[:, None]
    draws = np.random.default_rng(SEED).multinomial(
        len(groups), np.full(len(groups), 1 / len(groups)), size=DRAWS
    )
    error_B = _normal(draws @ own_MB).std(0, ddof=1)
    share_B = _normal(own_MB.sum(0))
    pairs = zip(share_B, error_B, strict=True)
    return [Estimate(float(value), float(se), len(groups)) for value, se in pairs]


# --- the comparison ------------------------------------------------------------------------------


def compare(stored: Stored) -> Comparison:
    """The third comparison."""
    found = difficulty_of(stored)
    if found is None:
        verdict = undecided(NO_GROUPS, RULE)
        return Comparison("difficulty", TITLE, SAYS, NO_GROUPS, verdict, APART)
    return Comparison(
        "difficulty",
        TITLE,
        SAYS,
        _shows(found, stored),
        verdict_of(found, stored.is_filtered),
        APART,
        tuple(_rows(found)),
        lambda palette: draw(found, palette),
    )


def verdict_of(found: Difficulty, is_filtered: bool) -> Verdict:
    """By `RULE`."""
    if is_filtered:
        why = "Groups with equal rewards were replaced and are not stored: rates look too even."
        return undecided(why, RULE)
    halves = found.halves
    if halves is None or halves.num_H.sum() < FEW_GROUPS:
        return undecided("The groups are too few, or too small to be halved.", RULE)
    z = halves.z_chi2
    if z is None:
        return undecided("All prompts are always or never solved: there is no update.", RULE)
    said = (
        f"Second halves of {int(halves.num_H.sum()):,} groups, by their first halves: "
        f"chi squared is ${told(z, 2)}$ deviations from what independent draws make it"
    )
    if abs(z) < FAR_CHI2:
        return Verdict("holds", f"{said}.", RULE)
    return Verdict("fails", f"{said}: they are not independent.", RULE)


def _shows(found: Difficulty, stored: Stored) -> str:
    hard, easy = found.law_B[:2].sum(), found.law_B[-2:].sum()
    prompts = f"{found.num_prompts:,} prompts"
    if found.num_repeated:
        prompts += (
            f", {found.num_repeated:,} of them more than once (taken together over the steps)"
        )
    said = (
        f"{found.successes.whose} Of {prompts} {percent(found.prompts_B[:2].sum())} are solved "
        f"less than one time in five and {percent(found.prompts_B[-2:].sum())} more than four "
        f"times in five. By the fitted rates they have {percent(hard)} and {percent(easy)} of the "
        "update"
    )
    if found.is_zscore:
        even = found.even_B
        return (
            f"{said}; without the z-score {percent(even[:2].sum())} and {percent(even[-2:].sum())}."
        )
    if stored.estimator in ("mean", "loo"):
        return f"{said}: the advantages are not divided, so that every prompt has the weight 1."
    return (
        f"{said}, as centred rewards would give it: this run's `{stored.estimator}` is no "
        "group z-score, so that $w_G$ does not apply."
    )


def _rows(found: Difficulty) -> list[Row]:
    """What is judged, at the least, the middle and the most right ones; then the shares."""
    shares = [
        Row(f"Share of the update, solved {100 * low // BINS} % to {100 * high // BINS} %",
            float(found.law_B[low:high].sum()),
            float(sum(one.value for one in found.seen_B[low:high])), "percent", "approximation")
        for low, high in ((0, 2), (2, BINS - 2), (BINS - 2, BINS))
    ]  # fmt: skip
    halves = found.halves
    if halves is None:
        return shares
    half = found.size // 2
    judged = np.flatnonzero(halves.num_H >= MIN_IN_BIN)
    judged = judged[
        np.unique(np.linspace(0, len(judged) - 1, 3).round().astype(int))[: len(judged)]
    ]
    return [
        Row(f"$\\vert\\hat A\\vert$ in second halves after {halves.right_H[h]} of {half} right",
            float(halves.law_H[h]),
            Estimate(float(halves.seen_H[h]), float(halves.error_H[h]), int(halves.num_H[h])))
        for h in judged
    ] + shares  # fmt: skip


def draw(found: Difficulty, palette: Palette) -> go.Figure:
    """Prompts and update by solve rate, and the weight over them on an axis of its own."""
    drawn = plots.figure("p, solve rate of a prompt", "share")
    middles = (np.arange(BINS) + 0.5) / BINS
    names = [float(middle) for middle in middles]
    drawn.add_bar(x=names, y=found.prompts_B.tolist(), name="prompts", marker_color=palette.quiet)
    drawn.add_bar(
        x=names,
        y=[one.value for one in found.seen_B],
        error_y={"type": "data", "array": [1.96 * one.se for one in found.seen_B]},
        name="update, stored",
        marker_color=palette.found,
    )
    plots.line(drawn, middles, found.law_B, "update, law", palette.exact)
    if found.is_zscore:
        inner = slice(1, -1)
        product = 2 * GRID_Q[inner] * (1 - GRID_Q[inner])
        factor = np.sqrt(found.size / (found.size - 1))
        weight = pull(found.size, True)[inner] / product * factor
        plots.line(drawn, GRID_Q[inner], weight, "weight w(p), right", palette.other, "dot")
        drawn.data[-1].yaxis = "y2"
        drawn.update_layout(
            yaxis2={"title": "w(p)", "overlaying": "y", "side": "right", "showgrid": False,
                    "tickmode": "linear", "tick0": 0, **_axis(float(weight.max()))}
        )  # fmt: skip
    drawn.update_layout(barmode="group")
    return drawn


def _axis(most: float) -> dict[str, object]:
    """From 0 to a whole number of at most five steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= most / 5)
    return {"dtick": step, "range": [0, step * math.ceil(most / step)]}
