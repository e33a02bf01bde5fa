"""The advantages that the Lab shows: those of the run's estimator as far as rewards alone tell, and
one plain sentence on what is missing.

Shape letters: P prompts, G completions of a group, F reward functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpo_core import advantages
from grpo_core.advantages import Rewards
from grpo_core.algorithm_config import AlgorithmConfig
from grpo_core.records import Group

_STAND_INS = {
    "prefix_attention": (
        "loo",
        "Advantages are those of `loo`: that is what `prefix_attention` gives the first token of a "
        "completion, and later ones need the model.",
    ),
    "gae": (
        "none",
        "Advantages are the bare rewards: what the critic takes off them needs the model.",
    ),
}
"""Estimators that rewards alone do not give: what is shown in their place, and why."""


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
    parts_FPG: list[Rewards] = [
        [
            [None if one.reward is None else one.parts.get(name) for one in group.rollouts]
            for group in groups
        ]
        for name in weights
    ]
    return Scores(
        [[one.reward for one in group.rollouts] for group in groups],
        parts_FPG,
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
    return _STAND_INS[name][0] if name in _STAND_INS else name


def explain(algorithm: AlgorithmConfig) -> str:
    """What the advantages are, and what of the run's own is not in them; for Markdown."""
    name = algorithm.advantage or "zscore"
    said = [f"Both advantages are worked out anew, with the run's estimator (`{name}`)."]
    if name in _STAND_INS:
        said = [_STAND_INS[name][1]]
    elif algorithm.multi_objective_aggregation == "normalize_then_sum":
        said = [
            "Both advantages are worked out anew: each reward's own z-score, weighted, summed and "
            "normalised over the step."
        ]
    if algorithm.kl_place == "reward" and algorithm.kl_coefficient:
        said.append("The KL that the run takes off the reward is not in these numbers.")
    if algorithm.truncated == "penalize":
        said.append("What the run takes off for overlong completions is not in these numbers.")
    return " ".join(said)
