"""Our engine on a GPU: a decode step is one CUDA graph of fused kernels, and everything it changes
stays on the device. The host looks up every few steps, to drop the rows that have ended.

A graph holds addresses. The policy's parameters keep theirs when an optimizer changes them, and
caches and state keep theirs here, so a graph is recorded once for a number of rows and then serves
the whole run.

Shape letters: S slots (completions of a batch), B rows of the graph at work, P prompts, T tokens,
J key heads, D head size.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from grpo_core.engine import Completion, Sampling, kernels
from grpo_core.engine.architecture import Architecture, Layer
from grpo_core.engine.rows import cut
from grpo_core.engine.static import StaticEngine

LOOK_EVERY = 16
"""Steps between two looks at which rows still go on: each look waits for the device."""
ROUND_TOKENS = 64
"""Caches grow in steps of so many tokens, so that a slightly longer prompt needs no new graphs."""


@dataclass
class State:
    """What a graph reads and changes. The first B entries of the row tensors are its rows."""

    prefix: Tensor
    """Keys and values of the prompts, `(layers, 2, P, T, J, D)`."""
    own: Tensor
    """Keys and values of what the slots have written, `(layers, 2, S, T, J, D)`."""
    ids: Tensor
    """What the slots have written, `(S + 1, T)`; the last line takes what nobody reads."""
    logp: Tensor
    num_written: Tensor
    stopped: Tensor
    limit: Tensor
    """Tokens that a slot may write; behind it stands the line that nobody reads."""
    last_ids: Tensor
    slot: Tensor
    """Slot of each row; -1 for one that has ended."""
    length: Tensor
    """Tokens that the row has written; 0 for one that has ended."""
    prompt: Tensor
    prefix_length: Tensor
    seed: Tensor
    graphs: dict[tuple[int | float, ...], torch.cuda.CUDAGraph] = field(default_factory=dict)

    @classmethod
    def make(cls, arch: Architecture, slots: int, prompts: int, prefix: int, own: int) -> State:
        """Room for so many slots, prompts, and tokens of both."""
        device, layers = arch.device, len(arch.layers)
        shape = (arch.num_kv_heads, arch.head_size)

        def whole(*size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.long, device=device)

        return cls(
            prefix=torch.empty(
                (layers, 2, prompts, prefix, *shape), dtype=arch.dtype, device=device
            ),
            own=torch.empty((layers, 2, slots, own, *shape), dtype=arch.dtype, device=device),
            ids=whole(slots + 1, own),
            logp=torch.zeros(slots + 1, own, device=device),
            num_written=whole(slots + 1),
            stopped=torch.zeros(slots + 1, dtype=torch.bool, device=device),
            limit=whole(slots + 1),
            **{name: whole(slots) for name in ROWS},  # type: ignore[arg-type]
        )

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Room for slots, prompts, tokens of a prompt and tokens of a slot."""
        return (*self.own.shape[2:3], *self.prefix.shape[2:4], self.own.shape[3])

    def rows(self) -> list[Tensor]:
        """The tensors with an entry for each row."""
        return [getattr(self, name) for name in ROWS]


ROWS = ("last_ids", "slot", "length", "prompt", "prefix_length", "seed")


