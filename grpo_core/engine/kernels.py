"""The fused kernels of a decode step: what they take and return, and how they are launched.

Shape letters: B rows (one new token each), V vocabulary, H query heads, K key/value heads, D head
size, P prompts, S cache slots, N hidden size. All tensors are on one CUDA device and contiguous in
their last dimension. Grids and splits follow from shapes alone, never from what lies in a tensor,
so every function here can be captured in a CUDA graph.

This module loads without Triton (CPU installs, Windows): the device code is imported on the first
launch. What each function computes stands in plain torch in `reference`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from grpo_core.engine import reference

SAMPLE_GROUPS = 512
"""Groups of eight tokens in a tile: 32 numbers for each of 128 threads."""
WANTED_PROGRAMS = 512
"""Work is split over this many programs, about four for each multiprocessor of a large GPU: fewer
leave some idle, more cost a longer merge."""
MAX_ATTENTION_SPLITS = 32


def available() -> bool:
    """Whether the kernels can be tried: Triton is installed and torch sees a GPU."""
    return importlib.util.find_spec("triton") is not None and torch.cuda.is_available()


@cache
def _code(name: str) -> ModuleType:
    """A module of device code: it imports Triton, which not every install has."""
    return importlib.import_module(f"grpo_core.engine.{name}")


def sample(
    logits_BV: Tensor,
    seed_B: Tensor,
    position_B: Tensor,
    temperature: float,
    greedy: bool,
    splits: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Token ids `(B,)` and their log-probabilities, fp32 nats under the temperature.

    The random numbers are functions of a row's seed (int64), its position and the token: neither
    the other rows nor `splits` (programs a row; None: from the shape) change an id. `greedy`
    ignores the temperature; of equal logits the lowest id is taken. -inf is never chosen.
    """
    rows, vocabulary = logits_BV.shape
    assert logits_BV.stride(1) == 1 and seed_B.dtype == torch.int64
    tiles = _ceil(vocabulary, SAMPLE_GROUPS * 8)
    tiles_each = _ceil(tiles, min(tiles, splits or _ceil(WANTED_PROGRAMS, rows)))
    splits = _ceil(tiles, tiles_each)
    new, code = logits_BV.new_empty, _code("kernels_triton")
    parts = [new(rows, splits, dtype=torch.float32) for _ in range(3)]
    parts.insert(1, new(rows, splits, dtype=torch.int32))
    ids, logp = new(rows, dtype=torch.int64), new(rows, dtype=torch.float32)
    scalars = (vocabulary, logits_BV.stride(0), 1.0 if greedy else 1.0 / temperature)
    code.sample_part[(rows, splits)](
        logits_BV, seed_B, position_B, *parts, *scalars, tiles_each,
        GREEDY=greedy, GROUPS=SAMPLE_GROUPS, num_warps=4,
    )  # fmt: skip
    code.sample_merge[(rows,)](
        logits_BV, seed_B, position_B, *parts, ids, logp, *scalars, splits,
        GREEDY=greedy, PAD_SPLITS=_power(splits), num_warps=1,
    )  # fmt: skip
    return ids, logp


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
    """Attention of one token per row over its prompt and its completion, `(B, H, D)`.

    `prefix_key`/`prefix_value` are `(P, tokens, K, D)`: row b sees the first `prefix_length_B[b]`
    of entry `prompt_B[b]`; `key`/`value` are `(S, tokens, K, D)`: and the first `length_B[b]` of
    slot `slot_B[b]`, the new token included. With `window` only the last so many of them all. A
    row of length 0 or slot -1 reads nothing and gets zeros. `splits`: programs that share a row's
    tokens; None takes as many as the shapes ask for.
    """
    rows, heads, size = query_BHD.shape
    kv_heads = key.shape[2]
    assert query_BHD.is_contiguous() and heads % kv_heads == 0 and query_BHD.dtype == key.dtype
    assert key.stride() == value.stride() and prefix_key.stride() == prefix_value.stride()
    assert key.stride(3) == prefix_key.stride(3) == 1
    # 64 tokens of 256 numbers would leave no room for a second program on a multiprocessor
    block = 64 if size <= 128 else 32
    if splits is None:
        longest = prefix_key.shape[1] + key.shape[1]
        splits = min(_ceil(WANTED_PROGRAMS, rows * kv_heads), _ceil(longest, block))
        splits = min(splits, MAX_ATTENTION_SPLITS)
    out, code = torch.empty_like(query_BHD), _code("kernels_attention")
    part = part_log = out
    if splits > 1:
        part = query_BHD.new_empty(rows, heads, splits, size, dtype=torch.float32)
        part_log = query_BHD.new_empty(rows, heads, splits, dtype=torch.float32)
    code.attention_part[(rows * kv_heads, splits)](
        query_BHD, prefix_key, prefix_value, prompt_B, prefix_length_B, key, value, slot_B,
        length_B, part, part_log,
        scale * 1.4426950408889634,  # exponentials of 2 are the ones the hardware has
        window or 0, *prefix_key.stride()[:3], *key.stride()[:3],
        KV_HEADS=kv_heads, RATIO=heads // kv_heads, PAD_RATIO=max(16, _power(heads // kv_heads)),
        SIZE=size, PAD_SIZE=max(16, _power(size)), BLOCK=block, PARTIAL=splits > 1,
        WINDOWED=window is not None, num_warps=4 if size <= 128 else 8,
        num_stages=3 if size <= 64 else 2,
    )  # fmt: skip
    if splits > 1:
        code.attention_merge[(rows * heads,)](
            part, part_log, out, splits, SIZE=size, PAD_SIZE=_power(size),
            PAD_SPLITS=_power(splits), num_warps=4 if splits > 8 else 1,
        )  # fmt: skip
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
    """Rotated queries `(B, H, D)`; keys (rotated) and values go to the caches at [slot, index].

    `qkv_BN` holds a row's query heads, key heads and value heads; `cos` and `sin` are
    `(positions, D)` in fp32 with equal halves. `q_norm`/`k_norm` `(D,)` are weights of an RMS norm
    of each head before the rotation, plus `offset` (see `add_rms_norm`). A row of slot -1 stores
    nothing and its query is zero.
    """
    rows, size = len(qkv_BN), key_cache.shape[3]
    assert qkv_BN.shape[1] == (num_heads + 2 * num_kv_heads) * size and cos.shape[1] == size
    assert qkv_BN.stride(1) == 1 and key_cache.stride() == value_cache.stride()
    assert cos.is_contiguous() and sin.is_contiguous() and (q_norm is None) == (k_norm is None)
    half = _power(size // 2)
    block = max(1, 512 // half)  # 1024 numbers a program: one per head would be too small
    query = qkv_BN.new_empty(rows, num_heads, size)
    grid = (rows, _ceil(num_heads + 2 * num_kv_heads, block))
    _code("kernels_triton").rope_and_store[grid](
        qkv_BN, cos, sin, position_B, slot_B, index_B, query, key_cache, value_cache, q_norm,
        k_norm, epsilon, offset, qkv_BN.stride(0), *key_cache.stride()[:3],
        HEADS=num_heads, KV_HEADS=num_kv_heads, HALF=size // 2, PAD_HALF=half, BLOCK=block,
        NORM=q_norm is not None, WIDE=offset != 0, num_warps=4,
    )  # fmt: skip
    return query


def add_rms_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, epsilon: float, offset: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`x + residual`, normalised and as it is, both in the dtype of `x` `(…, N)`.

    Statistics are in fp32. Without `offset` the normalised numbers are rounded before the product
    with the weight (Llama, Qwen, Mistral); with one (1 for Gemma) the weight is `weight + offset`
    and all is fp32 until the end.
    """
    size = x.shape[-1]
    assert x.is_contiguous() and (residual is None or residual.is_contiguous())
    normed = torch.empty_like(x)
    added = x if residual is None else torch.empty_like(x)
    _code("kernels_triton").add_rms_norm[(x.numel() // size,)](
        x, residual, weight, normed, added, epsilon, offset,
        SIZE=size, BLOCK=_power(size), ADD=residual is not None, WIDE=offset != 0,
        num_warps=4 if size <= 2048 else 8,
    )  # fmt: skip
    return normed, added


def gated(gate_up_BN: Tensor, kind: str) -> Tensor:
    """`act(gate) * up` `(B, N / 2)` of rows that hold gate and up; `kind` is silu or gelu_tanh."""
    assert kind in ("silu", "gelu_tanh") and gate_up_BN.is_contiguous()
    rows, size = len(gate_up_BN), gate_up_BN.shape[1] // 2
    out = gate_up_BN.new_empty(rows, size)
    _code("kernels_triton").gated[(rows, _ceil(size, 1024))](
        gate_up_BN, out, SIZE=size, BLOCK=1024, GELU=kind == "gelu_tanh", num_warps=4
    )
    return out


def self_check(
    device: torch.device, dtype: torch.dtype = torch.bfloat16, size: int = 64, ratio: int = 3
) -> str | None:
    """One line on what is wrong with the kernels on this device, None when all agree.

    For heads of `size` numbers, `ratio` query heads to a key head: code is compiled for each.
    Compiling what is checked takes some ten seconds once, then it lies in Triton's cache.
    """
    for name, args in _cases(device, dtype, size, ratio):
        try:
            wide = [_double(arg) for arg in args]
            ours, theirs = _outputs(globals()[name], args), _outputs(getattr(reference, name), wide)
            for mine, expected in zip(ours, theirs, strict=True):
                bound = _TOLERANCE.get(mine.dtype, 0.0) * max(1.0, float(expected.abs().max()))
                error = float((mine.double() - expected.double()).abs().max())
                if not error <= bound:  # NaN compares as false
                    return f"the kernel {name} is off by {error:.2g} in {dtype}"
        except Exception as error:  # whatever a compiler or a driver raises
            text = " ".join(str(error).split())[:200]
            return f"the kernel {name} failed: {type(error).__name__}: {text}"
    return None


_TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 2e-2}
"""Largest error allowed, as a share of the largest number; ids must be equal."""


def _cases(
    device: torch.device, dtype: torch.dtype, size: int = 64, ratio: int = 3
) -> list[tuple[str, list[Any]]]:
    """Calls of every kernel on random numbers; what must not be read is NaN."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    def whole(*numbers: int) -> Tensor:
        return torch.tensor(numbers, device=device)

    logits, seed, place = normal(4, 9001), whole(-5, 0, 1, 2**60), whole(0, 1, 70, 3)
    prefix, cache = normal(2, 2, 80, 2, size), normal(2, 3, 100, 2, size)
    prefix[:, 1, 70:] = cache[:, 2, 33:] = float("nan")
    attend: list[Any] = [
        normal(4, 2 * ratio, size),
        *prefix,
        whole(1, 0, 1, 0),
        whole(70, 80, 1, 9),
    ]
    attend += [*cache, whole(2, 0, -1, 1), whole(33, 100, 1, 0), 0.125]
    angle = torch.randn(80, size // 2, generator=generator).repeat(1, 2).to(device)
    store: list[Any] = [normal(4, (2 * ratio + 4) * size), angle.cos(), angle.sin(), place]
    store += [whole(2, 0, -1, 1), whole(0, 1, 2, 9), *torch.zeros_like(cache), 2 * ratio, 2]
    return [
        *(("sample", [logits, seed, place, 0.7, greedy]) for greedy in (False, True)),
        *(("decode_attention", [*attend, *more]) for more in ([], [50], [None, 1])),
        *(("rope_and_store", [*store, *more]) for more in ([], [*normal(2, size), 1e-6])),
        *(("add_rms_norm", [*normal(2, 3, 96), normal(96), 1e-6, o]) for o in (0.0, 1.0)),
        *(("gated", [normal(3, 2200), kind]) for kind in ("silu", "gelu_tanh")),
    ]


def _double(arg: Any) -> Any:
    if not isinstance(arg, Tensor):
        return arg
    return arg.double() if arg.is_floating_point() else arg


def _outputs(function: Callable[..., Any], args: list[Any]) -> list[Tensor]:
    """What a call returns, and the caches that it wrote into."""
    args = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
    result = function(*args)
    caches = args[6:8] if function.__name__ == "rope_and_store" else []
    return [*(result if isinstance(result, tuple) else (result,)), *caches]


def _ceil(number: int, by: int) -> int:
    return -(-number // by)


def _power(number: int) -> int:
    """The next power of two: blocks of Triton have no other sizes."""
    return 1 << (number - 1).bit_length()
