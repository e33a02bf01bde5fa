"""How much work a step is at least, and how fast the machine does such work: what the measured
seconds are held against on a GPU.

Only useful work counts, the same for both sides: each prompt once for its group, no padding, rows
that have ended are not decoded, weights and cache in bf16.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

BF16 = 2
"""Bytes."""


def decode_bytes(shape: dict[str, Any], prompts: Sequence[int], lengths: Sequence[int]) -> float:
    """Bytes that decoding a step moves: for each token the weights once for all rows, its row's
    keys and values, and its logits written and read.

    `prompts` are the tokens of each prompt, `lengths` those of each completion, prompt-major.
    """
    head = shape["vocab_size"] * shape["hidden_size"]
    weights = BF16 * (_body(shape) + head) * max(lengths)
    heads, size = shape["num_key_value_heads"], _head_size(shape)
    per_token = BF16 * 2 * shape["num_hidden_layers"] * heads * size
    group = len(lengths) // len(prompts)
    context = sum(_sum_of_positions(prompts[i // group], n) for i, n in enumerate(lengths))
    logits = BF16 * 2 * shape["vocab_size"] * sum(lengths)
    return weights + per_token * context + logits


def update_flops(shape: dict[str, Any], prompts: Sequence[int], lengths: Sequence[int]) -> float:
    """Floating-point operations of forward and backward: 6 per weight and token, 12 per pair of
    query and key and channel, 8 per weight of the head and completion token (its forward twice)."""
    group = len(lengths) // len(prompts)
    pairs = sum(_sum_of_positions(0, prompt) for prompt in prompts)
    pairs += sum(_sum_of_positions(prompts[i // group], n) for i, n in enumerate(lengths))
    width = shape["num_attention_heads"] * _head_size(shape) * shape["num_hidden_layers"]
    head = shape["vocab_size"] * shape["hidden_size"]
    body = 6 * _body(shape) * (sum(prompts) + sum(lengths))
    return body + 12 * width * pairs + 8 * head * sum(lengths)


def _body(shape: dict[str, Any]) -> int:
    """Weights of all layers, without embedding and head."""
    hidden, size = shape["hidden_size"], _head_size(shape)
    query = shape["num_attention_heads"] * size
    key = shape["num_key_value_heads"] * size
    layer = hidden * (2 * query + 2 * key) + 3 * hidden * shape["intermediate_size"]
    return shape["num_hidden_layers"] * layer


def _head_size(shape: dict[str, Any]) -> int:
    return shape.get("head_dim") or shape["hidden_size"] // shape["num_attention_heads"]


def _sum_of_positions(start: int, num: int) -> int:
    """Of `num` tokens behind `start` others: how many tokens each can see, itself included."""
    return num * start + num * (num + 1) // 2


def ceilings() -> dict[str, float]:
    """TFLOP/s of a bf16 matrix product on random data, GB/s of a copy (read and written)."""
    import torch

    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    source = torch.empty(2**32, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    matmul = _seconds(lambda: torch.mm(a, b))
    copy = _seconds(lambda: target.copy_(source))
    return {"matmul_tflops": 2 * side**3 / matmul / 1e12, "copy_gbs": 2 * 2**32 / copy / 1e9}


def _seconds(work: Any) -> float:
    """Median of 20 runs after 5."""
    import torch

    times = []
    for _ in range(25):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return median(times[5:])
