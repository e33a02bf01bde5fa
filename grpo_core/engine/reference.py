"""What the kernels compute, in plain torch: slow, for the start-up check and the tests.

Signatures are those of `grpo_core.engine.kernels`; `splits` changes nothing here. Given float64 a
function computes in float64, else in fp32 with results rounded where the kernels round.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

GROUP = 8
ROUNDS = 7


def philox(seed: np.ndarray, counter: list[np.ndarray], rounds: int = ROUNDS) -> np.ndarray:
    """First word of Philox 4x32 (Salmon et al. 2011) for int64 seeds and four 32-bit counters."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    key = seed.astype(np.uint64)
    keys = [key & low, key >> shift]
    c0, c1, c2, c3 = (np.asarray(part).astype(np.uint64) & low for part in counter)
    for _ in range(rounds):
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (second >> shift) ^ c1 ^ keys[0], second & low
        c2, c3 = (first >> shift) ^ c3 ^ keys[1], first & low
        keys[0] = (keys[0] + np.uint64(0x9E3779B9)) & low
        keys[1] = (keys[1] + np.uint64(0xBB67AE85)) & low
    return c0


def gumbel(seed_B: Tensor, position_B: Tensor, count: int, level: int) -> Tensor:
    """Standard Gumbel noise `(B, count)` in float64 of each row's seed and position."""
    seed = seed_B.cpu().numpy()[:, None]
    position = position_B.cpu().numpy()[:, None]
    index = np.arange(count)[None]
    word = philox(seed, [index, position, np.full_like(index, level), np.zeros_like(index)])
    uniform = (word.astype(np.float64) + 0.5) * 2.0**-32
    return torch.from_numpy(-np.log(-np.log1p(-uniform))).to(seed_B.device)


def sample(
    logits_BV: Tensor,
    seed_B: Tensor,
    position_B: Tensor,
    temperature: float,
    greedy: bool,
    splits: int | None = None,
) -> tuple[Tensor, Tensor]:
    """See `kernels.sample`: a group of eight neighbours is drawn, then one of them."""
    logits_BV = logits_BV.double() / (1.0 if greedy else temperature)
    logp_BV = logits_BV.log_softmax(-1)
    if greedy:
        ids = logits_BV.argmax(-1)
        return ids, logp_BV.gather(-1, ids[:, None])[:, 0]
    rows, vocabulary = logits_BV.shape
    groups = -(-vocabulary // GROUP)
    padded = F.pad(logits_BV, (0, groups * GROUP - vocabulary), value=float("-inf"))
    grouped = padded.view(rows, groups, GROUP).logsumexp(-1)
    group = (grouped + gumbel(seed_B, position_B, groups, 0)).argmax(-1)
    index = group[:, None] * GROUP + torch.arange(GROUP, device=group.device)
    noise = gumbel(seed_B, position_B, groups * GROUP, 1).gather(-1, index)
    ids = index.gather(-1, (padded.gather(-1, index) + noise).argmax(-1, keepdim=True))
    return ids[:, 0], logp_BV.gather(-1, ids)[:, 0]


def decode_attention(
    query_BHD: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    prompt_B: Tensor,
    prefix_length_B: Tensor,
    key: Tensor,
    value: Tensor,
    slot_B: Tensor,
    length_B: Tensor,
    scale: float,
    window: int | None = None,
    splits: int | None = None,
) -> Tensor:
    """See `kernels.decode_attention`, row by row."""
    out = torch.zeros_like(query_BHD)
    ratio = query_BHD.shape[1] // key.shape[2]
    for row, (before, own) in enumerate(
        zip(prefix_length_B.tolist(), length_B.tolist(), strict=True)
    ):
        slot, prompt = int(slot_B[row]), int(prompt_B[row])
        if own == 0 or slot < 0:
            continue
        keys, values = (
            torch.cat([prefix[prompt, :before], cache[slot, :own]])[-(window or before + own) :]
            .repeat_interleave(ratio, 1)
            .to(query_BHD.dtype)
            for prefix, cache in ((prefix_key, key), (prefix_value, value))
        )
        score = torch.einsum("hd,thd->ht", query_BHD[row], keys) * scale
        out[row] = torch.einsum("ht,thd->hd", score.softmax(-1), values)
    return out


def rope_and_store(
    qkv_BN: Tensor,
    cos: Tensor,
    sin: Tensor,
    position_B: Tensor,
    slot_B: Tensor,
    index_B: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    num_heads: int,
    num_kv_heads: int,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    epsilon: float = 1e-6,
    offset: float = 0.0,
) -> Tensor:
    """See `kernels.rope_and_store`."""
    heads = qkv_BN.view(len(qkv_BN), -1, key_cache.shape[3])
    query, key, value = heads.split([num_heads, num_kv_heads, num_kv_heads], 1)
    if q_norm is not None and k_norm is not None:
        query = add_rms_norm(query, None, q_norm, epsilon, offset)[0]
        key = add_rms_norm(key, None, k_norm, epsilon, offset)[0]
    alive = slot_B >= 0
    place = position_B.long().where(alive, 0)
    query, key = (_rotate(x, cos[place], sin[place]) for x in (query, key))
    slot, index = slot_B[alive].long(), index_B[alive].long()
    key_cache[slot, index] = key[alive]
    value_cache[slot, index] = value[alive]
    return query * alive[:, None, None]


def add_rms_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, epsilon: float, offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    """See `kernels.add_rms_norm`."""
    added = x if residual is None else x + residual
    wide = _wide(added)
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    if offset:
        return (normed * (_wide(weight) + offset)).to(x.dtype), added
    return (weight * normed.to(x.dtype)).to(x.dtype), added


def gated(gate_up_BN: Tensor, kind: str) -> Tensor:
    """See `kernels.gated`."""
    gate, up = gate_up_BN.chunk(2, -1)
    active = F.silu(gate) if kind == "silu" else F.gelu(gate, approximate="tanh")
    return active * up


def _rotate(x_BHD: Tensor, cos_BD: Tensor, sin_BD: Tensor) -> Tensor:
    """Rotary embedding, halves rotated against each other."""
    wide = _wide(x_BHD)
    first, second = wide.chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return (wide * cos_BD[:, None] + turned * sin_BD[:, None]).to(x_BHD.dtype)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
