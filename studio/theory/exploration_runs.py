"""Many runs of GRPO at once on eight ways to solve a problem.

A group counts only by how often each way came and how often it was right: all runs take a step with
two draws. Shape letters: M runs, K actions, S recorded steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.exploration_laws import (
    NUM_ACTIONS,
    SOLVED,
    SUCCESS_K,
    Rule,
    peaked,
    scales,
    sharpened,
)
from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import log_softmax

Floats = NDArray[np.float64]

NOISE_RUNS, NOISE_STEPS, NOISE_EVERY = 200, 200, 4
NOISE_GROUPS = 20_000
"""Groups behind the change by one step."""
COINS_K, UNIFORM_K = np.full(NUM_ACTIONS, 0.5), np.full(NUM_ACTIONS, 1 / NUM_ACTIONS)
RUNS, HORIZON, NUM_MARKS = 48, 1200, 100
"""Of the runs with a signal: they last `HORIZON` / eta steps and are recorded `NUM_MARKS` times."""
PROBLEMS = 4000
"""Of each kind, behind each sampled pass@k."""


@dataclass(frozen=True)
class Settled:
    """The last quarter of runs with a signal, and the way there."""

    value: Estimate
    entropy: Estimate
    coldness: Estimate
    """1 / T: the slope of log pi against success, weighted by pi."""
    values: tuple[float, ...]
    entropies: tuple[Estimate, ...]
    """Means over runs at each mark."""


def walk(
    rule: Rule, success_K: Floats, start_K: Floats, runs: int, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """pi and log pi of every run before each step, `(M, K)` each, without end, from the policy
    `start_K`; the KL's gradient is the exact one."""
    rng, factors = np.random.default_rng(seed), np.array(scales(rule.estimator, rule.size))
    logits_MK = np.tile(np.log(start_K), (runs, 1))
    while True:
        logp_MK = log_softmax(logits_MK)
        pi_MK = np.exp(logp_MK)
        yield pi_MK, logp_MK
        came_MK = rng.multinomial(rule.size, pi_MK)
        right_MK = rng.binomial(came_MK, success_K)
        right_M = right_MK.sum(1)
        # the advantages of a group sum to 0: the -pi in all its scores cancels
        centred_MK = right_MK - came_MK * (right_M / rule.size)[:, None]
        step_MK = factors[right_M][:, None] * centred_MK / rule.size
        if rule.beta:
            log_mean_M1 = (pi_MK * logp_MK).sum(1, keepdims=True)
            step_MK = step_MK - rule.beta * pi_MK * (logp_MK - log_mean_M1)
        logits_MK = logits_MK + rule.eta * step_MK


@lru_cache(maxsize=64)
def noise_path(rule: Rule, seed: int) -> tuple[Estimate, ...]:
    """H at every `NOISE_EVERY`th step where rewards are coin flips that ignore what was done."""
    runs = walk(rule, COINS_K, UNIFORM_K, NOISE_RUNS, seed)
    return tuple(
        mean_of(-(pi_MK * logp_MK).sum(1))
        for step, (pi_MK, logp_MK) in zip(range(NOISE_STEPS + 1), runs, strict=False)
        if step % NOISE_EVERY == 0
    )


@lru_cache(maxsize=64)
def noise_step(rule: Rule, peak: float, seed: int) -> Estimate:
    """Expected change of H by one such step from the policy `peaked(peak)`."""
    start_K = peaked(peak)
    logs_K = np.log(start_K)
    entropy = -(start_K @ logs_K)
    runs = walk(rule, COINS_K, start_K, NOISE_GROUPS, seed)
    next(runs)
    pi_MK, logp_MK = next(runs)
    change_M = -(pi_MK * logp_MK).sum(1) - entropy
    # the part along the gradient of H has mean 0, and nearly all the variance of a peaked policy
    along_M = (logp_MK - logs_K) @ (-start_K * (logs_K + entropy))
    return mean_of(change_M - along_M)


def num_steps(eta: float) -> int:
    """Of the runs with a signal."""
    return round(HORIZON / eta)


@lru_cache(maxsize=64)
def learned(rule: Rule, seed: int) -> Settled:
    """Runs in which each way is right as often as `SUCCESS_K` says."""
    steps = num_steps(rule.eta)
    every = steps // NUM_MARKS
    runs = zip(range(steps + 1), walk(rule, SUCCESS_K, UNIFORM_K, RUNS, seed), strict=False)
    marks = [_seen(*policies) for step, policies in runs if step % every == 0]
    value_SM, entropy_SM, cold_SM = np.stack(marks, axis=1)
    tail = slice(-NUM_MARKS // 4, None)
    return Settled(
        value=mean_of(value_SM[tail].mean(0)),
        entropy=mean_of(entropy_SM[tail].mean(0)),
        coldness=mean_of(cold_SM[tail].mean(0)),
        values=tuple(value_SM.mean(1).tolist()),
        entropies=tuple(mean_of(h_M) for h_M in entropy_SM),
    )


def _seen(pi_MK: Floats, logp_MK: Floats) -> Floats:
    """Value, entropy and the slope of log pi against success, `(3, M)`."""
    value_M = pi_MK @ SUCCESS_K
    log_mean_M = (pi_MK * logp_MK).sum(1)
    apart_MK = SUCCESS_K - value_M[:, None]
    spread_M = (pi_MK * apart_MK**2).sum(1)
    slope_M = (pi_MK * apart_MK * logp_MK).sum(1) / spread_M
    return np.stack([value_M, -log_mean_M, slope_M])


@lru_cache(maxsize=64)
def sampled_pass(attempts: int, temperatures: tuple[float, ...], seed: int) -> tuple[Estimate, ...]:
    """Share of problems with one right answer or more among `attempts`, at each temperature."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for temperature in temperatures:
        p_2 = np.array([sharpened(p, temperature) for p in SOLVED])
        found.append(mean_of((rng.binomial(attempts, p_2, (PROBLEMS, 2)) > 0).mean(1)))
    return tuple(found)
