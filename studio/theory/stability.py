"""What keeps GRPO stable without a critic, and what does not.

Three things are looked at: how far the surrogate of an update is from the true change of V (a
theorem bounds it), what the clip does to the ratios when one batch is gone over again and again,
and how often training locks into a wrong answer.

Shape letters: N completions, T time, X cells (a token after a prefix), V tokens; S batches,
M completions of a batch, G of a group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from studio.theory import groups, many
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.locking import STEP_SIZES, STEPS, lock_in, lock_in_later
from studio.theory.sampled import Estimate, Verdict, mean_of
from studio.theory.toy import Floats, Toy, problem

NUM_BATCHES = 8
GROUPS_PER_BATCH = 8
MANY = 0.01
"""Share of tokens outside the clip, or of locked runs, from which on the verdict speaks of it."""


@dataclass(frozen=True)
class KnobsOfStability(Knobs):
    group_size: int = one_of(8, (2, 4, 8, 16, 32), "Group size G")
    step_size: float = one_of(
        4.0, STEP_SIZES, "Step size η", help="Of plain gradient ascent on the logits."
    )
    epochs: int = one_of(
        16,
        (1, 2, 4, 8, 16, 32, 64),
        "Epochs on one batch",
        help="Updates on the same samples. Not in *Lock-in*.",
    )
    clip: float = number(0.2, 0.05, 0.95, "Clip ε", step=0.05, help="Not in *Lock-in*.")
    baseline: str = one_of(
        "mean", ("mean", "none"), "Baseline", help="Of the batch that is gone over: group or none."
    )


# --- the surrogate and its bound ------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """Steps from one policy to another. Distances δ are the largest total variation over prefixes;
    gaps and bounds are over the span of the rewards."""

    delta: Floats
    gap: Floats
    """|true change of V - what the surrogate says|."""

    @property
    def bound(self) -> Floats:
        """T (T-1) δ^2 for the toy's T = 3."""
        return 6 * np.square(self.delta)


def distance(model: Toy, theta_P: Floats, moved_P: Floats) -> float:
    """δ: the largest total variation between the next-token distributions, over prefixes."""
    apart = np.exp(model.logp_CV(moved_P)) - np.exp(model.logp_CV(theta_P))
    return float(0.5 * np.abs(apart).sum(1).max())


def gap(model: Toy, theta_P: Floats, moved_P: Floats, R_N: Floats) -> float:
    """|V(moved) - V - E_old[R sum over t of (ratio_t - 1)]| / span(R)."""
    ratio_NT = np.exp(model.token_logp_NT(moved_P) - model.token_logp_NT(theta_P))
    p_N = model.p_N(theta_P)
    surrogate = p_N @ (R_N * (ratio_NT - 1).sum(1))
    return float(abs(model.value(moved_P, R_N) - p_N @ R_N - surrogate) / np.ptp(R_N))


@lru_cache(maxsize=1)
def random_steps() -> Steps:
    """200 steps in random directions from ten policies, of lengths over two and a half decades."""
    found = []
    for seed in range(200):
        model, theta_P, R_N = problem(seed=seed % 10)
        rng = np.random.default_rng(seed)
        moved_P = theta_P + 10 ** rng.uniform(-2, 0.5) * rng.normal(size=model.P)
        found.append((distance(model, theta_P, moved_P), gap(model, theta_P, moved_P, R_N)))
    return Steps(*np.array(found).T)


@lru_cache(maxsize=1)
def one_direction() -> Steps:
    """Steps of growing length in one direction: their gaps fall like δ^2."""
    model, theta_P, R_N = problem(seed=0)
    way_P = np.random.default_rng(0).normal(size=model.P)
    ends = [theta_P + length * way_P for length in np.logspace(-2.5, 0.5, 60)]
    found = [(distance(model, theta_P, end), gap(model, theta_P, end, R_N)) for end in ends]
    return Steps(*np.array(found).T)


