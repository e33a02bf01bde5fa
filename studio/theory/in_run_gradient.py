"""The variance of a group's gradient against its size, in the one direction that a run has stored.

Shape letters: M groups, G completions of a group, S completions of a smaller group.

No gradient of a single completion is stored. Its length is, and the length is the score of a real
family of policies: of pi(o) exp(l |o|) / Z the score at l = 0 is |o| less its mean, so that
Cov(R, |o|) is exactly the gradient of the expected reward along l, and the leave-one-out estimate
of a group is the sample covariance. It is one direction out of millions, and not one in which the
optimizer was asked to go. Log-probabilities would be another, but they are kept for a few groups a
step, and for these because their rewards differ: their moments are not those of the prompts.

The law has no free parameter: see `in_run_moments.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Row
from studio.theory.in_run_data import (
    FEW_GROUPS,
    SEED,
    VAGUE,
    Comparison,
    Floats,
    Ints,
    Stored,
    StoredGroup,
    of_usual_size,
    table,
    told,
    undecided,
)
from studio.theory.in_run_moments import Moments, among_blocks, block_sizes, moments_of
from studio.theory.plots import Palette
from studio.theory.sampled import HALF_WIDTH, Estimate, Verdict, mean_of

TITLE = "How noisy is the gradient of a group?"
SAYS = (
    "The leave-one-out gradient of one prompt's group has the variance $\\frac1G"
    "\\big(\\mathbb E\\,a^2s^2-g^2\\big)+\\frac{\\sigma^2F+g^2}{G(G-1)}$: that of a baseline which "
    "knows $V$, and a price for not knowing it that falls like $1/G^2$. At a fixed number of "
    "completions a step the best group size is $G^\\star=1+\\sqrt{\\kappa/\\tau^2}$, with "
    "$\\kappa=\\mathbb E[\\sigma^2F+g^2]$ and $\\tau^2$ the variance of $g$ between prompts. Here "
    "$s$ is the score of a completion, $F=\\mathbb E\\,s^2$, $a$ its reward less the prompt's "
    "value $V$, $\\sigma^2=\\mathbb E\\,a^2$ and $g=\\mathbb E\\,as$ the gradient."
)
PROXY = (
    "**A stand-in for the gradient.** No gradient of a single completion is stored, so the score "
    "is replaced by the length of the completion, less its mean: the score of the family of "
    "policies that favour length more or less, where $g=\\mathrm{Cov}(R,|o|)$ exactly. It is one "
    "direction out of all of the model's, measured in tokens over their deviation inside a prompt. "
    "Log-probabilities are kept for too few groups, and for these because their rewards differ."
)
RULE = (
    "Holds where, at every group size up to half the run's, the variance among neighbouring "
    "blocks of a group is within 4 standard errors of the law with that group's own moments; "
    "no verdict below 20 groups of 4, where rewards or lengths do not differ, or where it would "
    "hold with an error band wider than a quarter of the law at $G=2$."
)
APART = (
    "This can only contradict that completions of a group are drawn alike and by themselves: "
    "blocks that are too equal come from a shared seed or cache, blocks that are too different "
    "from a drift inside the group. The best group size is that of *this* direction, of variance "
    "per batch and not of learning speed; prompts are compared with those of their own step."
)
FAR_ALL = 4.0
"""Standard errors, of the worst of a dozen group sizes and of numbers with long tails."""
DRAWS = 400


@dataclass(frozen=True, eq=False)
class Noise:
    """What groups of the usual size say."""

    size: int
    num: int
    moments: Moments
    seen: dict[int, Estimate]
    """Variance among blocks of S completions."""
    off: dict[int, Estimate]
    """The same less the law with the group's own moments."""
    between_M: Floats
    """Squared deviation of each group's gradient from its step's mean, whose mean is their
    variance."""

    @property
    def worst(self) -> int:
        """The size of the blocks that are furthest from the law."""
        return max(self.off, key=lambda size: abs(self.off[size].z(0.0)))

    def law(self, size: float) -> float:
        """Mean over the prompts."""
        return float(self.moments.law(size).mean())


def noise_of(groups: list[StoredGroup]) -> Noise | None:
    """None where groups are too small or nothing differs inside them."""
    kept, size = of_usual_size(groups)
    if size < 4 or len(kept) < 2:
        return None
    R_MG, x_MG = table(kept, "R_G", size), table(kept, "length_G", size)
    deviation = math.sqrt(float(x_MG.var(1, ddof=1).mean()))
    if deviation == 0 or float(np.ptp(R_MG, axis=1).max()) == 0:
        return None
    x_MG = x_MG / deviation
    moments = moments_of(R_MG, x_MG)
    blocks = {small: among_blocks(R_MG, x_MG, small) for small in block_sizes(size)}
    return Noise(
        size,
        len(kept),
        moments,
        {small: mean_of(found_M) for small, found_M in blocks.items()},
        {small: mean_of(found_M - moments.law(small)) for small, found_M in blocks.items()},
        _within_steps(moments.covariance_M, np.array([group.step for group in kept])),
    )


