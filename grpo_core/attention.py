"""Attention over a packed row, as its plan says.

Registered with the library under `grpo_packed`; `packed_arguments` is what a forward hands over.
Without a plan the library's own `sdpa` does the work, so the same model still generates.

Shape letters as in `plan.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from grpo_core.plan import AttentionPlan, Bucket, HeadRows, Segment, Varlen

NAME = "grpo_packed"


# --- the reference: any device, any precision -----------------------------------------------------


class _Reference(torch.autograd.Function):
    """Attention bucket by bucket, its gradient written out: plain products and one softmax. The
    library's fused kernel for CPUs takes half of an update for its backward alone."""

    @staticmethod
    def forward(
        ctx: Any,
        query_NHD: Tensor,
        key_NJD: Tensor,
        value_NJD: Tensor,
        plan: AttentionPlan,
        scale: float,
        window: int | None,
    ) -> Tensor:
        rows = plan.rows(query_NHD.shape[1], key_NJD.shape[1])
        queries = _queries(query_NHD, rows, scale)
        keys, values = (_keys(x, rows) for x in (key_NJD, value_NJD))
        mixed, shares = torch.empty_like(queries), []
        for bucket, part in zip(plan.buckets, rows.parts, strict=True):
            scores = torch.bmm(part.queries(queries), part.keys(keys).mT)
            _per_head(scores, bucket).add_(bucket.mask(window, scores.dtype)[:, None])
            shares.append(scores.softmax(-1))
            torch.bmm(shares[-1], part.keys(values), out=part.queries(mixed))
        ctx.save_for_backward(queries, key_NJD, value_NJD, *shares)
        ctx.plan, ctx.scale = plan, scale
        return mixed.index_select(0, rows.place).view(query_NHD.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, key_NJD, value_NJD, *shares = ctx.saved_tensors
        rows = ctx.plan.rows(grads[0].shape[1], key_NJD.shape[1])
        keys, values = (_keys(x, rows) for x in (key_NJD, value_NJD))
        grads_mixed = _queries(grads[0], rows)  # zeros where the padding is, so it adds nothing
        grads_query, grads_key, grads_value = map(torch.empty_like, (queries, keys, values))
        for share, part in zip(shares, rows.parts, strict=True):
            grad = part.queries(grads_mixed)
            torch.bmm(share.mT, grad, out=part.keys(grads_value))
            grad = torch.bmm(grad, part.keys(values).mT)
            grad = torch._softmax_backward_data(grad, share, -1, share.dtype)
            torch.bmm(grad.mT, part.queries(queries), out=part.keys(grads_key))
            torch.bmm(grad, part.keys(keys), out=part.queries(grads_query))
        of_query = grads_query.index_select(0, rows.place).view(grads[0].shape) * ctx.scale
        of_key, of_value = (_summed(g, rows, key_NJD) for g in (grads_key, grads_value))
        return of_query, of_key, of_value, None, None, None


def _queries(x_NHD: Tensor, rows: HeadRows, scale: float = 1.0) -> Tensor:
    """Scaled, as the buckets want them, zeros in the padding."""
    table = x_NHD.new_empty(x_NHD.shape[0] * x_NHD.shape[1] + 1, x_NHD.shape[2])
    torch.mul(x_NHD, scale, out=table[:-1].view(x_NHD.shape))
    table[-1] = 0
    return table.index_select(0, rows.query)


def _keys(x_NJD: Tensor, rows: HeadRows) -> Tensor:
    """Keys or values, as the buckets want them."""
    return x_NJD.flatten(0, 1).index_select(0, rows.key)


def _summed(grad: Tensor, rows: HeadRows, like_NJD: Tensor) -> Tensor:
    """The inverse of `_keys`. A prompt's keys serve all its completions: what comes to them from
    several places is summed in fp32."""
    wide = torch.promote_types(grad.dtype, torch.float32)
    total = torch.zeros(like_NJD.shape, dtype=wide, device=grad.device)
    total.flatten(0, 1).index_add_(0, rows.key, grad.to(wide))
    return total.to(grad.dtype)


def _per_head(scores: Tensor, bucket: Bucket) -> Tensor:
    """Scores with the mask's dimensions to the right: `(J, S, H/J, L, M)`."""
    (num, width), (_, num_keys) = bucket.query_SL.shape, bucket.key_SM.shape
    return scores.view(-1, num, scores.shape[1] // width, width, num_keys)


# --- a fused kernel, on a GPU in half precision ---------------------------------------------------


class _Fetch(torch.autograd.Function):
    """Rows by index. A prompt's rows are fetched once for each completion: their gradients are
    summed in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index_M: Tensor) -> Tensor:
        ctx.save_for_backward(index_M)
        ctx.shape = x.shape
        return x.index_select(0, index_M)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index_M,) = ctx.saved_tensors
        dtype = torch.promote_types(grads[0].dtype, torch.float32)
        wide = torch.zeros(ctx.shape, dtype=dtype, device=index_M.device)
        return wide.index_add_(0, index_M, grads[0].to(dtype)).to(grads[0].dtype), None


def fetch(x: Tensor, index_M: Tensor) -> Tensor:
    """`x[index_M]`, the gradients of rows that are fetched several times summed in fp32."""
    return _Fetch.apply(x, index_M)


def _fused(
    query_NHD: Tensor,
    key_NJD: Tensor,
    value_NJD: Tensor,
    plan: AttentionPlan,
    scale: float,
    window: int | None,
) -> Tensor:
    varlen = plan.varlen
    keys, values = (fetch(x, varlen.key_M) for x in (key_NJD, value_NJD))
    return _varlen(query_NHD, keys, values, varlen, scale, window)


def _varlen(
    query: Tensor, keys: Tensor, values: Tensor, plan: Varlen, scale: float, window: int | None
) -> Tensor:
    """torch's own FlashAttention 2: a segment's last query stands at its last key."""
    return torch.ops.aten._flash_attention_forward(
        query,
        keys,
        values,
        plan.query_ends,
        plan.key_ends,
        plan.longest_query,
        plan.longest_key,
        0.0,
        True,
        False,
        scale=scale,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )[0]


@cache
def problem_with_kernel(device: torch.device) -> str | None:
    """Why a CUDA device takes the reference instead of the fused kernel, None when it does not."""
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "this GPU is older than the fused attention kernel asks for"
    for window in (None, 20):
        exact = _trial(_Reference.apply, device, torch.float32, window)
        try:
            found = _trial(_fused, device, torch.bfloat16, window)
        except torch.OutOfMemoryError:
            raise  # says nothing about the kernel
        except (RuntimeError, TypeError, AttributeError) as error:
            return f"the fused attention kernel failed: {' '.join(str(error).split())[:200]}"
        for one, two in zip(exact, found, strict=True):
            off = float((one - two.float()).abs().max() / one.abs().max())
            if not off < 0.03:  # NaN compares as false
                return f"the fused attention kernel is off by {off:.2g}"
    return None


@torch.enable_grad()
def _trial(
    attend: Callable[..., Tensor], device: torch.device, dtype: torch.dtype, window: int | None
) -> list[Tensor]:
    """Result and gradients of some small random segments."""
    generator = torch.Generator().manual_seed(0)
    plan = AttentionPlan([Segment(0, 40), Segment(40, 9, 0, 40), Segment(49, 70, 0, 40)], device)
    query, key, value = (
        torch.randn((119, heads, 64), generator=generator).bfloat16().to(device, dtype)
        for heads in (6, 2, 2)
    )
    leaves = [x.requires_grad_() for x in (query, key, value)]
    mixed = attend(*leaves, plan, 0.125, window)
    weight = torch.randn(mixed.shape, generator=generator).to(device, dtype)
    (mixed * weight).sum().backward()
    return [mixed, *(x.grad for x in leaves if x.grad is not None)]


def why_reference(device: torch.device, dtype: torch.dtype, size: int) -> str | None:
    """Why attention with heads of `size` numbers takes the reference on a CUDA device, None where
    it takes the fused kernel."""
    if dtype not in (torch.bfloat16, torch.float16):
        return f"the weights are in {dtype}"
    if size > 256 or size % 8:
        return f"it has no heads of {size} numbers"
    return problem_with_kernel(device)


def _takes_kernel(query: Tensor) -> bool:
    if not query.is_cuda:
        return False
    return why_reference(query.device, query.dtype, query.shape[-1]) is None


# --- the library's interface ----------------------------------------------------------------------


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    attention_plan: AttentionPlan | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What a layer calls, with tensors `(1, heads, N, D)`; returns `(1, N, heads, D)`."""
    if attention_plan is None:
        mixed, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
        return mixed, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if more.get("softcap") or more.get("s_aux") is not None:
        raise ValueError("a packed row takes no capped scores and no attention sinks")
    attention_plan.windows.add(sliding_window)
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    attend = _fused if _takes_kernel(query) else _Reference.apply
    return attend(query, key, value, attention_plan, scale, sliding_window)[None], None


def packed_arguments(plan: AttentionPlan) -> dict[str, Any]:
    """Keywords for a decoder's forward over the plan's row."""
    # a mask of four dimensions is taken as it is, whatever its size: the library then makes none
    return {"attention_plan": plan, "attention_mask": torch.empty(0, 0, 0, 0)}


def register() -> None:
    """Make `attn_implementation="grpo_packed"` known to the library."""
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