def hessian_PP(model: Toy, theta_P: Floats, R_N: Floats) -> Floats:
    """Second derivatives of V: E[(R - V)(s s^T + second derivatives of log pi)]."""
    p_N, pi_CV = model.p_N(theta_P), np.exp(model.logp_CV(theta_P))
    scores_NP, a_N = model.scores_NP(theta_P), p_N * (R_N - p_N @ R_N)
    found = (scores_NP.T * a_N) @ scores_NP
    for c, pull in enumerate(model.through_CN @ a_N):
        block = slice(c * model.V, (c + 1) * model.V)
        found[block, block] -= pull * (np.diag(pi_CV[c]) - np.outer(pi_CV[c], pi_CV[c]))
    return found


@lru_cache(maxsize=1)
def curvature() -> float:
    """The largest ||second derivatives of V|| / span(R) of ten policies; 1/2 bounds it."""
    largest = 0.0
    for seed in range(10):
        model, theta_P, R_N = problem(seed=seed)
        values = np.linalg.eigvalsh(hessian_PP(model, theta_P, R_N))
        largest = max(largest, float(np.abs(values).max() / np.ptp(R_N)))
    return largest


@dataclass(frozen=True)
class Exact:
    """What needs no samples."""

    steps: Steps
    direction: Steps
    curvature: float
    largest_advantage: float
    """Bound of |advantage| / span(R)."""
    first_delta: float
    """Bound of δ after the first update."""


def exact(knobs: KnobsOfStability) -> Exact:
    _, _, R_N = start()
    centred = knobs.baseline == "mean"
    span, top = float(np.ptp(R_N)), float(R_N.max())
    return Exact(
        random_steps(),
        one_direction(),
        curvature(),
        (knobs.group_size - 1) / knobs.group_size if centred else top / span,
        math.tanh(knobs.step_size * (span / 4 if centred else top / 2)),
    )


# --- one batch, gone over again and again ---------------------------------------------------------


def start() -> tuple[Toy, Floats, Floats]:
    """The policy that samples the batches, close to uniform, and its rewards."""
    return problem(seed=0, scale=0.3)


@dataclass(frozen=True)
class Batches:
    """What `NUM_BATCHES` independent batches come to, each from the same start."""

    ratio_SM: Floats
    """Of each sampled token, tokens of a batch in a row."""
    steps: Steps
    first_delta: float
    """The largest δ after the first update."""
    largest_advantage: float
    """The largest |advantage| / span(R)."""

    def outside(self, clip: float) -> Estimate:
        """Share of tokens whose ratio is outside the clip: mean over batches."""
        beyond = (self.ratio_SM < 1 - clip) | (self.ratio_SM > 1 + clip)
        return mean_of(beyond.mean(1))


@lru_cache(maxsize=64)
def go_over(
    group_size: int, step_size: float, epochs: int, clip: float, baseline: str, seed: int
) -> Batches:
    """`epochs` updates with the clipped surrogate on each batch; `clip` may be infinite."""
    model, theta_P, R_N = start()
    rngs = [np.random.default_rng(NUM_BATCHES * seed + b) for b in range(NUM_BATCHES)]
    shape = (GROUPS_PER_BATCH, group_size)
    index_SBG = np.stack([model.sample(theta_P, shape, rng) for rng in rngs])
    A_SM1 = groups.advantages(R_N[index_SBG], baseline).reshape(NUM_BATCHES, -1, 1)
    index_SM = index_SBG.reshape(NUM_BATCHES, -1)
    cells_SMT = many.cells_NT(model)[index_SM]
    theta_SX, rows = np.tile(theta_P, (NUM_BATCHES, 1)), np.arange(NUM_BATCHES)[:, None, None]
    old_SMT = model.token_logp_NT(theta_P)[index_SM]
    first_delta = 0.0
    for epoch in range(epochs):
        logp_SX = many.logp_RX(model, theta_SX)
        ratio_SMT = np.exp(logp_SX[rows, cells_SMT] - old_SMT)
        pulls_SMT = A_SM1 * ratio_SMT * moves(ratio_SMT, A_SM1, clip)
        pull_SX = many.pull_of_tokens(model, pulls_SMT, cells_SMT, logp_SX)
        theta_SX = theta_SX + step_size * pull_SX / index_SM.shape[1]
        if epoch == 0:
            first_delta = max(distance(model, theta_P, moved) for moved in theta_SX)
    ratio_SMT = np.exp(many.logp_RX(model, theta_SX)[rows, cells_SMT] - old_SMT)
    ends = [(distance(model, theta_P, m), gap(model, theta_P, m, R_N)) for m in theta_SX]
    return Batches(
        ratio_SMT.reshape(NUM_BATCHES, -1),
        Steps(*np.array(ends).T),
        first_delta,
        float(np.abs(A_SM1).max() / np.ptp(R_N)),
    )


