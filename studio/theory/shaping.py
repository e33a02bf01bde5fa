"""What a change of the rewards does to the mean update, from all groups of a toy that there are.

Shape letters: M groups, G completions of a group, N completions of the toy, T time, C prefixes,
P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory import groups
from studio.theory.toy import Toy, problem, toy

Floats = NDArray[np.float64]
Advantages = Callable[[groups.Ints], Floats]
"""From indices of completions `(M, G)` to an advantage of each token `(M, G, T)`."""

PENALTY = 0.1
"""Taken off for each token, as a reward that no potential gives."""


def step_rewards(model: Toy, R_N: Floats, potential_C: Floats | None, gamma: float) -> Floats:
    """Rewards of single tokens, `(N, T)`: R with the last one, and gamma Phi(after) - Phi(before)
    where there is a potential; Phi is 0 at the end."""
    last_NT = np.arange(model.T) == model.lengths_N[:, None] - 1
    rewards_NT = np.where(last_NT, R_N[:, None], 0.0)
    if potential_C is None:
        return rewards_NT
    before_NT = potential_C[model.prefix_NT] * model.mask_NT
    after_NT = np.pad(before_NT[:, 1:], ((0, 0), (0, 1)))
    return np.asarray(rewards_NT + gamma * after_NT - before_NT)


def to_go(rewards: Floats) -> Floats:
    """Sum from each token on, over the last axis."""
    return np.flip(np.cumsum(np.flip(rewards, -1), -1), -1)


def outcome(rewards_NT: Floats, estimator: str, delta: float) -> Advantages:
    """The whole return, compared within the group: every token has the same advantage."""
    total_N = rewards_NT.sum(1)

    def of(index_MG: groups.Ints) -> Floats:
        A_MG = groups.advantages(total_N[index_MG], estimator, delta=delta)
        return np.repeat(A_MG[..., None], rewards_NT.shape[1], -1)

    return of


def per_token(rewards_NT: Floats) -> Advantages:
    """What is still to come, minus the group's mean of that at the same token."""
    ahead_NT = to_go(rewards_NT)

    def of(index_MG: groups.Ints) -> Floats:
        ahead_MGT = ahead_NT[index_MG]
        return np.asarray(ahead_MGT - ahead_MGT.mean(1, keepdims=True))

    return of


def per_step_zscore(rewards_NT: Floats, delta: float) -> Advantages:
    """Process supervision: the rewards of all steps of the group are z-scored together, then
    summed from each token on (arXiv 2402.03300, section 4.1.3)."""

    def of(index_MG: groups.Ints) -> Floats:
        steps_MGT = rewards_NT[index_MG]
        mean = steps_MGT.mean((1, 2), keepdims=True)
        spread = steps_MGT.std((1, 2), ddof=1, keepdims=True) + delta
        flat = np.ptp(steps_MGT, axis=(1, 2))[:, None, None] <= groups.TOLERANCE
        return to_go(np.where(flat, 0.0, (steps_MGT - mean) / np.where(flat, 1.0, spread)))

    return of


@lru_cache(maxsize=8)
def _every_group(num: int, size: int) -> groups.Ints:
    return groups.all_groups(num, size)


def expected_update(model: Toy, theta_P: Floats, size: int, advantages: Advantages) -> Floats:
    """E (1/G) sum over i and t of A_it s_it over all N^G groups, `(P,)`."""
    index_MG = _every_group(model.N, size)
    p_N = model.p_N(theta_P)
    A_MGT = advantages(index_MG) * p_N[index_MG].prod(1)[:, None, None]
    total_NT = np.zeros((model.N, model.T))
    for i in range(size):
        for t in range(model.T):
            total_NT[:, t] += np.bincount(index_MG[:, i], A_MGT[:, i, t], model.N)
    scores = model.scores_NTP(theta_P).reshape(-1, model.P)
    return np.asarray(total_NT.reshape(-1) @ scores / size)


