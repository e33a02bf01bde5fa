"""The advantages that the Lab shows: those of the run's estimator as far as rewards alone tell, and
one plain sentence on what is missing.

Shape letters: P prompts, G completions of a group, F reward functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from grpo_core import advantages
from grpo_core.advantages import Rewards
from grpo_core.algorithm_config import AlgorithmConfig
from grpo_core.records import Group
from grpo_core.what_if import STAND_INS, parts_of
from studio import charts

MAX_BARS = 12


@dataclass
class Scores:
    """What one set of reward functions gave to the completions of a step."""

    rewards_PG: Rewards
    parts_FPG: list[Rewards]
    """One table a function; those of a completion without a reward do not count."""
    weights_F: list[float]
    lengths_PG: list[list[int]]


def scores_of(groups: list[Group], weights: dict[str, float]) -> Scores:
    """The numbers that stand in the groups now. `weights`: of each function, by name."""
    return Scores(
        [[one.reward for one in group.rollouts] for group in groups],
        parts_of(groups, weights),
        list(weights.values()),
        [[len(one.ids) for one in group.rollouts] for group in groups],
    )


def assign(scores: Scores, algorithm: AlgorithmConfig) -> Rewards:
    """One advantage per completion, None where it has none."""
    separate = algorithm.multi_objective_aggregation == "normalize_then_sum"
    if separate and scores.parts_FPG:
        return advantages.normalize_then_sum(scores.parts_FPG, scores.weights_F)
    return advantages.assign(scores.rewards_PG, estimator(algorithm), scores.lengths_PG)


def estimator(algorithm: AlgorithmConfig) -> str:
    """The estimator whose numbers are shown."""
    name = algorithm.advantage or "zscore"
    return STAND_INS[name][0] if name in STAND_INS else name


def explain(algorithm: AlgorithmConfig, both: bool = True) -> str:
    """What the advantages (`both`: old and new) are, and what of the run's own is not in them; for
    Markdown."""
    name = algorithm.advantage or "zscore"
    subject = f"{'Both advantages are' if both else 'Advantages are'} worked out anew"
    said = [f"{subject} with the run's estimator (`{name}`)."]
    if name in STAND_INS:
        said = [STAND_INS[name][1]]
    elif algorithm.multi_objective_aggregation == "normalize_then_sum":
        said = [
            f"{subject}: each reward's own z-score, weighted, summed and normalised over the step."
        ]
    if algorithm.kl_place == "reward" and algorithm.kl_coefficient:
        said.append("The KL that the run takes off the reward is not in these numbers.")
    if algorithm.truncated == "penalize":
        said.append("What the run takes off for overlong completions is not in these numbers.")
    return " ".join(said)


def histogram(old: list[float | None] | None, new: list[float | None]) -> dict[str, Any]:
    """How often each value came up, `old` beside `new`: one bar a value where there are few of
    them, else `MAX_BARS` ranges of equal width.

    Gives `labels` (of the bars, or of the edges between them and at the ends), `ranges` (what each
    bar stands for) and the counts `old` (None without earlier rewards) and `new`.
    """
    known = [[one for one in values if one is not None] for values in (old or [], new)]
    values = sorted({one for side in known for one in side})
    if not values:
        return {"labels": [], "ranges": [], "old": None if old is None else [], "new": []}
    if len(values) <= MAX_BARS:
        labels = ranges = [charts.number(value) for value in values]
        counts = [[side.count(value) for value in values] for side in known]
    else:
        edges = np.linspace(values[0], values[-1], MAX_BARS + 1)
        counts = [np.histogram(side, edges)[0].tolist() for side in known]
        said = [charts.number(edge) for edge in edges.tolist()]
        labels, ranges = said, [f"{low} to {high}" for low, high in pairwise(said)]
    return {
        "labels": labels,
        "ranges": ranges,
        "old": None if old is None else counts[0],
        "new": counts[1],
    }
