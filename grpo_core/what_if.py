"""Advantages of a stored step as another algorithm would have given them, by the functions that the
trainer calls.

Shape letters: P prompts, G completions of a group, F reward functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from grpo_core import advantages
from grpo_core.advantages import Rewards
from grpo_core.config import RunConfig
from grpo_core.records import Group
from grpo_core.shaping import shaped_rewards

STAND_INS = {
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
MAX_DRAWS = 2000
"""Smaller groups that are looked at; where there are more, so many are drawn."""


@dataclass(frozen=True)
class Replay:
    """What an algorithm makes of a step."""

    advantages_PG: Rewards
    rewards_PG: Rewards
    """What the estimator saw: less penalties and KL."""
    notes: list[str]
    """What is not as the trainer would have it, and why; one sentence each."""


def replay(
    groups: list[Group],
    config: RunConfig,
    weights: dict[str, float],
    kl_PG: list[list[float] | None] | None = None,
) -> Replay:
    """Advantages of the rewards that stand in `groups`, all groups of a step.

    `weights`: of each reward function, by name. `kl_PG`: the k1 estimate of each completion, summed
    over its tokens (nats), None for a group whose tokens were not kept.
    """
    algorithm = config.algorithm
    name = algorithm.advantage or "zscore"
    notes = [STAND_INS[name][1]] if name in STAND_INS else []
    rewards_PG = shaped_rewards(groups, config)
    if algorithm.kl_place == "reward" and algorithm.kl_coefficient:
        rewards_PG, note = _less_kl(rewards_PG, kl_PG, algorithm.kl_coefficient)
        notes += note
    if algorithm.multi_objective_aggregation == "normalize_then_sum":
        if not weights:
            raise ValueError("the weights of this step's rewards cannot be read")
        parts_FPG = parts_of(groups, weights)
        found = advantages.normalize_then_sum(parts_FPG, [*weights.values()])
        return Replay(found, rewards_PG, notes)
    lengths_PG = [[len(one.ids) for one in group.rollouts] for group in groups]
    estimator = STAND_INS[name][0] if name in STAND_INS else name
    return Replay(advantages.assign(rewards_PG, estimator, lengths_PG), rewards_PG, notes)


def _less_kl(
    rewards_PG: Rewards, kl_PG: list[list[float] | None] | None, coefficient: float
) -> tuple[Rewards, list[str]]:
    """What the KL leaves of the rewards, where the tokens of a group are known."""
    known = kl_PG or [None] * len(rewards_PG)
    sums_PG = [kl or [0.0] * len(R) for kl, R in zip(known, rewards_PG, strict=True)]
    missing = sum(kl is None for kl in known)
    said = f"{missing} of {len(known)} groups have kept no tokens: the KL that this takes off the "
    notes = [f"{said}reward is not in their numbers."] if missing else []
    return advantages.penalise_kl(rewards_PG, sums_PG, coefficient), notes


def parts_of(groups: list[Group], weights: dict[str, float]) -> list[Rewards]:
    """One table a reward function; those of a completion without a reward do not count."""
    return [
        [
            [None if one.reward is None else one.parts.get(name) for one in group.rollouts]
            for group in groups
        ]
        for name in weights
    ]


@dataclass(frozen=True)
class Smaller:
    """What a group would have been with fewer completions, over all ways to draw them."""

    mean_G: list[float | None]
    """Advantage of each completion, over the draws that it is in."""
    std_G: list[float | None]
    flat_share: float
    """Draws whose rewards are all equal, 0..1: they teach nothing."""
    num_draws: int
    is_exact: bool
    """Whether these are all draws there are."""


def smaller_group(
    rewards_G: list[float | None], lengths_G: list[int], estimator: str, size: int, seed: int = 0
) -> Smaller:
    """Advantages in groups of `size` out of this one.

    Raises ValueError where there are not that many completions with a reward, or fewer than two.
    """
    known = [i for i, reward in enumerate(rewards_G) if reward is not None]
    if not 2 <= size <= len(known):
        raise ValueError(f"a group of {size} cannot be drawn from {len(known)} rewards")
    draws = _draws(len(known), size, seed)
    found: list[list[float]] = [[] for _ in rewards_G]
    num_flat = 0
    for draw in draws:
        chosen = [known[index] for index in draw]
        values: list[float | None] = [rewards_G[i] for i in chosen]
        num_flat += advantages.is_flat(values)
        (given,) = advantages.assign([values], estimator, [[lengths_G[i] for i in chosen]])
        for i, advantage in zip(chosen, given, strict=True):
            if advantage is not None:
                found[i].append(advantage)
    return Smaller(
        [float(np.mean(values)) if values else None for values in found],
        [float(np.std(values)) if values else None for values in found],
        num_flat / len(draws),
        len(draws),
        comb(len(known), size) <= MAX_DRAWS,
    )


def _draws(num: int, size: int, seed: int) -> list[tuple[int, ...]]:
    if comb(num, size) <= MAX_DRAWS:
        return list(combinations(range(num), size))
    rng = np.random.default_rng(seed)
    return [tuple(rng.choice(num, size, replace=False).tolist()) for _ in range(MAX_DRAWS)]