def _within_steps(values_M: Floats, steps_M: Ints) -> Floats:
    """Squared deviations from the mean of a step, unbiased; from that of all where no step has two
    groups. Groups that are alone in their step are left out."""
    _, place_M, num_S = np.unique(steps_M, return_inverse=True, return_counts=True)
    if num_S.max() < 2:
        place_M, num_S = np.zeros_like(place_M), np.array([len(values_M)])
    off_M = values_M - (np.bincount(place_M, values_M) / num_S)[place_M]
    kept_M = num_S[place_M] > 1
    size_M = num_S[place_M][kept_M]
    return np.asarray(np.square(off_M[kept_M]) * size_M / (size_M - 1))


def best_size(found: Noise) -> tuple[float, float, float]:
    """G* and its 95 % interval by a bootstrap over groups; endless where the prompts do not
    differ. tau^2 is the variance between groups less what the law explains."""
    rng = np.random.default_rng(SEED)
    draws = rng.integers(found.num, size=(DRAWS, found.num))
    others = rng.integers(len(found.between_M), size=(DRAWS, len(found.between_M)))
    draws[0], others[0] = np.arange(found.num), np.arange(len(found.between_M))
    between = found.between_M[others].mean(1)
    tau2 = between - found.moments.law(found.size)[draws].mean(1)
    kappa = np.maximum(found.moments.kappa_M[draws].mean(1), 0.0)
    best = np.where(tau2 > 0, 1 + np.sqrt(kappa / np.where(tau2 > 0, tau2, 1.0)), np.inf)
    ordered = np.sort(best[1:])
    low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]
    return float(best[0]), float(low), float(high)


# --- the comparison ------------------------------------------------------------------------------


def compare(stored: Stored) -> Comparison:
    """The second comparison; see the module's docstring."""
    found = noise_of(stored.groups)
    if found is None:
        why = "Groups have fewer than 4 rewards, or rewards or lengths do not differ inside them."
        return Comparison("gradient", TITLE, SAYS, PROXY, undecided(why, RULE), APART)
    best = best_size(found)
    return Comparison(
        "gradient",
        TITLE,
        SAYS,
        f"{PROXY}\n\n{_shows(found, best)}",
        verdict_of(found),
        APART,
        tuple(_rows(found, best[0])),
        lambda palette: draw(found, palette),
    )


def _rows(found: Noise, best: float) -> list[Row]:
    """The paired difference is what is judged; the law has the sampled moments in it."""
    sizes = list(found.seen)
    worst = found.worst
    rows = [
        Row(f"Blocks less law, $G={worst}$, furthest apart (judged)", 0.0, found.off[worst]),
        *(
            Row(f"Variance of the gradient, $G={size}$", found.law(size), found.seen[size],
                kind="approximation")
            for size in dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1]))
        ),
        Row(f"Variance of the gradient, $G={found.size}$", found.law(found.size),
            kind="approximation"),
    ]  # fmt: skip
    if math.isfinite(best):
        rows.append(Row("Best group size in this direction, $G^\\star$", None, best))
    return rows


def verdict_of(found: Noise) -> Verdict:
    """By `RULE`."""
    if found.num < FEW_GROUPS:
        return undecided(f"{found.num} groups are too few to contradict the law.", RULE)
    worst = found.worst
    z = found.off[worst].z(0.0)
    said = (
        f"At $G={worst}$, where they are furthest apart, blocks of {found.num:,} groups vary by "
        f"${told(found.seen[worst].value)}$ and the law says ${told(found.law(worst))}$: "
        f"${told(abs(z), 2)}$ standard errors, paired"
    )
    if abs(z) < FAR_ALL and HALF_WIDTH * found.off[2].se > VAGUE * found.law(2):
        return undecided(f"{said}, but the variance is known too badly to say more.", RULE)
    if abs(z) < FAR_ALL:
        return Verdict("holds", f"{said}.", RULE)
    more = "more" if z > 0 else "less"
    return Verdict("fails", f"{said}. Blocks of one group differ {more} than by chance.", RULE)


def _shows(found: Noise, best: tuple[float, float, float]) -> str:
    oracle = float(found.moments.oracle_M.mean()) / found.size
    whole = found.law(found.size)
    said = f"With $G={found.size}$ the variance is ${told(whole)}$"
    if whole > 0:
        said += f", of which ${told(oracle)}$ would remain with a baseline that knows $V$"
    if math.isinf(best[0]):
        return (
            f"{said}. Prompts of a step do not differ in this direction more than by chance: at a "
            "fixed number of completions larger groups are better."
        )
    upper = "without a bound" if math.isinf(best[2]) else f"to ${told(best[2], 2)}$"
    return (
        f"{said}. At a fixed number of completions the best group size is "
        f"$G^\\star={told(best[0], 2)}$ (95 %: from ${told(best[1], 2)}$ {upper})."
    )


def draw(found: Noise, palette: Palette) -> go.Figure:
    """Variance against group size, both logarithmic."""
    drawn = plots.figure(
        "G, completions of a group", "variance of the group's gradient", log_x=True, log_y=True
    )
    sizes = np.geomspace(2, 4 * found.size, 60)
    law = np.array([found.law(float(size)) for size in sizes])
    oracle = float(found.moments.oracle_M.mean()) / sizes
    plots.line(drawn, sizes[law > 0], law[law > 0], "law", palette.exact)
    plots.line(drawn, sizes[oracle > 0], oracle[oracle > 0], "oracle part", palette.quiet, "dash")
    seen = {size: one for size, one in found.seen.items() if one.value > 0}
    plots.points(drawn, list(seen), list(seen.values()), "blocks of stored groups", palette.found)
    return drawn