class GraphEngine(StaticEngine):
    """Samples with fused kernels; `ops` are `kernels`, or their reference where there is no GPU."""

    name = "graphs"

    def __init__(
        self, architecture: Architecture, eos_ids: list[int], ops: ModuleType = kernels
    ) -> None:
        super().__init__(architecture, eos_ids)
        self.ops = ops
        self._state: State | None = None
        self._pool: Any = None
        self._side: Any = None

    def release(self) -> None:
        """Give back caches and graphs; the next call makes new ones."""
        self._state = self._pool = None

    def _sample(
        self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor, own: slice
    ) -> list[Completion]:
        if sampling.top_p < 1:  # needs the logits sorted, which no kernel here does
            return super()._sample(prompts, sampling, uniform, own)
        state = self._room(prompts, len(uniform), sampling.max_new_tokens)
        # the bits of a row's first number are its seed: the kernels draw their own from it
        seeds = uniform[:, 0].contiguous().view(torch.int64)
        self._begin(state, prompts, sampling, seeds, own)
        self._run(state, sampling, len(uniform))
        written = (state.ids, state.logp, state.num_written, state.stopped)
        return cut(*(values[: len(uniform)] for values in written))

    def _room(self, prompts: list[list[int]], slots: int, own: int) -> State:
        """The state, a larger one where it is too small."""
        longest = -(-max(map(len, prompts)) // ROUND_TOKENS) * ROUND_TOKENS
        wanted = (slots, len(prompts), longest, own)
        if self._state is None or any(map(operator.lt, self._state.sizes, wanted)):
            # what either of two callers in turn needs, so that neither throws the other's away
            sizes = map(max, wanted, self._state.sizes if self._state else wanted)
            self.release()  # before the new one is made: both may not fit
            self._state = State.make(self.architecture, *sizes)
        return self._state

    def _begin(
        self, state: State, prompts: list[list[int]], sampling: Sampling, seeds: Tensor, own: slice
    ) -> None:
        """Read the prompts, and write every slot's first token."""
        device, slots = self.architecture.device, len(seeds)
        num = slots // len(prompts)
        last, lengths, cache = self._read(prompts)
        state.prefix[:, :, : len(prompts), : cache.shape[4]] = cache.transpose(3, 4)
        forced = sampling.forced_lengths
        limits = forced[own] if forced else [sampling.max_new_tokens] * slots
        state.limit[:slots] = torch.tensor(limits, device=device)
        state.stopped[:] = False
        state.slot.fill_(-1)
        state.slot[:slots] = torch.arange(slots, device=device)
        state.prompt[:slots] = torch.arange(slots, device=device) // num
        state.prefix_length[:slots] = lengths[state.prompt[:slots]]
        state.length.fill_(0)
        state.seed[:slots] = seeds.to(device)
        for part in torch.arange(slots, device=device).split(max(num, 64)):
            # by parts: the logits of all slots at once may be a gigabyte
            rows = slice(int(part[0]), int(part[-1]) + 1)
            self._write(state, rows, self.logits(last[state.prompt[rows]]), sampling)

    def _run(self, state: State, sampling: Sampling, slots: int) -> None:
        """Step until all have ended."""
        num_rows, size = slots, 0
        for step in range(sampling.max_new_tokens - 1):
            if step % LOOK_EVERY == 0:
                going = (state.slot[:num_rows] >= 0).nonzero()[:, 0]
                if not len(going):
                    return
                num_rows = self._compact(state, going, num_rows)
                size = _graph_size(num_rows, slots)
            self._replay(state, size, sampling)

    def _compact(self, state: State, going: Tensor, num_rows: int) -> int:
        """Move the rows that go on to the front where that makes the graph smaller. Their caches
        stay where they are."""
        if _graph_size(len(going), num_rows) == _graph_size(num_rows, num_rows):
            return num_rows
        for values in state.rows():
            values[: len(going)] = values[going]
        state.slot[len(going) :] = -1
        state.length[len(going) :] = 0
        return len(going)

    def _replay(self, state: State, size: int, sampling: Sampling) -> None:
        """One step of the first `size` rows."""
        if self.architecture.device.type != "cuda":
            self._step(state, size, sampling)
            return
        # what a graph has of the sampling; limits lie in the state
        key = (size, sampling.temperature, sampling.greedy, sampling.forced_lengths is not None)
        if key not in state.graphs:
            state.graphs[key] = self._record(state, lambda: self._step(state, size, sampling))
        state.graphs[key].replay()

    def _record(self, state: State, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """The step as a graph. It runs once before, so that kernels are compiled, on rows that
        have all ended: that changes nothing."""
        before = [values.clone() for values in state.rows()]
        state.slot.fill_(-1)
        state.length.fill_(0)
        stream = self._side = self._side or torch.cuda.Stream()  # its memory is used again
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        self._pool = graph.pool()
        for values, old in zip(state.rows(), before, strict=True):
            values.copy_(old)
        return graph

    # --- one step, nothing of which the host sees -------------------------------------------------

    def _step(self, state: State, size: int, sampling: Sampling) -> None:
        rows = slice(0, size)
        ops, arch = self.ops, self.architecture
        hidden, residual = self._embed(state.last_ids[rows]), None
        for index, layer in enumerate(arch.layers):
            normed, residual = self._add_norm(hidden, residual, layer.attention_norm)
            qkv = F.linear(normed, layer.qkv.weight, layer.qkv.bias)
            mixed = self._attend(state, rows, index, layer, qkv)
            hidden = F.linear(mixed.flatten(1), layer.output.weight, layer.output.bias)
            if layer.post_attention_norm is not None:
                hidden, _ = self._add_norm(hidden, None, layer.post_attention_norm)
            normed, residual = self._add_norm(hidden, residual, layer.mlp_norm)
            gate_up = F.linear(normed, layer.gate_up.weight, layer.gate_up.bias)
            hidden = ops.gated(gate_up, arch.activation)
            hidden = F.linear(hidden, layer.down.weight, layer.down.bias)
            if layer.post_mlp_norm is not None:
                hidden, _ = self._add_norm(hidden, None, layer.post_mlp_norm)
        normed, _ = self._add_norm(hidden, residual, arch.final_norm)
        self._write(state, rows, self._head(normed), sampling)

    def _add_norm(
        self, x: Tensor, residual: Tensor | None, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        arch = self.architecture
        return self.ops.add_rms_norm(x, residual, weight, arch.epsilon, arch.norm_offset)

    def _attend(self, state: State, rows: slice, index: int, layer: Layer, qkv: Tensor) -> Tensor:
        """Store the rows' keys and values; what their queries see, `(B, heads, D)`."""
        arch, ops = self.architecture, self.ops
        slot, length = state.slot[rows], state.length[rows]
        cos, sin = self._rotations[layer.rotary]
        place = length - 1
        position = state.prefix_length[rows] + place
        keys, values = state.own[index]
        query = ops.rope_and_store(
            qkv, cos, sin, position, slot, place, keys, values, arch.num_heads, arch.num_kv_heads,
            layer.query_norm, layer.key_norm, arch.epsilon, arch.norm_offset,
        )  # fmt: skip
        return ops.decode_attention(
            query, *state.prefix[index], state.prompt[rows], state.prefix_length[rows],
            keys, values, slot, length, arch.scale, layer.window,
        )  # fmt: skip

    def _write(self, state: State, rows: slice, logits: Tensor, sampling: Sampling) -> None:
        """Sample a token for each row, and end those that it ends."""
        slot, length = state.slot[rows], state.length[rows]
        if sampling.forced_lengths is not None:
            logits.index_fill_(1, self.eos, float("-inf"))
        ids, logp = self.ops.sample(
            logits, state.seed[rows], length, sampling.temperature, sampling.greedy
        )
        is_last = length + 1 >= state.limit[slot]
        if sampling.forced_lengths is not None:
            ids = torch.where(is_last, self.eos[0], ids)
        stops = (ids[:, None] == self.eos).any(-1)  # `isin` may sort, which waits for the host
        # slot -1, of a row that has ended, is the line behind all slots
        state.ids[slot, length] = ids
        state.logp[slot, length] = logp.float()
        state.num_written[slot] = length + 1
        state.stopped[slot] = stops
        goes_on = (slot >= 0) & ~stops & ~is_last
        state.last_ids[rows] = ids
        state.slot[rows] = torch.where(goes_on, slot, -1)
        state.length[rows] = torch.where(goes_on, length + 1, 0)


def _graph_size(num_rows: int, most: int) -> int:
    """Rows of the graph for so many: few sizes, so that there are few graphs, and at most a
    quarter too large."""
    step = max((1 << num_rows.bit_length()) // 8, 8)
    return min(-(-num_rows // step) * step, most)
