"""One race: the clipped update of GRPO and PPO on the same samples, with different advantages.

Each iteration samples 64 completions, gives them advantages, and takes two steps of plain gradient
ascent on the clipped surrogate (sum over tokens, mean over completions). Runs are independent and
are worked out together: all seeds, and all settings of a grid.

Shape letters: U runs (settings x seeds, the seeds fastest), S seeds, N = 64 completions of an
iteration, T = 3 tokens, V vocabulary, P prompts of an iteration, Q all prompts, E
evaluations. A cell is a (run, prompt, prefix); C counts all of them, K those of an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studio.theory import groups
from studio.theory.race_prompts import (
    LENGTH,
    PREFIXES,
    REGIMES,
    VOCABULARY,
    Prompts,
    make,
    prefix_values,
    softmax,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAMPLES = 64
"""Completions of an iteration, however they are spread over prompts."""
CLIP, EPOCHS, EVERY = 0.2, 2, 5
"""Of the ratio; updates of an iteration; iterations between evaluations."""
TINY = 1e-300
"""Below it a probability is 0 for the ratio: such a token is never sampled."""


@dataclass(frozen=True)
class Arm:
    """One way to get advantages."""

    name: str
    advantage: str = "gae"
    """`gae` is a critic's; else as `groups.advantages` knows it."""
    whiten: bool = False
    lam: float = 0.95
    spread: bool = False
    """One completion of each of 64 prompts, where nothing is compared within a group."""

    @property
    def has_critic(self) -> bool:
        return self.advantage == "gae"


ARMS = {
    "none": Arm("no baseline", "none"),
    "loo": Arm("GRPO, leave-one-out", "loo"),
    "zscore": Arm("GRPO, z-score", "zscore"),
    "ppo": Arm("PPO"),
    "ppo_lam1": Arm("PPO, λ = 1", lam=1.0),
    "ppo_whiten": Arm("PPO, whitened", whiten=True),
    "ppo_spread": Arm("PPO, 64 prompts × 1", spread=True),
}


@dataclass(frozen=True)
class Setting:
    """One run's knobs."""

    step: float
    """Step size of the policy."""
    rate: float = 1.0
    """How far the critic goes to the mean of its targets in an iteration, 0 to 1."""


@dataclass(frozen=True)
class Draws:
    """All chance of a race, the same for every arm: what is compared is paired."""

    prompt_ISP: Ints
    token_ISNT: Floats
    reward_ISN: Floats


def draw(seeds: tuple[int, ...], iterations: int, num_prompts: int, per_step: int) -> Draws:
    """Uniform numbers of each seed; a seed's do not depend on the others. `per_step` prompts an
    iteration: all different where there are that many."""
    tokens, rewards, prompts = [], [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, 11])
        tokens.append(rng.random((iterations, SAMPLES, LENGTH)))
        rewards.append(rng.random((iterations, SAMPLES)))
        if per_step <= num_prompts:
            order = rng.random((iterations, num_prompts)).argsort(1)
            prompts.append(order[:, :per_step])
        else:
            prompts.append(rng.integers(num_prompts, size=(iterations, per_step)))
    return Draws(np.stack(prompts, 1), np.stack(tokens, 1), np.stack(rewards, 1))


