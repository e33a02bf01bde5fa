"""Choosing the next token from logits. B rows, V vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from grpo_core.engine import Sampling


def choose(logits_BV: Tensor, sampling: Sampling, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and their log-probabilities (nats, temperature applied, before top-p), both `(B,)`.

    One uniform number a row decides: the inverse of the cumulative distribution, in float64 so
    that a tail of 150,000 small probabilities is not rounded away.
    """
    if not sampling.greedy:
        logits_BV = logits_BV / sampling.temperature
    total = logits_BV.logsumexp(-1, keepdim=True)
    if sampling.greedy:
        ids = logits_BV.argmax(-1)
    else:
        probabilities = (logits_BV - total).exp()
        if sampling.top_p < 1:
            probabilities = _nucleus(probabilities, sampling.top_p)
        ids = _inverse(probabilities, uniform_B)
    return ids, (logits_BV.gather(-1, ids[:, None]) - total)[:, 0]


def _inverse(probabilities_BV: Tensor, uniform_B: Tensor) -> Tensor:
    cumulative = probabilities_BV.cumsum(-1, dtype=torch.float64)
    target = uniform_B[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return ids.clamp(max=probabilities_BV.shape[-1] - 1)


def _nucleus(probabilities_BV: Tensor, top_p: float) -> Tensor:
    """Zero outside the smallest set of most probable tokens that reaches `top_p`."""
    ordered, order = probabilities_BV.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return probabilities_BV.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
