"""Groups of a run without a signal, against p^G + (1-p)^G.

Shape letters: M groups, G completions of a group, S completions of a smaller group; p: probability
that a prompt is solved.

The share of smaller groups, drawn from a stored one, that are all right or all wrong is unbiased
for p^S + (1-p)^S with that prompt's own p; with the right ones of a whole step it is unbiased for
one p that all its prompts share. A plug-in of the group's own share is not: it is too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import plotly.graph_objects as go

from grpo_core.advantages import TOLERANCE
from studio.theory import plots
from studio.theory.card import Row
from studio.theory.in_run_data import (
    NO_GROUPS,
    Comparison,
    Floats,
    Ints,
    Stored,
    Successes,
    percent,
    successes_of,
    told,
    undecided,
    usual_size,
)
from studio.theory.in_run_rates import GRID_Q, LATE, fit, subsets_flat
from studio.theory.plots import Palette
from studio.theory.sampled import HALF_WIDTH, Estimate, Verdict, mean_of

TITLE = "How many groups teach nothing?"
SAYS = (
    "A group of $G$ completions whose rewards are all equal has no policy gradient. With one solve "
    "rate $p$ that happens with the probability $p^G+(1-p)^G$, which falls fast. Where prompts "
    "differ, it is the *mean* of that over the prompts, never less than its value at the mean $p$, "
    "and falls much more slowly."
)
RULE = (
    "Holds where the share of flat groups is, step by step, that of one solve rate for all "
    "prompts of a step, within 3 standard errors; differs where there are more of them (prompts "
    "differ in difficulty); fails where there are fewer, which no solve rates make. No verdict "
    "below 10 steps of two groups, with filtered groups, or where it would hold with an error band "
    "wider than 5 points."
)
APART = (
    "More flat groups than one $p$ makes is the usual case: prompts differ in difficulty, and "
    "larger groups save less; fewer means that completions of a group repel each other, or that "
    "flat groups are not stored. Where rewards take more than two values, they may differ "
    "although all are wrong: fewer groups have equal rewards than are all right or all wrong."
)
MIN_STEPS = 10
WIDE = 0.05
AHEAD = 4
"""Times the run's own group size up to which the fitted rates are followed."""


@dataclass(frozen=True, eq=False)
class Flat:
    """Shares of groups that are all right or all wrong."""

    size: int
    whose: str
    alike: float
    """Groups of any size that are all right or all wrong."""
    equal_rewards: Estimate
    """Groups whose stored rewards are all equal."""
    common: dict[int, Estimate]
    """Worked out from one solve rate a step, by group size."""
    own: dict[int, Estimate]
    """Worked out from each prompt's own rate, without bias."""
    plugged: dict[int, float]
    """The biased form: each group's own share put into the formula."""
    seen: float
    """Share that is flat, each group at its own size, in steps of two groups or more."""
    expected: float
    """What one rate a step would make of the same groups."""
    difference: Estimate | None
    """The one less the other, over steps; None where fewer than two steps have two groups."""
    spread: float
    """Variance of the rate between prompts of a step; may come out below 0 by chance."""
    larger: dict[int, float]
    """From the fitted rates: up to `AHEAD` times the run's size."""


@lru_cache(maxsize=4096)
def _flat(right: int, size: int, small: int) -> float:
    return subsets_flat(right, size, small)


def flat_of(stored: Stored) -> Flat | None:
    """None below two groups of two completions with a reward."""
    groups = [group for group in stored.groups if group.size > 1]
    if len(groups) < 2:
        return None
    successes = successes_of(groups)
    right_M, size_M = successes.right_M, successes.size_M
    size = usual_size(groups)
    smaller = _sizes(size)
    weights_Q = fit(right_M, size_M, LATE)
    pooled = _steps(successes)
    seen_S, expected_S = _by_step(successes, pooled)
    return Flat(
        size,
        successes.whose,
        float(((right_M == 0) | (right_M == size_M)).mean()),
        mean_of(np.array([float(np.ptp(group.R_G) <= TOLERANCE) for group in groups])),
        _means({s: _common(pooled, s) for s in smaller}),
        _means({s: _own(right_M, size_M, s) for s in smaller}),
        {s: float(_formula(right_M / size_M, s).mean()) for s in smaller},
        float(seen_S.mean()) if len(seen_S) else 0.0,
        float(expected_S.mean()) if len(seen_S) else 0.0,
        mean_of(seen_S - expected_S) if len(seen_S) > 1 else None,
        _spread(successes, pooled),
        {s: float(weights_Q @ _formula(GRID_Q, s)) for s in [*smaller, *_sizes(size, AHEAD)]},
    )


def _means(values: dict[int, Floats]) -> dict[int, Estimate]:
    """Of those sizes that two groups or steps have."""
    return {size: mean_of(one) for size, one in values.items() if len(one) > 1}


def _sizes(most: int, times: int = 1) -> list[int]:
    """From 2 to `most` or, by doublings, from there on to a multiple of it."""
    if times > 1:
        return [most * 2**i for i in range(1, times.bit_length())]
    return sorted({round(float(one)) for one in np.geomspace(2, most, 24)})


def _formula(p: Floats, size: int) -> Floats:
    return np.asarray(p**size + (1 - p) ** size)


def _own(right_M: Ints, size_M: Ints, small: int) -> Floats:
    kept = size_M >= small
    pairs = zip(right_M[kept].tolist(), size_M[kept].tolist(), strict=True)
    return np.array([_flat(right, size, small) for right, size in pairs])