def learn(
    regime: str,
    seeds: tuple[int, ...],
    arm: Arm,
    settings: tuple[Setting, ...],
    *,
    group_size: int = 8,
    iterations: int | None = None,
    exact_critic: bool | None = None,
) -> Floats:
    """V / V* of each setting and seed, `(settings, S, E)`: before the first iteration, after every
    fifth, to the last. V is worked out, not sampled."""
    kind = REGIMES[regime]
    exact = kind.exact_critic if exact_critic is None else exact_critic
    size = 1 if arm.spread else group_size
    race = _Race(make(regime, seeds), arm, settings, size, exact)
    iterations = kind.iterations if iterations is None else iterations
    draws = draw(seeds, iterations, kind.num_prompts, SAMPLES // size)
    curve = [race.score_U()]
    for i in range(iterations):
        race.step(draws.prompt_ISP[i], draws.token_ISNT[i], draws.reward_ISN[i])
        if (i + 1) % EVERY == 0:
            curve.append(race.score_U())
    return np.stack(curve, 1).reshape(len(settings), len(seeds), -1)


class _Race:
    """The state of all runs: logits and values, by cell."""

    def __init__(
        self,
        prompts: Prompts,
        arm: Arm,
        settings: tuple[Setting, ...],
        group_size: int,
        exact_critic: bool,
    ) -> None:
        self.arm, self.group_size, self.copies = arm, group_size, len(settings)
        self.mu_VUQX = np.tile(prompts.mu_VSQX, (1, self.copies, 1, 1))
        self.best_U = np.tile(prompts.best_S, self.copies)
        theta_VUQC = np.tile(prompts.theta_VSQC, (1, self.copies, 1, 1))
        _, self.U, self.Q, _ = self.shape = theta_VUQC.shape
        self.theta_VC = theta_VUQC.reshape(VOCABULARY, -1)
        seeds = self.U // self.copies
        self.step_U = np.repeat([s.step for s in settings], seeds)
        self.rate_U = np.repeat([s.rate for s in settings], seeds)
        self.value_C = np.zeros(self.theta_VC.shape[1])
        if exact_critic:
            self.value_C = prefix_values(softmax(theta_VUQC), self.mu_VUQX).ravel()
        self.slot_C = np.zeros(len(self.value_C), dtype=np.int64)

    def score_U(self) -> Floats:
        """V / V* of each run, exact."""
        pi_VUQC = softmax(self.theta_VC).reshape(self.shape)
        values_UQC = prefix_values(pi_VUQC, self.mu_VUQX)
        return np.asarray(values_UQC[..., 0].mean(1) / self.best_U)

    def step(self, prompt_SP: Ints, token_SNT: Floats, reward_SN: Floats) -> None:
        """One iteration: sample, compare, update."""
        prompt_UN = np.tile(np.repeat(prompt_SP, self.group_size, 1), (self.copies, 1))
        root_UN = (np.arange(self.U)[:, None] * self.Q + prompt_UN) * PREFIXES
        uniform_UNT = np.tile(token_SNT, (self.copies, 1, 1))
        cell_UNT, token_UNT = self._sample(root_UN, uniform_UNT)
        first, second, third = np.moveaxis(token_UNT, 2, 0)
        row_UN = third * self.U * self.Q + root_UN // PREFIXES
        mu_UN = self.mu_VUQX.ravel()[row_UN * 16 + 4 * first + second]
        R_UN = (np.tile(reward_SN, (self.copies, 1)) < mu_UN).astype(float)
        visited_K, place_UNT = self._visited(cell_UNT)
        A_UNT = self._advantages(R_UN, visited_K, place_UNT)
        theta_VK = self.theta_VC[:, visited_K]
        step_K = self.step_U[visited_K // (self.Q * PREFIXES)]
        ascend(theta_VK, token_UNT * len(visited_K) + place_UNT, A_UNT, step_K)
        self.theta_VC[:, visited_K] = theta_VK

    def _sample(self, root_UN: Ints, uniform_UNT: Floats) -> tuple[Ints, Ints]:
        """Cell before each token, and the token."""
        cells, tokens, cell_UN = [], [], root_UN
        for t in range(LENGTH):
            pi_VUN = softmax(self.theta_VC[:, cell_UN])
            edges = np.cumsum(pi_VUN[: VOCABULARY - 1], 0)
            cells.append(cell_UN)
            tokens.append((uniform_UNT[..., t] > edges).sum(0))
            after = tokens[0] if t == 0 else 4 * tokens[0] + tokens[-1]
            cell_UN = root_UN + (1, 5, 0)[t] + after
        return np.stack(cells, -1), np.stack(tokens, -1)

    def _visited(self, cell_UNT: Ints) -> tuple[Ints, Ints]:
        """The cells that were visited, each once, and the place in them of each token's cell."""
        cells = cell_UNT.ravel()
        every = np.arange(len(cells))
        self.slot_C[cells] = every  # of equal cells the last one stays
        last = self.slot_C[cells]
        kept = np.flatnonzero(last == every)
        self.slot_C[cells[kept]] = np.arange(len(kept))
        return cells[kept], self.slot_C[cell_UNT]

    def _advantages(self, R_UN: Floats, visited_K: Ints, place_UNT: Ints) -> Floats:
        if not self.arm.has_critic:
            R_UPG = R_UN.reshape(self.U, -1, self.group_size)
            A_UN = groups.advantages(R_UPG, self.arm.advantage).reshape(R_UN.shape)
            return np.broadcast_to(A_UN[..., None], place_UNT.shape)
        value_K = self.value_C[visited_K]
        A_UNT = gae(R_UN, value_K[place_UNT], self.arm.lam)
        places = place_UNT.ravel()
        total_K = np.bincount(places, A_UNT.ravel(), len(value_K))  # of target minus value
        rate_K = self.rate_U[visited_K // (self.Q * PREFIXES)]
        self.value_C[visited_K] = value_K + rate_K * total_K / np.bincount(places)
        return whiten(A_UNT) if self.arm.whiten else A_UNT


def gae(R_UN: Floats, value_UNT: Floats, lam: float) -> Floats:
    """Generalised advantages (arXiv 1506.02438, eq. 16) without discount, the reward at the end."""
    last = value_UNT.shape[-1] - 1
    A_UNT = np.empty_like(value_UNT)
    A_UNT[..., last] = R_UN - value_UNT[..., last]
    for t in reversed(range(last)):
        delta_UN = value_UNT[..., t + 1] - value_UNT[..., t]
        A_UNT[..., t] = delta_UN + lam * A_UNT[..., t + 1]
    return A_UNT


def whiten(A_UNT: Floats) -> Floats:
    """Mean 0 and standard deviation 1 over the tokens of each run's iteration."""
    centred = A_UNT - A_UNT.mean((1, 2), keepdims=True)
    return np.asarray(centred / (A_UNT.std((1, 2), ddof=1, keepdims=True) + 1e-8))


def ascend(theta_VK: Floats, where_UNT: Ints, A_UNT: Floats, step_K: Floats) -> None:
    """The updates of an iteration, in place, on the mean over N of the sum over T of
    min(r A, clip(r, 1 - eps, 1 + eps) A). `where` points at each token in the table.

    All samples of one token after one prefix have one ratio r: their positive and their negative
    advantages are added up once, and every update is on the whole table.
    """
    where, A, num = where_UNT.ravel(), A_UNT.ravel(), A_UNT.shape[1]
    gain = np.bincount(where, np.maximum(A, 0), theta_VK.size).reshape(theta_VK.shape) / num
    loss = np.bincount(where, np.minimum(A, 0), theta_VK.size).reshape(theta_VK.shape) / num
    old = np.maximum(softmax(theta_VK), TINY)
    for epoch in range(EPOCHS):
        now = softmax(theta_VK) if epoch else old
        ratio = now / old
        pull = ratio * (gain * (ratio <= 1 + CLIP) + loss * (ratio >= 1 - CLIP))
        theta_VK += step_K * (pull - now * pull.sum(0))
