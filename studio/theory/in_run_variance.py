"""The variance of a stored run's advantages against sigma^2 (1 - 1/G).

Shape letters: M groups, G completions of a group, S completions of a smaller group.

All second moments of one group are one number, its sample variance: over *all* smaller groups that
can be drawn from it the law holds by algebra, whatever the data. So what is shown are the first
S completions of each group, as a run with that group size would have had, and what is tested is
that the first half of a group predicts the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from grpo_core.advantages import COMPARES, PER_GROUP, TOLERANCE, assign
from studio.theory import plots
from studio.theory.card import Row
from studio.theory.in_run_data import (
    FEW_GROUPS,
    NO_GROUPS,
    VAGUE,
    Comparison,
    Floats,
    Stored,
    StoredGroup,
    of_usual_size,
    table,
    told,
    undecided,
)
from studio.theory.plots import Palette
from studio.theory.sampled import HALF_WIDTH, Estimate, Verdict, mean_of

TITLE = "Does a larger group make advantages smaller?"
SAYS = (
    "The variance of an advantage *rises* with the group: $\\mathrm{Var}(\\hat A_i)="
    "\\sigma^2(1-\\frac1G)$ (leave-one-out: $\\sigma^2\\frac G{G-1}$, which falls to it). What "
    "falls is the error of the baseline, $\\mathrm{Var}(\\bar R)=\\sigma^2/G$. Here $G$ is the "
    "group's size, $\\sigma^2$ the variance of one prompt's rewards, $\\bar R$ their mean in a "
    "group and $\\hat A_i$ the reward less it."
)
RULE = (
    "Holds where the deviation of the first half of each group predicts the advantages of the "
    "second within 3 standard errors, paired by group; no verdict below 20 groups of 4, or where "
    "it does with an error band wider than a quarter of $\\sigma^2$."
)
APART = (
    "Averaged over *all* smaller groups drawn from a stored one the law is algebra; what a run can "
    "contradict is that completions are drawn alike whatever their place in the group (a "
    "dependence that is the same for all pairs stays unseen). Stored advantages differ from the "
    "law of their rewards where a KL or a penalty is taken off first, where each reward is "
    "normalised on its own, or where the advantage is one number a token."
)


@dataclass(frozen=True, eq=False)
class Spread:
    """What the groups of the usual size say."""

    size: int
    estimator: str
    """Whose law is drawn: `mean` or `loo`."""
    sigma2: Estimate
    """Mean over groups of the unbiased variance of their rewards."""
    first: dict[int, Estimate]
    """Variance of the advantage in the first S completions of each group, by S."""
    halves: tuple[Estimate, Estimate]
    """The variance of rewards in the first and in the second half of each group."""
    difference: Estimate | None
    """Second minus first, paired; None where a half has fewer than two completions."""

    def law(self, size: float | Floats) -> float | Floats:
        """What the variance of an advantage should be in groups of this size."""
        return self.sigma2.value * factor(self.estimator, size)


def factor(estimator: str, size: float | Floats) -> float | Floats:
    """Var(A) over sigma^2: (G-1)/G, or G/(G-1) of `loo`."""
    return size / (size - 1) if estimator == "loo" else (size - 1) / size


def spread_of(groups: list[StoredGroup], estimator: str) -> Spread | None:
    """None below two groups of two completions with a reward."""
    kept, size = of_usual_size(groups)
    if size < 2 or len(kept) < 2:
        return None
    law = "loo" if estimator == "loo" else "mean"
    R_MG = table(kept, "R_G", size)
    first = {
        small: mean_of(R_MG[:, :small].var(1, ddof=1) * factor(law, small))
        for small in range(2, size + 1)
    }
    half = size // 2
    if half < 2:
        own = mean_of(R_MG.var(1, ddof=1))
        return Spread(size, law, own, first, (own, own), None)
    ahead_M, behind_M = (part.var(1, ddof=1) for part in (R_MG[:, :half], R_MG[:, half:]))
    return Spread(
        size,
        law,
        mean_of(R_MG.var(1, ddof=1)),
        first,
        (mean_of(ahead_M), mean_of(behind_M)),
        mean_of(behind_M - ahead_M),
    )


def stored_squares(groups: list[StoredGroup], estimator: str) -> tuple[float, Estimate] | None:
    """The mean square of the advantages that the estimator gives the stored rewards, and that of
    those that were stored, over groups that were compared; None where nothing is to be said."""
    if estimator not in PER_GROUP or estimator not in COMPARES:
        return None
    compared = [g for g in groups if g.size > 1 and np.isfinite(g.advantage_G).all()]
    if len(compared) < 2:
        return None
    rewards: list[list[float | None]] = [[*g.R_G.tolist()] for g in compared]
    lengths = [[int(length) for length in g.length_G] for g in compared]
    given = assign(rewards, estimator, lengths)
    expected_M = np.array([np.mean(np.square(np.array(one, dtype=float))) for one in given])
    found_M = np.array([np.mean(np.square(g.advantage_G)) for g in compared])
    return float(expected_M.mean()), mean_of(found_M)


# --- the comparison ------------------------------------------------------------------------------


def compare(stored: Stored) -> Comparison:
    """The first comparison; see the module's docstring."""
    found = spread_of(stored.groups, stored.estimator)
    if found is None:
        verdict = undecided(NO_GROUPS, RULE)
        return Comparison("variance", TITLE, SAYS, NO_GROUPS, verdict, APART)
    rows = (*_rows(found), *_stored_row(stored))
    shows, verdict = _shows(found, stored), verdict_of(found)
    return Comparison(
        "variance", TITLE, SAYS, shows, verdict, APART, rows, lambda palette: draw(found, palette)
    )


