"""Log-probabilities and entropies from hidden states, without ever holding all logits.

The head's product is taken for a few tokens at a time and taken again in the backward pass: one
more product (a third of the head's work) for K x V numbers that are never in memory.

Shape letters: K completion tokens, C those of a piece, D width of the hidden states, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

PIECE_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}
"""Most bytes of logits at a time. Each piece reads the whole weight and adds to its whole gradient,
so small pieces are slow."""


def log_probs(
    hidden_KD: Tensor,
    weight_VD: Tensor,
    target_K: Tensor,
    temperature: float,
    bias_V: Tensor | None = None,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, nats, `(K,)` each, under
    softmax(hidden weight^T / temperature), in fp32 or better.

    The entropy is detached unless `entropy_gradient`.
    """
    logp_K, entropy_K = _LogProbs.apply(
        hidden_KD, weight_VD, bias_V, target_K, temperature, entropy_gradient
    )
    return logp_K, entropy_K


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_KD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_K: Tensor,
        temperature: float,
        entropy_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(hidden_KD.dtype, torch.float32)
        logp_K, entropy_K = (
            torch.empty(len(target_K), dtype=dtype, device=target_K.device) for _ in range(2)
        )
        wide = _wide(weight_VD)
        for piece in _pieces(hidden_KD, weight_VD):
            logits_CV = _logits(hidden_KD[piece], weight_VD, wide, bias_V, temperature)
            logits_CV.sub_(logits_CV.amax(-1, keepdim=True))
            weight_CV = logits_CV.exp()
            total_C = weight_CV.sum(-1)
            norm_C = total_C.log()
            logp_K[piece] = logits_CV.gather(-1, target_K[piece, None])[:, 0] - norm_C
            # H = logsumexp - E[logit]; a logit of -inf has no share in it
            logits_CV.clamp_(min=torch.finfo(dtype).min)
            entropy_K[piece] = norm_C - torch.linalg.vecdot(weight_CV, logits_CV) / total_C
        ctx.save_for_backward(hidden_KD, weight_VD, bias_V, target_K, entropy_K)
        ctx.temperature, ctx.entropy_gradient = temperature, entropy_gradient
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy_K)
        return logp_K, entropy_K

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_KD, weight_VD, bias_V, target_K, entropy_K = ctx.saved_tensors
        grad_logp_K, grad_entropy_K = grads
        grad_hidden = torch.empty_like(hidden_KD)
        accumulator = torch.promote_types(weight_VD.dtype, torch.float32)
        # a frozen head, as adapters leave it, costs neither memory nor a product
        _, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        grad_weight = torch.zeros_like(weight_VD, dtype=accumulator) if wants_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=accumulator) if wants_bias else None
        wide = _wide(weight_VD)
        for piece in _pieces(hidden_KD, weight_VD):
            log_CV = _logits(hidden_KD[piece], weight_VD, wide, bias_V, ctx.temperature)
            log_CV = log_CV.log_softmax(-1)
            share_CV = log_CV.exp()
            # d logp / d logit = 1[target] - p;  d H / d logit = -p (log p + H)
            if ctx.entropy_gradient:
                log_CV.add_(entropy_K[piece, None]).masked_fill_(share_CV == 0, 0.0)
                log_CV.mul_(grad_entropy_K[piece, None]).add_(grad_logp_K[piece, None])
                grad_CV = share_CV.mul_(log_CV.neg_())
            else:
                grad_CV = share_CV.mul_(-grad_logp_K[piece, None])
            grad_CV.scatter_add_(-1, target_K[piece, None], grad_logp_K[piece, None])
            if ctx.temperature != 1:
                grad_CV.div_(ctx.temperature)
            if grad_bias is not None:
                grad_bias += grad_CV.sum(0)
            grad_CV = grad_CV.to(hidden_KD.dtype)
            grad_hidden[piece] = grad_CV @ weight_VD
            if grad_weight is not None:
                grad_weight += _product(grad_CV.T, hidden_KD[piece])
        return grad_hidden, grad_weight, grad_bias, None, None, None


def _pieces(hidden_KD: Tensor, weight_VD: Tensor) -> Iterator[slice]:
    """Slices over the tokens whose logits fit the budget."""
    budget = PIECE_BYTES.get(hidden_KD.device.type, PIECE_BYTES["cuda"])
    size = max(1, budget // (4 * len(weight_VD)))
    for start in range(0, len(hidden_KD), size):
        yield slice(start, start + size)


class Head:
    """Logits of hidden states for as long as the weights stay as they are."""

    def __init__(self, weight_VD: Tensor, bias_V: Tensor | None) -> None:
        self.weight_VD, self.bias_V = weight_VD.detach(), bias_V
        self._wide = _wide(self.weight_VD)

    def __call__(self, hidden: Tensor) -> Tensor:
        """`(…, D)` to `(…, V)`, in fp32 or better."""
        return _logits(hidden, self.weight_VD, self._wide, self.bias_V, 1.0)


def _wide(weight_VD: Tensor) -> Tensor:
    """The weight as `_logits` wants it: on a CPU half precision as fp32, see there."""
    half = weight_VD.dtype in (torch.bfloat16, torch.float16)
    return weight_VD.float() if half and weight_VD.device.type == "cpu" else weight_VD


def _logits(
    hidden: Tensor, weight: Tensor, wide: Tensor, bias: Tensor | None, temperature: float
) -> Tensor:
    """Logits in fp32 or better: a bf16 one between 16 and 32 is off by up to 0.06 nats."""
    if wide.dtype != weight.dtype:
        # fp32 in and out; the numbers are bf16 ones, so multiplying them as such loses nothing
        with _bf16_products():
            logits = hidden.float() @ wide.T
    else:
        logits = _product(hidden, weight.T)
    if bias is not None:
        logits += bias
    return logits if temperature == 1 else logits.div_(temperature)


def _product(one: Tensor, two: Tensor) -> Tensor:
    """A product whose sums are not rounded to half precision, where the device has such."""
    if one.is_cuda and one.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(one, two, out_dtype=torch.float32)
    return one @ two


@contextmanager
def _bf16_products() -> Iterator[None]:
    """fp32 products of numbers that bf16 holds exactly: 2.5 times as fast on a CPU with bf16."""
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before
