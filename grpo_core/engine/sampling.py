"""Choosing the next token from logits. B rows, V vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from grpo_core.engine import Sampling

SMALL = 2048
"""A vocabulary up to this size is summed as a whole."""
BLOCK = 256
"""Of a larger one so many tokens are summed at once, and the draw looks into one such block."""


def choose(logits_BV: Tensor, sampling: Sampling, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and their log-probabilities (nats, temperature applied, before top-p), both `(B,)`.

    One uniform number a row decides: the inverse of the cumulative distribution, whose sums are in
    float64 so that a tail of 150,000 small probabilities is not rounded away.
    """
    if not sampling.greedy and sampling.temperature != 1:
        logits_BV = logits_BV / sampling.temperature
    logits_BV = logits_BV - logits_BV.amax(-1, keepdim=True)
    weight_BV = logits_BV.exp()
    if sampling.greedy:
        ids, total_B = logits_BV.argmax(-1), weight_BV.sum(-1)
    elif sampling.top_p < 1:
        total_B = weight_BV.sum(-1)
        ids, _ = _draw(_nucleus(weight_BV / total_B[:, None], sampling.top_p), uniform_B)
    else:
        ids, total_B = _draw(weight_BV, uniform_B)
    return ids, logits_BV.gather(-1, ids[:, None])[:, 0] - total_B.log().to(logits_BV.dtype)


def _draw(weight_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """A token of each row with probability proportional to its weight, and the weights' sum."""
    if weight_BV.shape[-1] <= SMALL:
        ends = weight_BV.cumsum(-1, dtype=torch.float64)
        return _first_above(ends, uniform_B * ends[:, -1]), ends[:, -1]
    rest = -weight_BV.shape[-1] % BLOCK
    blocks = F.pad(weight_BV, (0, rest)) if rest else weight_BV
    blocks = blocks.view(len(weight_BV), -1, BLOCK)
    ends = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
    target_B = uniform_B * ends[:, -1]
    block_B = _first_above(ends, target_B)
    before_B = F.pad(ends, (1, 0)).gather(-1, block_B[:, None])[:, 0]
    within = blocks[torch.arange(len(blocks), device=blocks.device), block_B]
    token_B = _first_above(within.cumsum(-1, dtype=torch.float64), target_B - before_B)
    return block_B * BLOCK + token_B, ends[:, -1]


def _first_above(ends: Tensor, target_B: Tensor) -> Tensor:
    """Index of the first sum above the target; of the last increase where rounding leaves none."""
    index_B = torch.searchsorted(ends, target_B[:, None], right=True)[:, 0]
    last_B = torch.searchsorted(ends, ends[:, -1:].contiguous())[:, 0]
    return torch.minimum(index_B, last_B)


def _nucleus(probabilities_BV: Tensor, top_p: float) -> Tensor:
    """Zero outside the smallest set of most probable tokens that reaches `top_p`."""
    ordered, order = probabilities_BV.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return probabilities_BV.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