def verdict_of(found: Spread) -> Verdict:
    """By `RULE`."""
    difference, num = found.difference, found.sigma2.num
    if difference is None or num < FEW_GROUPS:
        why = f"{num:,} groups of {found.size} completions are too few to contradict the law."
        return undecided(why, RULE)
    if found.sigma2.value <= TOLERANCE:
        why = "In none of the groups do the rewards differ: there is no variance to compare."
        return undecided(why, RULE)
    ahead, behind = found.halves
    said = (
        f"In {num:,} groups the first half has $\\sigma^2={told(ahead.value)}$, the second "
        f"${told(behind.value)}$: ${told(abs(difference.z(0.0)), 2)}$ standard errors apart"
    )
    if difference.agrees(0.0) and HALF_WIDTH * difference.se > VAGUE * found.sigma2.value:
        return undecided(f"{said}, but the difference is known too badly to say more.", RULE)
    if difference.agrees(0.0):
        return Verdict("holds", f"{said}, as completions that are drawn alike should be.", RULE)
    return Verdict("fails", f"{said}. Completions depend on their place in the group.", RULE)


def _shows(found: Spread, stored: Stored) -> str:
    size, sigma2 = found.size, found.sigma2.value
    said = (
        f"Rewards of one prompt have the variance $\\sigma^2={told(sigma2)}$ on average. With "
        f"$G={size}$ an advantage has ${told(float(found.law(size)))}$; with $G=2$ it would have "
        f"${told(float(found.law(2)))}$, with endless groups ${told(sigma2)}$."
    )
    if stored.estimator == "loo":
        return said
    if stored.estimator != "mean":
        said += (
            f" This run's `{stored.estimator}` does more than centre: what is compared here are "
            "its raw rewards less the group's mean."
        )
    return said


def _rows(found: Spread) -> list[Row]:
    """The paired difference is what is judged; a law with the sampled variance in it is not."""
    label = "$\\mathrm{Var}(\\hat A)$"
    label += " (leave-one-out)" if found.estimator == "loo" else ""
    sizes = dict.fromkeys((2, max(2, found.size // 2), found.size))
    rows = []
    if found.difference is not None:
        rows.append(Row("$\\sigma^2$, second half less first (judged)", 0.0, found.difference))
    rows += [
        Row(f"{label}, first {size} completions", float(found.law(size)), found.first[size],
            kind="approximation")
        for size in sizes
    ]  # fmt: skip
    rows.append(Row("$\\sigma^2$ of a prompt's rewards", None, found.sigma2))
    return rows


def _stored_row(stored: Stored) -> list[Row]:
    squares = stored_squares(stored.groups, stored.estimator)
    if squares is None:
        return []
    taken = ", before what is taken off the rewards" if stored.is_shaped else ""
    label = f"Mean square of the stored advantages (`{stored.estimator}`{taken})"
    return [Row(label, *squares, kind="approximation")]


def draw(found: Spread, palette: Palette) -> go.Figure:
    """Variance of the advantage and of the baseline against the size of the group."""
    drawn = plots.figure("G, completions of a group", "variance of the advantage, Var(Â)")
    most = 2 * found.size
    sizes = np.unique(np.geomspace(2, most, 80).round())
    law = "σ² G/(G−1)" if found.estimator == "loo" else "σ² (1 − 1/G)"
    plots.line(drawn, sizes, np.asarray(found.law(sizes)), law, palette.exact)
    plots.line(drawn, sizes, found.sigma2.value / sizes, "baseline, σ²/G", palette.other, "dot")
    limit = [found.sigma2.value] * 2
    plots.line(drawn, [2, most], limit, "σ²", palette.quiet, "dash")
    shown = sorted(found.first)
    shown = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, 40).round().astype(int))]
    points = [found.first[size] for size in shown]
    plots.points(drawn, shown, points, "first G of each group", palette.found)
    return drawn