def small_problem() -> tuple[Toy, Floats, Floats, Floats]:
    """Three tokens out of three: logits, rewards in 0..1, and a potential of each prefix."""
    model, rng = toy(3, 3), np.random.default_rng(0)
    theta_P = rng.normal(0, 1, model.P)
    R_N = rng.random(model.N)
    return model, theta_P, R_N, np.random.default_rng(1).normal(0, 1, model.C)


def change(after_P: Floats, before_P: Floats) -> float:
    """Length of the difference over that of the update before."""
    return float(np.linalg.norm(after_P - before_P) / np.linalg.norm(before_P))


def changes(
    size: int, delta: float, scale: float, shift: float, gamma: float
) -> dict[str, tuple[float, float]]:
    """How much each change of the rewards changes the mean update: of `R - mean`, of z-scores."""
    model, _, R_N, potential_C = small_problem()
    plain_NT = step_rewards(model, R_N, None, 1.0)
    shaped_NT = step_rewards(model, R_N, potential_C, gamma)
    by_outcome = {
        "shift": step_rewards(model, R_N + shift, None, 1.0),
        "scale": scale * plain_NT,
        "potential": shaped_NT,
    }
    before = _by_outcome(plain_NT.tobytes(), size, delta)
    found = {}
    for name, rewards_NT in by_outcome.items():
        after = _by_outcome(rewards_NT.tobytes(), size, delta)
        found[name] = (change(after[0], before[0]), change(after[1], before[1]))
    before = _by_step(plain_NT.tobytes(), size, delta)
    after = _by_step(shaped_NT.tobytes(), size, delta)
    found["steps"] = (change(after[0], before[0]), change(after[1], before[1]))
    found["penalty"] = penalised(size, delta)
    return found


@lru_cache(maxsize=64)
def _by_outcome(rewards: bytes, size: int, delta: float) -> tuple[Floats, Floats]:
    """Mean updates of the small problem with these rewards `(N, T)`, kept by their bytes: a knob
    changes few of them."""
    model, theta_P, _, _ = small_problem()
    rewards_NT = np.frombuffer(rewards).reshape(model.N, model.T)
    by_mean, by_zscore = (outcome(rewards_NT, each, delta) for each in ("mean", "zscore"))
    return (
        expected_update(model, theta_P, size, by_mean),
        expected_update(model, theta_P, size, by_zscore),
    )


@lru_cache(maxsize=64)
def _by_step(rewards: bytes, size: int, delta: float) -> tuple[Floats, Floats]:
    model, theta_P, _, _ = small_problem()
    rewards_NT = np.frombuffer(rewards).reshape(model.N, model.T)
    return (
        expected_update(model, theta_P, size, per_token(rewards_NT)),
        expected_update(model, theta_P, size, per_step_zscore(rewards_NT, delta)),
    )


@lru_cache(maxsize=64)
def penalised(size: int, delta: float) -> tuple[float, float]:
    """The same for `PENALTY` off for each token, where completions may end early."""
    model, rng = toy(3, 3, eos=0), np.random.default_rng(0)
    theta_P, R_N = rng.normal(0, 1, model.P), rng.random(model.N)
    found = []
    for estimator in ("mean", "zscore"):
        before_P, after_P = (
            expected_update(
                model,
                theta_P,
                size,
                outcome(step_rewards(model, R, None, 1.0), estimator, delta),
            )
            for R in (R_N, R_N - PENALTY * model.lengths_N)
        )
        found.append(change(after_P, before_P))
    return found[0], found[1]


@lru_cache(maxsize=1)
def moved_optima(num: int = 50) -> int:
    """Of `num` random problems with completions of 1 to 3 tokens, those whose best completion is
    another one when `PENALTY` is taken off for each token."""
    moved = 0
    for seed in range(num):
        model, _, R_N = problem("graded", seed, eos=0)
        moved += int(R_N.argmax() != (R_N - PENALTY * model.lengths_N).argmax())
    return moved