def _steps(successes: Successes) -> dict[int, tuple[int, int]]:
    """Right ones and completions of each step that has two groups or more."""
    steps, place_M, num_S = np.unique(successes.step_M, return_inverse=True, return_counts=True)
    right_S = np.bincount(place_M, successes.right_M).astype(int)
    size_S = np.bincount(place_M, successes.size_M).astype(int)
    together = zip(steps.tolist(), right_S.tolist(), size_S.tolist(), num_S, strict=True)
    return {step: (right, size) for step, right, size, num in together if num > 1}


def _common(pooled: dict[int, tuple[int, int]], small: int) -> Floats:
    return np.array([_flat(right, size, small) for right, size in pooled.values() if size >= small])


def _by_step(successes: Successes, pooled: dict[int, tuple[int, int]]) -> tuple[Floats, Floats]:
    """Share of flat groups of each step, and that of its pooled rate with the groups' own
    sizes."""
    found: dict[int, list[tuple[float, float]]] = {step: [] for step in pooled}
    together = zip(
        successes.step_M.tolist(), successes.right_M.tolist(), successes.size_M.tolist(),
        strict=True,
    )  # fmt: skip
    for step, right, size in together:
        if step in pooled:
            found[step].append((float(right in (0, size)), _flat(*pooled[step], size)))
    means = np.array([np.mean(values, axis=0) for values in found.values()]).reshape(-1, 2)
    return means[:, 0], means[:, 1]


def _spread(successes: Successes, pooled: dict[int, tuple[int, int]]) -> float:
    """E p^2 - (E p)^2 inside a step: two right ones of one group less one each of two groups."""
    right_M, size_M = successes.right_M, successes.size_M
    found = []
    for step in pooled:
        members = successes.step_M == step
        right, size = right_M[members], size_M[members]
        inside = float((right * (right - 1) / (size * (size - 1))).mean())
        share = right / size
        across = float((share.sum() ** 2 - (share**2).sum()) / (len(share) * (len(share) - 1)))
        found.append(inside - across)
    return float(np.mean(found)) if found else 0.0


# --- the comparison ------------------------------------------------------------------------------


def compare(stored: Stored) -> Comparison:
    """The fourth comparison."""
    found = flat_of(stored)
    if found is None:
        verdict = undecided(NO_GROUPS, RULE)
        return Comparison("flat", TITLE, SAYS, NO_GROUPS, verdict, APART)
    return Comparison(
        "flat",
        TITLE,
        SAYS,
        _shows(found),
        verdict_of(found, stored.is_filtered),
        APART,
        tuple(_rows(found)),
        lambda palette: draw(found, palette),
    )


def verdict_of(found: Flat, is_filtered: bool) -> Verdict:
    """By `RULE`."""
    if is_filtered:
        why = "Groups with equal rewards were replaced and are not stored: their share is unknown."
        return undecided(why, RULE)
    off = found.difference
    if off is None or off.num < MIN_STEPS:
        why = f"Fewer than {MIN_STEPS} steps have two groups or more: too few to compare."
        return undecided(why, RULE)
    said = (
        f"{percent(found.seen)} of the groups are all right or all wrong; one solve rate a step "
        f"would make {percent(found.expected)} (${told(off.z(0.0), 2)}$ standard errors)"
    )
    if off.agrees(0.0) and HALF_WIDTH * off.se > WIDE:
        return undecided(f"{said}, but that is known no better than to 5 points.", RULE)
    if off.agrees(0.0):
        return Verdict("holds", f"{said}.", RULE)
    if off.value > 0:
        return Verdict("differs", f"{said}: prompts differ in difficulty.", RULE)
    return Verdict("fails", f"{said}: completions of a group are not drawn by themselves.", RULE)


def _shows(found: Flat) -> str:
    size = found.size
    deviation = np.sqrt(max(found.spread, 0.0))
    said = (
        f"{found.whose} {percent(found.alike)} of the groups are all right or all wrong, and "
        f"{percent(found.equal_rewards.value)} have equal rewards. Solve rates of the prompts of "
        f"one step differ by $\\pm{told(float(deviation), 2)}$ (deviation). "
    )
    return said + (
        f"Groups of {2 * size} would leave {percent(found.larger[2 * size])} without a signal, by "
        "the fitted rates. The formula with each group's own share in it says "
        f"{percent(found.plugged[size])} for groups of {size}, which is too high by construction."
    )


def _rows(found: Flat) -> list[Row]:
    rows = []
    if found.difference is not None:
        label = "Flat groups less those of one rate (judged)"
        rows.append(Row(label, 0.0, found.difference, "percent"))
    shown = [size for size in found.own if size in found.common][-3:]
    label = "All right or all wrong, one rate a step"
    rows += [
        Row(f"{label}, $G={size}$", found.common[size].value, found.own[size], "percent",
            "approximation")
        for size in reversed(shown)
    ]  # fmt: skip
    rows.append(Row("Groups with equal rewards", None, found.equal_rewards, "percent"))
    rows.append(Row("Variance of the rate between prompts of a step", None, found.spread))
    return rows


def draw(found: Flat, palette: Palette) -> go.Figure:
    """Share of groups without a signal against the size of the group."""
    drawn = plots.figure("G, completions of a group", "share all right or all wrong", log_x=True)
    larger, common = found.larger, found.common
    if common:
        values = [one.value for one in common.values()]
        plots.line(drawn, list(common), values, "one p a step", palette.exact)
    plots.line(drawn, list(larger), list(larger.values()), "fitted rates", palette.other, "dot")
    plugged = list(found.plugged.values())
    plots.line(drawn, list(found.plugged), plugged, "own share put in", palette.quiet, "dash")
    plots.points(
        drawn, list(found.own), list(found.own.values()), "drawn from stored groups", palette.found
    )
    return drawn
