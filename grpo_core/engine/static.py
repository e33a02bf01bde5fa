"""Our engine: each prompt is read once and its keys serve all its completions; a static cache for
what the completions write; finished rows compacted away.

Shape letters: P prompts, B rows (completions under way), T cache length, E width, H query heads,
J key heads, D head size, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from grpo_core.engine import Completion, Sampling
from grpo_core.engine.architecture import Architecture, Layer, Projection
from grpo_core.engine.chunks import generate_in_chunks, write_rows
from grpo_core.engine.rows import CachedRows
from grpo_core.head import Head


class StaticEngine:
    """Samples from the live weights of a Llama-like model."""

    name = "static"
    notice = ""

    def __init__(self, architecture: Architecture, eos_ids: list[int]) -> None:
        self.architecture = architecture
        self.eos = torch.tensor(sorted(eos_ids), device=architecture.device)
        self.rows_at_once: int | None = None
        """Most completions under way at a time, all where None. It changes no sample."""
        self._rotations = architecture.rotations(architecture.context)
        # in the precision in which the library multiplies them
        self._turns = {
            kind: (cos.to(architecture.dtype), _signed(sin).to(architecture.dtype))
            for kind, (cos, sin) in self._rotations.items()
        }
        self._head: Head
        """Made anew by each call: on a CPU it holds the weight in another precision."""

    def refresh(self) -> None:
        """The policy's weights have changed."""
        self.architecture.refresh()

    def release(self) -> None:
        """Nothing is kept."""

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], num: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`num` completions for each prompt; see `Engine`."""
        self._head = Head(self.architecture.head.weight, self.architecture.head.bias)
        context = self.architecture.context
        return generate_in_chunks(self, context, prompts, num, sampling, seed)

    def _sample(
        self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor, own: slice
    ) -> list[Completion]:
        """Completions `own` of all, those of `prompts`, at the same time."""
        num = len(uniform) // len(prompts)
        last, lengths, cache = self._read(prompts)
        rows = CachedRows(self.architecture, cache, lengths, num, sampling)
        return write_rows(rows, self.logits(last), self.decode, sampling, uniform, own, self.eos)

    def _read(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state after each prompt `(P, E)`, their lengths `(P,)`, and what `prefill` has
        kept."""
        device, longest = self.architecture.device, max(map(len, prompts))
        padded = [prompt + [0] * (longest - len(prompt)) for prompt in prompts]
        hidden, cache = self.prefill(torch.tensor(padded, device=device))
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        last = hidden[torch.arange(len(prompts), device=device), lengths - 1]
        return last, lengths, cache

    # --- the model -------------------------------------------------------------------------

    def prefill(self, ids_PT: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states `(P, T, E)` of prompts padded on the right, and their keys and values
        `(layers, 2, P, J, T, D)`."""
        arch, (num, length) = self.architecture, ids_PT.shape
        hidden = self._embed(ids_PT)
        shape = (len(arch.layers), 2, num, arch.num_kv_heads, length, arch.head_size)
        caches = hidden.new_empty(shape)
        for layer, cache in zip(arch.layers, caches, strict=True):
            heads = self._project(layer, hidden, *self._turn(layer.rotary, slice(length)))
            query, new = heads.split([arch.num_heads, 2 * arch.num_kv_heads], -2)
            cache.copy_(new.unflatten(-2, (2, -1)).permute(2, 0, 3, 1, 4))
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2).contiguous(),
                cache[0],
                cache[1],
                attn_mask=_band(length, layer.window, hidden.device),
                is_causal=layer.window is None,
                scale=arch.scale,
                enable_gqa=arch.num_heads != arch.num_kv_heads,
            )
            hidden = self._finish(layer, hidden, mixed.transpose(1, 2).reshape(num, length, -1))
        return hidden, caches

    def decode(self, rows: CachedRows, step: int) -> Tensor:
        """Logits `(B, V)` of the tokens after those that were written at `step`."""
        hidden = self._embed(rows.last_ids)
        rows.make_room(step)
        position_B = rows.positions(step)
        turns = {kind: self._turn(kind, position_B) for kind in self._rotations}
        for index, layer in enumerate(self.architecture.layers):
            heads = self._project(layer, hidden, *turns[layer.rotary])
            mixed = rows.attend(index, layer.window, step, heads)
            hidden = self._finish(layer, hidden, mixed)
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `(…, V)` in fp32 or better."""
        return self._head(self._norm(hidden, self.architecture.final_norm))

    def _turn(self, kind: str, positions: Tensor | slice) -> tuple[Tensor, Tensor]:
        """cos and sin of some positions as `_rotate` takes them."""
        cos, sin = self._turns[kind]
        return cos[positions, None], sin[positions, None]

    def _embed(self, ids: Tensor) -> Tensor:
        arch = self.architecture
        hidden = F.embedding(ids, arch.embedding)
        if arch.embedding_scale != 1:  # rounded to the weights' precision, as the library does
            hidden = hidden * torch.tensor(arch.embedding_scale, dtype=hidden.dtype)
        return hidden

    def _project(self, layer: Layer, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries, keys and values `(…, H + 2 J, D)`, the first two turned to their positions."""
        arch = self.architecture
        sizes = [arch.num_heads, *[arch.num_kv_heads] * 2]
        heads = _linear(self._norm(hidden, layer.attention_norm), layer.qkv)
        heads = heads.unflatten(-1, (sum(sizes), -1))
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key, value = heads.split(sizes, -2)
            query, key = self._norm(query, layer.query_norm), self._norm(key, layer.key_norm)
            heads = torch.cat([query, key, value], -2)
        _rotate(heads[..., : -arch.num_kv_heads, :], cos, sin)
        return heads

    def _finish(self, layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        """The block after its attention."""
        hidden = self._add(hidden, mixed, layer.output, layer.post_attention_norm)
        gate, up = _linear(self._norm(hidden, layer.mlp_norm), layer.gate_up).chunk(2, -1)
        if self.architecture.activation == "silu":
            gate = F.silu(gate)
        else:
            gate = F.gelu(gate, approximate="tanh")
        return self._add(hidden, gate * up, layer.down, layer.post_mlp_norm)

    def _add(
        self, hidden: Tensor, x: Tensor, projection: Projection, norm: Tensor | None
    ) -> Tensor:
        """The residual stream after a projection has been added to it."""
        if norm is None and projection.bias is None and hidden.dim() == 2:
            return torch.addmm(hidden, x, projection.weight.T)
        update = _linear(x, projection)
        return hidden + (update if norm is None else self._norm(update, norm))

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """In fp32 and rounded where the library's modules round."""
        arch = self.architecture
        wide = torch.promote_types(x.dtype, torch.float32)
        if arch.norm_offset:
            scale = weight.to(wide) + arch.norm_offset
            return F.rms_norm(x.to(wide), x.shape[-1:], scale, arch.epsilon).to(x.dtype)
        if x.dtype == wide:
            return F.rms_norm(x, x.shape[-1:], weight, arch.epsilon)
        if not x.is_cuda:
            # of (x, -x) the mean is 0, so layer norm is RMS norm, and one kernel instead of seven
            both, scale = torch.cat([x, -x], -1), torch.cat([weight, weight])
            normed = F.layer_norm(both, both.shape[-1:], scale, None, arch.epsilon)
            return normed[..., : len(weight)]
        return F.rms_norm(x.to(wide), x.shape[-1:], None, arch.epsilon).to(x.dtype) * weight


def _linear(x: Tensor, projection: Projection) -> Tensor:
    return F.linear(x, projection.weight, projection.bias)


def _signed(sin: Tensor) -> Tensor:
    """As `_rotate` takes it."""
    first, second = sin.chunk(2, -1)
    return torch.cat([-first, second], -1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotary embedding of `(…, heads, D)` in place, halves turned against each other; the first
    half of `sin` is negative. Three passes over whole heads: on a CPU faster than over halves."""
    torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin, out=x)


def _band(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which tokens (columns) a token (rows) sees through a window; None without one."""
    if window is None:
        return None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)
