"""Attention over a packed row, as its plan says.

Registered with the library under `grpo_packed`; `packed_arguments` is what a forward hands over.
Without a plan the library's own `sdpa` does the work, so the same model still generates.

Shape letters: N tokens of the row, H query heads, J key heads, D head size; in a bucket S segments,
L longest query, M longest prefix + query.
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

from grpo_core.plan import AttentionPlan, Bucket, Segment, Varlen

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
        queries = _pad(query_NHD * scale, plan)
        mixed = torch.empty_like(queries)
        shares = []
        wide = torch.promote_types(query_NHD.dtype, torch.float32)
        for bucket in plan.buckets(window):
            query = _of_heads(queries, bucket, key_NJD.shape[1])
            # in fp32, where a CPU is twice as fast at a softmax and ten times at a mask as in bf16
            scores = torch.bmm(query, _keys(key_NJD, bucket).mT).to(wide)
            _per_head(scores, bucket, key_NJD.shape[1]).add_(bucket.mask(wide)[:, None, None])
            share = scores.softmax(-1).to(query.dtype)
            _put(mixed, bucket, torch.bmm(share, _keys(value_NJD, bucket)))
            shares.append(share)
        ctx.save_for_backward(queries, key_NJD, value_NJD, *shares)
        ctx.plan, ctx.scale, ctx.window = plan, scale, window
        return mixed[plan.place_N]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, key_NJD, value_NJD, *shares = ctx.saved_tensors
        plan, num_heads = ctx.plan, key_NJD.shape[1]
        grads_mixed = _pad(grads[0], plan)  # zeros where the padding is, so it adds nothing
        grads_query = torch.empty_like(queries)
        # a prompt's keys serve all its completions: their gradients are summed in fp32
        wide = torch.promote_types(key_NJD.dtype, torch.float32)
        grad_key = torch.zeros(key_NJD.shape, dtype=wide, device=key_NJD.device)
        grad_value = torch.zeros_like(grad_key)
        for bucket, share in zip(plan.buckets(ctx.window), shares, strict=True):
            grad = _of_heads(grads_mixed, bucket, num_heads)
            _add(grad_value, bucket, torch.bmm(share.mT, grad))
            grad_share = torch.bmm(grad, _keys(value_NJD, bucket).mT)
            grad = torch._softmax_backward_data(grad_share, share, -1, share.dtype)
            _add(grad_key, bucket, torch.bmm(grad.mT, _of_heads(queries, bucket, num_heads)))
            _put(grads_query, bucket, torch.bmm(grad, _keys(key_NJD, bucket)))
        of_key, of_value = (g.to(key_NJD.dtype) for g in (grad_key, grad_value))
        return grads_query[plan.place_N] * ctx.scale, of_key, of_value, None, None, None


def _pad(x_NHD: Tensor, plan: AttentionPlan) -> Tensor:
    """The rows as queries of all buckets, zeros in the padding."""
    padded = x_NHD.new_zeros(plan.num_queries, *x_NHD.shape[1:])
    padded[plan.place_N] = x_NHD
    return padded


def _of_heads(padded: Tensor, bucket: Bucket, num_heads: int) -> Tensor:
    """The bucket's queries, those of one key head together: `(S J, H/J L, D)`."""
    x = padded[bucket.queries].view(bucket.num, bucket.width, num_heads, -1, padded.shape[-1])
    return x.permute(0, 2, 3, 1, 4).reshape(bucket.num * num_heads, -1, padded.shape[-1])


def _put(padded: Tensor, bucket: Bucket, x: Tensor) -> None:
    """The inverse of `_of_heads`."""
    num_heads = x.shape[0] // bucket.num
    x = x.view(bucket.num, num_heads, -1, bucket.width, x.shape[-1]).permute(0, 3, 1, 2, 4)
    target = padded[bucket.queries].view(x.shape)
    target.copy_(x)


def _per_head(scores: Tensor, bucket: Bucket, num_heads: int) -> Tensor:
    """Scores with the mask's dimensions to the right: `(S, J, H/J, L, M)`."""
    return scores.view(bucket.num, num_heads, -1, bucket.width, scores.shape[-1])


def _keys(x_NJD: Tensor, bucket: Bucket) -> Tensor:
    """Keys or values of the bucket: `(S J, M, D)`."""
    return x_NJD[bucket.key_SM].transpose(1, 2).flatten(0, 1)


def _add(grad_NJD: Tensor, bucket: Bucket, x: Tensor) -> None:
    """The inverse of `_keys`: what comes to one token from several places is summed."""
    num_heads = x.shape[0] // bucket.num
    x = x.view(bucket.num, num_heads, *x.shape[1:]).transpose(1, 2).flatten(0, 1)
    grad_NJD.index_add_(0, bucket.key_SM.flatten(), x.to(grad_NJD.dtype))


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
