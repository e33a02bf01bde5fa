"""The objective of a row with the numbers of one token in place: each term as a formula, with its
numbers, and what it comes to. Plain text; nothing is worked out here that `terms.py` has not.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from grpo_core.config import RunConfig
from grpo_core.objective import Objective
from grpo_core.terms import Numbers, Terms
from studio.digits import enough, n, near_1, signed

_KL = {
    "k1": "log π − log π_ref",
    "k2": "½ (log π − log π_ref)²",
    "k3": "π_ref/π − 1 − log(π_ref/π)",
    "k3_is": "r (π_ref/π − 1 − log(π_ref/π))",
}
_WEIGHTS = {
    "seq_sum": "1 / N",
    "seq_mean": "1 / (N |o|)",
    "token_mean": "1 / Σ|o|",
    "dr_grpo": "1 / (N · max_new_tokens)",
}
_ADVANTAGES = {
    "none": "R",
    "mean": "R − mean(R)",
    "loo": "R − mean of the others",
    "zscore": "(R − mean(R)) / (std(R) + 10⁻⁴)",
    "batch_std": "(R − mean(R)) / std of all R of the step",
    "mean_whiten": "(R − mean(R)) / std of these over the step",
    "batch_z": "(R − mean of the step) / std of the step",
    "opo": "R − length-weighted mean(R)",
    "opo_loo": "R − length-weighted mean of the others",
    "prefix_attention": "R − mean of the others, weighted by likeness of their prefixes",
    "gae": "Σ (γλ)ˡ δ, from the critic's values",
}


@dataclass(frozen=True)
class Line:
    """One term: its name, the formula, the formula with numbers, its value, and a remark."""

    name: str
    formula: str
    numbers: str
    value: float
    note: str = ""


@dataclass(frozen=True)
class Token:
    """One token of a completion with what became of it; the fields of `Numbers` and `Terms`."""

    logp: float
    old: float
    ref: float
    entropy: float
    advantage: float
    weight: float
    ratio: float
    clipped: float
    policy: float
    kl: float
    loss: float
    gradient: float
    length: int
    """Tokens of its completion."""

    @classmethod
    def at(cls, index: int, numbers: Numbers, terms: Terms) -> Token:
        """The token at `index` of a completion."""
        known = {**vars(numbers), **vars(terms)}
        values = {name: float(channel[index]) for name, channel in known.items()}
        return cls(**values, length=len(numbers.logp))


@dataclass(frozen=True)
class Around:
    """What else the terms of a token hold."""

    rewards: list[float]
    """Of its group, its own first; empty where its advantage comes from more than these."""
    num_completions: int
    """In the loss of its optimizer step."""
    num_tokens: int
    """Of them all."""


def lines_of(
    config: RunConfig, objective: Objective, token: Token, around: Around
) -> list[dict[str, Any]]:
    """The terms of one token, from its log-probs to its share of the loss."""
    lines = _ratio(objective, token)
    lines += [
        advantage_line(config, around.rewards, token.advantage, of_token=True),
        _policy(objective, token),
    ]
    lines += _others(objective, token)
    lines += [_weight(config, token, around), _loss(objective, token), _gradient(objective, token)]
    return [asdict(line) for line in lines]


def _ratio(objective: Objective, token: Token) -> list[Line]:
    if objective.ratio_level == "none":
        return []
    if objective.ratio_level == "sequence":
        apart = math.log(token.ratio)
        note = "one ratio for the whole completion"
        formula = "s = exp(mean of log π − log π_old)"
        return [Line("Ratio", formula, f"exp({n(apart)})", token.ratio, note)]
    note = "π has not moved yet: the ratio is 1" if token.logp == token.old else ""
    numbers = f"exp({n(token.logp - token.old)})"
    return [Line("Ratio", "r = exp(log π − log π_old)", numbers, token.ratio, note)]


def comparable(config: RunConfig, own: float | None, others: list[float | None]) -> list[float]:
    """The rewards that make an advantage, `own` first; empty where more than these make it."""
    is_sum = config.algorithm.multi_objective_aggregation == "sum_then_normalize"
    if own is None or is_shaped(config) or not is_sum:
        return []
    return [own, *(reward for reward in others if reward is not None)]


def is_shaped(config: RunConfig) -> bool:
    """Whether something is taken off the rewards before they are compared."""
    algorithm = config.algorithm
    takes_kl = bool(algorithm.kl_place == "reward" and algorithm.kl_coefficient)
    return takes_kl or algorithm.truncated == "penalize"


def advantage_line(
    config: RunConfig, rewards: list[float], value: float, of_token: bool = False
) -> Line:
    """The advantage `value` of a completion, or of one of its tokens as the loss used it, as a
    formula, and with the numbers of `comparable` rewards."""
    algorithm = config.algorithm
    name = algorithm.advantage or "zscore"
    if algorithm.multi_objective_aggregation == "normalize_then_sum":
        formula = "Σ weight · z-score of each reward, normalised over the step"
    else:
        formula = _ADVANTAGES[name]
    notes = []
    if name in ("gae", "prefix_attention") and not of_token:
        notes.append("mean over its tokens")
    if name == "gae" and config.critic and config.critic.whiten:
        notes.append("whitened over the step")
    if algorithm.truncated == "penalize":
        notes.append("R less the penalty for its length")
    if algorithm.kl_place == "reward" and algorithm.kl_coefficient:
        beta = n(algorithm.kl_coefficient)
        taken = "at each token, " if name == "gae" else "Σ "
        notes.append(f"R less {beta} · {taken}(log π_old − log π_ref)")
    is_corrected = of_token and algorithm.importance_cap is not None
    if is_corrected:
        notes.append("times min(π_old / π_engine, cap)")
    numbers = _compared(name, rewards) if rewards and not is_corrected else ""
    return Line("Advantage", f"A = {formula}", numbers, value, "; ".join(notes))


def _compared(estimator: str, rewards: list[float]) -> str:
    """The formula of an advantage with the rewards of its group, its own first."""
    R = np.array(rewards)
    digits = enough(R)
    own = n(rewards[0], digits)
    if estimator == "mean":
        return f"{own} − {signed(R.mean(), digits)}"
    if estimator == "loo" and len(R) > 1:
        return f"{own} − {signed(R[1:].mean(), digits)}"
    if estimator == "zscore" and len(R) > 1:
        return f"({own} − {signed(R.mean(), digits)}) / ({n(R.std(ddof=1))} + 10⁻⁴)"
    return ""


def _policy(objective: Objective, token: Token) -> Line:
    r, A = near_1(token.ratio), signed(token.advantage)
    name, value = "Policy term", -token.policy
    if objective.ratio_level == "none":
        return Line(name, "A log π", f"{A} · {signed(token.logp)}", value)
    if objective.clipping == "none":
        return Line(name, "r A", f"{r} · {A}", value)
    if objective.clipping == "sapo":
        tau = objective.sapo_positive if token.advantage > 0 else objective.sapo_negative
        numbers = f"4/{n(tau)} · σ({n(tau)} ({r} − 1)) · {A}"
        return Line(name, "4/τ σ(τ (r − 1)) A", numbers, value, "a smooth gate in place of a clip")
    assert objective.clip_high is not None
    if objective.clipping == "cispo":
        cap = n(1 + objective.clip_high)
        numbers = f"min({r}, {cap}) · {A} · {signed(token.logp)}"
        note = "capped; its gradient stays" if token.clipped else ""
        return Line(name, "min(r, 1 + ε_high) A log π", numbers, value, note)
    return _clipped(objective, token, r, A)


def _clipped(objective: Objective, token: Token, r: str, A: str) -> Line:
    """The policy term of PPO's clip; `r` and `A` are the token's ratio and advantage as text."""
    assert objective.clip_low is not None and objective.clip_high is not None
    low, high = 1 - objective.clip_low, 1 + objective.clip_high
    held = float(np.clip(token.ratio, low, high))
    bounded = near_1(held)
    formula = f"min(r A, clip(r, {low:.6g}, {high:.6g}) A)"
    numbers = f"min({r} · {A}, {bounded} · {A})"
    note = "beyond the clip: no gradient" if token.clipped else ""
    if not token.clipped and held != token.ratio and token.advantage and token.weight:
        note = "beyond the clip on the side where it does not act"
    if objective.dual_clip is not None and token.advantage < 0:
        most = n(objective.dual_clip)
        formula, numbers = f"max({formula}, {most} A)", f"max({numbers}, {most} · {A})"
        if token.ratio > objective.dual_clip:
            note = "held by the dual clip: no gradient"
    return Line("Policy term", formula, numbers, -token.policy, note)


def _others(objective: Objective, token: Token) -> list[Line]:
    found = []
    if objective.kl_coefficient:
        apart, own = token.ref - token.logp, math.exp(token.logp - token.old)
        numbers = {
            "k1": f"{n(token.logp)} − {signed(token.ref)}",
            "k2": f"½ {signed(-apart)}²",
            "k3": f"exp({n(apart)}) − 1 − {signed(apart)}",
            "k3_is": f"{n(own)} (exp({n(apart)}) − 1 − {signed(apart)})",
        }[objective.kl_estimator]
        formula = _KL[objective.kl_estimator]
        note = f"enters with β = {n(objective.kl_coefficient)}"
        found.append(Line("KL", formula, numbers, token.kl, note))
    if objective.entropy_coefficient:
        note = f"enters with α = {n(objective.entropy_coefficient)}, as a bonus"
        found.append(Line("Entropy", "H = −Σ p log p", "", token.entropy, note))
    return found


def _weight(config: RunConfig, token: Token, around: Around) -> Line:
    aggregation = config.algorithm.aggregation or "seq_mean"
    numbers = {
        "seq_sum": f"1 / {around.num_completions}",
        "seq_mean": f"1 / ({around.num_completions} · {token.length})",
        "token_mean": f"1 / {around.num_tokens}",
        "dr_grpo": f"1 / ({around.num_completions} · {config.rollout.max_new_tokens})",
    }[aggregation]
    formula = f"w = {_WEIGHTS[aggregation]}"
    if not token.weight:
        return Line("Weight", formula, "", 0.0, "left out of the loss")
    return Line("Weight", formula, numbers, token.weight)


def _loss(objective: Objective, token: Token) -> Line:
    formula, numbers = "−term", n(token.policy)
    if objective.kl_coefficient:
        formula += " + β KL"
        numbers += f" + {n(objective.kl_coefficient)} · {signed(token.kl)}"
    if objective.entropy_coefficient:
        formula += " − α H"
        numbers += f" − {n(objective.entropy_coefficient)} · {n(token.entropy)}"
    return Line("Share of the loss", f"w ({formula})", f"{n(token.weight)} ({numbers})", token.loss)


def _gradient(objective: Objective, token: Token) -> Line:
    value = token.gradient
    note = "this token is left as it is"
    if math.isnan(token.logp):
        note = "the update did not look at this token in this pass"
    elif value:
        note = "makes this token likelier" if value < 0 else "makes this token less likely"
        if token.clipped and objective.clipping == "ppo":
            note += ", by the KL alone"
    if objective.entropy_coefficient:
        note += "; the entropy bonus pulls at all tokens of this place and is not in it"
    return Line("Gradient", "∂ loss / ∂ log π", "", value, note)
