"""Our engine: one prefill per prompt, a static KV cache, finished rows compacted away.

Shape letters: P prompts, B rows (completions under way), T cache length, H heads, D head size,
V vocabulary. Prompts are padded on the right and a row's token at position t lies in cache slot t,
so slots behind a short prompt are overwritten by its completion and padding is never attended to.

A row's random numbers are drawn before the first token, one per (row, position): which rows are
still under way does not change what the others sample.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from grpo_core.engine import Completion, Sampling
from grpo_core.engine.architecture import Architecture, Layer
from grpo_core.engine.sampling import choose

COMPACT_BELOW = 0.75
"""Rows are gathered together when fewer than this share of them are still under way."""


class StaticEngine:
    """Samples from the live weights of a Llama-like model."""

    name = "static"

    def __init__(self, architecture: Architecture, eos_ids: list[int]) -> None:
        self.architecture = architecture
        self.eos = torch.tensor(sorted(eos_ids), device=architecture.embedding.device)
        self._cos, self._sin = architecture.rotation(architecture.context)

    def refresh(self) -> None:
        """Nothing to do: the engine reads the policy's own parameters."""

    @torch.inference_mode()
    def generate(
        self, prompts: list[list[int]], num: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`num` completions for each prompt; see `Engine`."""
        longest = max(map(len, prompts)) + sampling.max_new_tokens
        if longest > self.architecture.context:
            raise ValueError(
                f"a prompt and its completion need {longest} tokens, the model has a context of "
                f"{self.architecture.context}; lower rollout.max_new_tokens"
            )
        state = _Rows(self, prompts, num, sampling, seed)
        while state.step():
            pass
        completions = state.completions()
        return [completions[i * num : (i + 1) * num] for i in range(len(prompts))]

    # --- the model -------------------------------------------------------------------------

    def prefill(self, ids_PT: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        """Fill caches of P rows with the prompts; hidden states `(P, T, hidden)`."""
        arch = self.architecture
        num, length = ids_PT.shape
        cos, sin = self._cos[:length], self._sin[:length]
        hidden = F.embedding(ids_PT, arch.embedding)
        for index, layer in enumerate(arch.layers):
            query, key, value = self._project(layer, hidden)
            query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
            keys[index][:, :, :length] = key
            values[index][:, :, :length] = value
            mixed = F.scaled_dot_product_attention(
                query, key, value, is_causal=True, enable_gqa=arch.num_heads != arch.num_kv_heads
            )
            mixed = mixed.transpose(1, 2).reshape(num, length, -1)
            hidden = self._finish_layer(layer, hidden, mixed)
        return hidden

    def decode(
        self,
        ids_B: Tensor,
        position_B: Tensor,
        length: int,
        keys: list[Tensor],
        values: list[Tensor],
    ) -> Tensor:
        """One token further: logits `(B, V)`. `length` is the number of cache slots in use."""
        arch = self.architecture
        rows = torch.arange(len(ids_B), device=ids_B.device)
        cos, sin = self._cos[position_B][:, None, None], self._sin[position_B][:, None, None]
        slots = torch.arange(length, device=ids_B.device)
        hide = torch.where(slots[None] <= position_B[:, None], 0.0, float("-inf"))[:, None, None]
        hidden = F.embedding(ids_B, arch.embedding)[:, None]
        for index, layer in enumerate(arch.layers):
            query, key, value = self._project(layer, hidden)
            query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
            keys[index][rows, :, position_B] = key[:, :, 0]
            values[index][rows, :, position_B] = value[:, :, 0]
            # all query heads of one KV head as rows of one product: no repeated keys in memory
            query = query.reshape(len(ids_B), arch.num_kv_heads, -1, arch.head_size)
            scores = query @ keys[index][:, :, :length].transpose(2, 3)
            scores = scores.mul_(arch.head_size**-0.5).add_(hide.to(scores.dtype))
            mixed = scores.softmax(-1) @ values[index][:, :, :length]
            hidden = self._finish_layer(layer, hidden, mixed.reshape(len(ids_B), 1, -1))
        return self.logits(hidden[:, 0])

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `(…, V)` in fp32."""
        normed = _rms_norm(hidden, self.architecture.final_norm, self.architecture.epsilon)
        return self.architecture.head(normed).float()

    def _project(self, layer: Layer, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        arch = self.architecture
        normed = _rms_norm(hidden, layer.attention_norm, arch.epsilon)
        shape = (*hidden.shape[:2], -1, arch.head_size)
        query, key = layer.query(normed).view(shape), layer.key(normed).view(shape)
        if layer.query_norm is not None and layer.key_norm is not None:
            query = _rms_norm(query, layer.query_norm, arch.epsilon)
            key = _rms_norm(key, layer.key_norm, arch.epsilon)
        value = layer.value(normed).view(shape)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _finish_layer(self, layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        hidden = hidden + layer.output(mixed)
        normed = _rms_norm(hidden, layer.mlp_norm, self.architecture.epsilon)
        return hidden + layer.down(F.silu(layer.gate(normed)) * layer.up(normed))


class _Rows:
    """The completions under way: their caches, last tokens, and what they have written so far."""

    def __init__(
        self,
        engine: StaticEngine,
        prompts: list[list[int]],
        num: int,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self.engine, self.sampling = engine, sampling
        arch, device = engine.architecture, engine.architecture.embedding.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self.longest = int(lengths.max())
        size = self.longest + sampling.max_new_tokens
        shape = (len(prompts), arch.num_kv_heads, size, arch.head_size)
        dtype = engine.architecture.embedding.dtype
        keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in arch.layers]
        values = [torch.zeros(shape, dtype=dtype, device=device) for _ in arch.layers]
        padded = [prompt + [0] * (self.longest - len(prompt)) for prompt in prompts]
        hidden = engine.prefill(torch.tensor(padded, device=device), keys, values)
        last = hidden[torch.arange(len(prompts), device=device), lengths - 1]
        logits = engine.logits(last)
        rows = len(prompts) * num
        self.keys = [key.repeat_interleave(num, 0) for key in keys]
        self.values = [value.repeat_interleave(num, 0) for value in values]
        self.logits = logits.repeat_interleave(num, 0)
        self.position = lengths.repeat_interleave(num)
        self.row = torch.arange(rows, device=device)
        self.ids = torch.zeros(rows, sampling.max_new_tokens, dtype=torch.long, device=device)
        self.logp = torch.zeros(rows, sampling.max_new_tokens, device=device)
        self.num_written = torch.zeros(rows, dtype=torch.long, device=device)
        self.stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        self.going = torch.ones(rows, dtype=torch.bool, device=device)
        generator = torch.Generator().manual_seed(seed)
        self.uniform = torch.rand(
            rows, sampling.max_new_tokens, generator=generator, dtype=torch.float64
        ).to(device)
        self.written = 0

    def step(self) -> bool:
        """Write one token in each row; False when every row has ended or is full."""
        uniform = self.uniform[self.row, self.written]
        ids, logp = choose(self.logits, self.sampling, uniform)
        self.ids[self.row, self.written] = ids
        self.logp[self.row, self.written] = logp
        self.written += 1
        # rows that have ended stay until the next compaction; what they write is never read
        self.num_written[self.row[self.going]] = self.written
        ended = self.going & torch.isin(ids, self.engine.eos)
        self.stopped[self.row[ended]] = True
        self.going &= ~ended
        num_going = int(self.going.sum())
        if num_going == 0 or self.written == self.sampling.max_new_tokens:
            return False
        if num_going < COMPACT_BELOW * len(ids):
            ids = self._compact(ids)
        self.logits = self.engine.decode(
            ids, self.position, self.longest + self.written, self.keys, self.values
        )
        self.position = self.position + 1
        return True

    def _compact(self, ids: Tensor) -> Tensor:
        keep = self.going.nonzero()[:, 0]
        self.keys = [key[keep] for key in self.keys]
        self.values = [value[keep] for value in self.values]
        self.position, self.row = self.position[keep], self.row[keep]
        self.going = self.going[keep]
        return ids[keep]

    def completions(self) -> list[Completion]:
        """All rows in order, cut where they ended."""
        ids, logp = self.ids.tolist(), self.logp.tolist()
        counts, stopped = self.num_written.tolist(), self.stopped.tolist()
        return [
            Completion(ids[i][:n], logp[i][:n], "stop" if stopped[i] else "length")
            for i, n in enumerate(counts)
        ]


def _rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """In fp32 as the Hugging Face modules do it, then back."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of `(…, T, D)`, halves rotated against each other."""
    first, second = x.float().chunk(2, -1)
    return (x * cos + torch.cat([-second, first], -1) * sin).to(x.dtype)