def moves(ratio: Floats, A: Floats, clip: float) -> Floats:
    """1 where the clipped surrogate has a gradient, else 0."""
    beyond = ((A > 0) & (ratio > 1 + clip)) | ((A < 0) & (ratio < 1 - clip))
    return np.where(beyond, 0.0, 1.0)


# --- what comes out -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What was sampled."""

    clipped: Batches
    free: Batches
    """The same batches without a clip."""
    lock_in: tuple[list[Estimate], list[Estimate]]
    later: tuple[list[Estimate], list[Estimate]]


def estimate(knobs: KnobsOfStability, seed: int) -> Found:
    k = knobs
    return Found(
        go_over(k.group_size, k.step_size, k.epochs, k.clip, k.baseline, seed),
        go_over(k.group_size, k.step_size, k.epochs, math.inf, k.baseline, seed),
        lock_in(k.group_size, seed),
        lock_in_later(k.group_size, k.step_size, seed),
    )


def verdict(knobs: KnobsOfStability, exact: Exact, found: Found) -> Verdict:
    """Whether the theorems hold, and whether the clip and the baseline do what is said of them."""
    taken = (exact.steps, found.clipped.steps, found.free.steps)
    beyond = sum(int((steps.gap > steps.bound + 1e-12).sum()) for steps in taken)
    too_far = found.clipped.first_delta > exact.first_delta + 1e-12
    too_large = found.clipped.largest_advantage > exact.largest_advantage + 1e-12
    outside = found.clipped.outside(knobs.clip).value
    stuck = found.lock_in[knobs.baseline == "none"][STEP_SIZES.index(knobs.step_size)].value
    epochs = f"{knobs.epochs} epochs" if knobs.epochs > 1 else "one epoch"
    inside = f"{1 - knobs.clip:.2f} to {1 + knobs.clip:.2f}"
    claim = (
        f"Every bound is kept, the clip keeps the ratios within {inside}, and no run is locked "
        f"into a wrong answer (but for {_percent(MANY)} of them)."
    )
    if beyond or too_far or too_large:
        text = f"A bound is broken; {beyond} gaps are beyond theirs."
        return Verdict("fails", text, RULE, claim)
    worst = max(float((steps.gap / steps.bound).max()) for steps in taken)
    clip = (
        "The clip does not bound the ratios, it only stops pushing: after"
        if outside > MANY
        else "After"
    )
    sentence = (
        "No bound is broken: the surrogate misses the true change of $V$ by at most "
        f"{_percent(worst)} of what the theorem allows. {clip} {epochs} **{_percent(outside)}** "
        f"of the tokens are outside {inside} "
        f"({_percent(found.free.outside(knobs.clip).value)} without a clip). In another task, "
        f"with four answers, {_percent(stuck)} of the runs are locked into a wrong one after "
        f"{STEPS} updates."
    )
    return Verdict("differs" if max(outside, stuck) > MANY else "holds", sentence, RULE, claim)


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share in (0, MANY) else 1}f} %"


RULE = (
    "*Does not hold* if a surrogate misses the true change of $V$ by more than "
    "$T(T-1)\\,\\delta^2\\,\\mathrm{span}(R)$, or the first update or an advantage exceeds its "
    f"bound; else *not as often said* if more than {_percent(MANY)} of the tokens end outside the "
    f"clip or more than {_percent(MANY)} of the runs are locked in; else *holds*."
)
