"""Expected updates where completions differ in length: which way each aggregation and baseline
pushes, exact for every group size.

An expected update is E of the sum over a group of W_i A_i s_i. The others of a group come in
through two sums only: of their lengths, and of their rewards (or of length times reward, for the
length-weighted baselines). The joint law of these sums is a power of that of one completion.

Shape letters: B problems, G completions of a group, N completions of the toy, C prefixes,
V tokens, P = C V parameters, K kinds of completion (a length and a reward).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from studio.theory.toy import Floats, Ints, Toy, log_softmax, toy

AGGREGATIONS = ("seq_mean", "seq_sum", "token_mean", "dr_grpo")
BASELINES = ("loo", "mean", "opo", "opo_loo")
STILL = 1e-9
"""A change of length below it is rounding."""


@dataclass(frozen=True)
class Problems:
    """Policies and rewards on the toy whose completions end at token 0: 1 to 3 tokens long."""

    logits_BCV: Floats
    R_BN: Floats
    """0 or 1."""

    @property
    def model(self) -> Toy:
        return toy(eos=0)

    @property
    def p_BN(self) -> Floats:
        """Probability of each completion."""
        logp_BP = log_softmax(self.logits_BCV).reshape(len(self.R_BN), -1)
        return np.exp(logp_BP @ _incidence_NP().T)


@lru_cache(maxsize=1)
def _incidence_NP() -> Floats:
    """1 where a completion holds a token after a prefix."""
    model = toy(eos=0)
    incidence_NP = np.zeros((model.N, model.P))
    n, t = np.nonzero(model.mask_NT)
    incidence_NP[n, model.prefix_NT[n, t] * model.V + model.token_NT[n, t]] = 1.0
    return incidence_NP


def scores_times(weight_BN: Floats, problems: Problems) -> Floats:
    """The sum over completions of weight times score, `(B, P)`."""
    pull_BCV = (weight_BN @ _incidence_NP()).reshape(problems.logits_BCV.shape)
    pi_BCV = np.exp(log_softmax(problems.logits_BCV))
    return (pull_BCV - pi_BCV * pull_BCV.sum(-1, keepdims=True)).reshape(len(weight_BN), -1)


def random_problems(first: int, num: int, scale: float = 1.0) -> Problems:
    """Those of `toy.problem("binary", seed, eos=0)` for `num` seeds from `first` on, without those
    whose rewards are all equal."""
    model, logits, rewards = toy(eos=0), [], []
    for seed in range(first, first + num):
        rng = np.random.default_rng(seed)
        logits.append(rng.normal(0, scale, (model.C, model.V)))
        rewards.append((rng.random(model.N) < 0.3).astype(float))
    R_BN = np.array(rewards)
    mixed = np.ptp(R_BN, axis=1) > 0
    return Problems(np.array(logits)[mixed], R_BN[mixed])


# --- expected updates -----------------------------------------------------------------------------


def gradient(problems: Problems) -> Floats:
    """Gradient of V, `(B, P)`."""
    p_BN, R_BN = problems.p_BN, problems.R_BN
    return scores_times(p_BN * (R_BN - (p_BN * R_BN).sum(1, keepdims=True)), problems)


def expected_update(problems: Problems, aggregation: str, baseline: str, size: int) -> Floats:
    """E of the sum over a group of W A s, `(B, P)`. Raises KeyError on an unknown name."""
    L_N, p_BN, R_BN = problems.model.lengths_N, problems.p_BN, problems.R_BN
    weighted = baseline in ("opo", "opo_loo")
    law_BXY = _law_of_others(p_BN, L_N, R_BN, size - 1, weighted)
    X, Y = np.indices(
        law_BXY.shape[1:], dtype=float
    )  # sum of lengths, and of rewards, of the others
    factor_BN = np.zeros_like(p_BN)
    for length in range(1, problems.model.T + 1):
        for R in (0, 1):
            with np.errstate(divide="ignore", invalid="ignore"):
                A = advantage(baseline, length, R, X, Y, size)
            W = token_weight(aggregation, length, X, size, problems.model.T)
            # every completion has a token: the others together never have none
            mean_B = np.einsum("bxy,xy->b", law_BXY, np.where(X > 0, A, 0.0) * W)
            factor_BN += np.where((length == L_N) & (R_BN == R), mean_B[:, None], 0.0)
    return scores_times(size * p_BN * factor_BN, problems)


def advantage(baseline: str, length: float, R: float, X: Floats, Y: Floats, size: int) -> Floats:
    """Of one completion, where the others have `X` tokens, and rewards `Y` in sum (`opo`: lengths
    times rewards)."""
    formulas = {
        "loo": lambda: R - Y / (size - 1),
        "mean": lambda: R - (R + Y) / size,
        "opo": lambda: R - (length * R + Y) / (length + X),
        "opo_loo": lambda: R - Y / X,
    }
    return np.asarray(formulas[baseline](), dtype=float)


def token_weight(aggregation: str, length: float, X: Floats, size: int, longest: float) -> Floats:
    """Of a token of one completion, as `terms.weights_of` has it for a step of one group."""
    formulas = {
        "seq_sum": lambda: 1 / size,
        "seq_mean": lambda: 1 / (size * length),
        "token_mean": lambda: 1 / (length + X),
        "dr_grpo": lambda: 1 / (size * longest),
    }
    return np.broadcast_to(np.asarray(formulas[aggregation](), dtype=float), X.shape)


def _law_of_others(p_BN: Floats, L_N: Ints, R_BN: Floats, num: int, weighted: bool) -> Floats:
    """Joint probabilities of the sum of `num` lengths and the sum of their rewards."""
    longest = int(L_N.max())
    most = (longest if weighted else 1) * num
    one_BXY = np.zeros((len(p_BN), longest * num + 1, most + 1))
    for length in range(1, longest + 1):
        for R in (0, 1):
            chance_B = (p_BN * ((length == L_N) & (R_BN == R))).sum(1)
            one_BXY[:, length, R * (length if weighted else 1)] += chance_B
    law_BXY = np.fft.irfft2(np.fft.rfft2(one_BXY) ** num, one_BXY.shape[1:])
    return np.maximum(law_BXY, 0.0)


# --- what an update does --------------------------------------------------------------------------


@dataclass(frozen=True)
class Direction:
    """An expected update beside the gradient of V, of each problem."""

    scale_B: Floats
    """Its projection on the gradient, over the length of that."""
    off_B: Floats
    """Length of the rest over that of the projection: 0 where it only rescales."""

    @property
    def cosine_B(self) -> Floats:
        """Of the angle between both."""
        return np.asarray(np.sign(self.scale_B) / np.sqrt(1 + self.off_B**2))


def direction(update_BP: Floats, gradient_BP: Floats) -> Direction:
    """Split an update into along and across the gradient."""
    squared_B = np.square(gradient_BP).sum(1)
    scale_B = (update_BP * gradient_BP).sum(1) / squared_B
    along_BP = scale_B[:, None] * gradient_BP
    across_B = np.linalg.norm(update_BP - along_BP, axis=1)
    return Direction(scale_B, across_B / np.linalg.norm(along_BP, axis=1))


def lengthening(update_BP: Floats, problems: Problems, right: bool) -> Floats:
    """Derivative of the mean length of right (or wrong) answers along the update, `(B,)`, for an
    update of length 1."""
    L_N, p_BN = problems.model.lengths_N, problems.p_BN
    q_BN = p_BN * (problems.R_BN if right else 1 - problems.R_BN)
    q_BN = q_BN / q_BN.sum(1, keepdims=True)
    slope_BP = scores_times(q_BN * (L_N - (q_BN @ L_N)[:, None]), problems)
    unit_BP = update_BP / np.linalg.norm(update_BP, axis=1, keepdims=True)
    return np.asarray((slope_BP * unit_BP).sum(1))
