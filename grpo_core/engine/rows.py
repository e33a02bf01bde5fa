"""The completions under way: what they have written, their keys and values, and which still go on.

Shape letters: P prompts, B rows, T cache length, H query heads, J key heads, R = H / J query heads
per key head, D head size; G places per prompt in a padded order of the rows, M prompt tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from grpo_core.engine import Completion, Sampling
from grpo_core.engine.architecture import Architecture

COMPACT_BELOW = 0.75
"""Rows are gathered together when fewer than this share of them are still under way."""
ALIGN = 32
"""Caches have room for a multiple of so many tokens. Lines of bf16 numbers of such lengths are what
a CPU's vectors hold: a mask or a softmax over others takes two to five times as long. Products over
the whole of a tensor need no copy of it, which those over a part of its tokens do."""
SHARED_FROM = 32
"""Prompts of so many tokens are read from one place by all their rows. Shorter ones are copied into
each row's own cache: on a CPU that costs less than sorting the rows by prompt in each layer."""


def cut(ids: Tensor, logp: Tensor, num_written: Tensor, stopped: Tensor) -> list[Completion]:
    """Lines of tokens `(rows, T)` as completions, each of so many tokens."""
    written = zip(ids.tolist(), logp.tolist(), num_written.tolist(), stopped.tolist(), strict=True)
    return [Completion(i[:n], p[:n], "stop" if end else "length") for i, p, n, end in written]


class Rows:
    """What a batch has written while it is sampled. Row b continues prompt `prompt_B[b]` and is
    completion `index[b]` of the batch."""

    def __init__(
        self, prefix_length_P: Tensor, num: int, sampling: Sampling, dtype: torch.dtype
    ) -> None:
        device, longest = prefix_length_P.device, sampling.max_new_tokens
        size = len(prefix_length_P) * num
        self.prefix_length_P = prefix_length_P
        self.index = torch.arange(size, device=device)
        self.prompt_B = self.index // num
        self.last_ids = torch.zeros_like(self.index)
        self.going = torch.ones(size, dtype=torch.bool, device=device)
        self.ids = torch.zeros(size, longest, dtype=torch.long, device=device)
        self.logp = torch.zeros(size, longest, dtype=dtype, device=device)
        self.num_written = torch.zeros_like(self.index)
        self.stopped = torch.zeros_like(self.going)

    def write(self, step: int, ids_B: Tensor, logp_B: Tensor, eos: Tensor) -> None:
        """Each row's token at `step`. Rows that have ended write too, until they are compacted
        away; nobody reads it."""
        self.ids[self.index, step] = ids_B
        self.logp[self.index, step] = logp_B
        self.last_ids = ids_B
        self.num_written[self.index[self.going]] = step + 1
        ended = self.going & torch.isin(ids_B, eos)
        self.stopped[self.index[ended]] = True
        self.going &= ~ended

    def compact(self) -> bool:
        """Drop the ended rows when they are many; False when all have ended."""
        num_going = int(self.going.sum())
        if num_going == 0:
            return False
        if num_going < COMPACT_BELOW * len(self.going):
            self._keep(self.going.nonzero()[:, 0])
        return True

    def _keep(self, rows: Tensor) -> None:
        """Only these rows, in their order."""
        self.index, self.last_ids = self.index[rows], self.last_ids[rows]
        self.going, self.prompt_B = self.going[rows], self.prompt_B[rows]

    def positions(self, step: int) -> Tensor:
        """Position of the token that each row wrote at `step`, `(B,)`."""
        return self.prefix_length_P[self.prompt_B] + step

    def completions(self) -> list[Completion]:
        """All rows in order, cut where they ended."""
        return cut(self.ids, self.logp, self.num_written, self.stopped)


class CachedRows(Rows):
    """With keys and values: those of the prompts, and what each row has written itself."""

    def __init__(
        self,
        architecture: Architecture,
        prompts: Tensor,
        prefix_length_P: Tensor,
        num: int,
        sampling: Sampling,
    ) -> None:
        """`num` rows for each prompt; `prompts` are their keys and values `(layers, 2, P, J, M,
        D)`."""
        wide = torch.promote_types(architecture.dtype, torch.float32)
        super().__init__(prefix_length_P, num, sampling, wide)
        self.scale, self.num_heads = architecture.scale, architecture.num_heads
        layers, _, num_prompts, num_kv_heads, most, size = prompts.shape
        self.num_copied = 0 if most >= SHARED_FROM else most
        """Slots at the beginning of a row's own cache that hold its prompt."""
        self._masks: dict[int | None, _Masks] = {}
        if self.num_copied:
            self.cache = prompts.repeat_interleave(num, 2)
        else:
            self.cache = prompts.new_empty(layers, 2, len(self.index), num_kv_heads, 0, size)
            self.prompts = _lengthened(prompts, 0)
            self.order = _Order(self.prompt_B, num_prompts)

    def _keep(self, rows: Tensor) -> None:
        super()._keep(rows)
        self.cache = self.cache[:, :, rows]
        self._masks.clear()
        if self.num_copied:
            return
        prompts, self.prompt_B = self.prompt_B.unique(return_inverse=True)
        self.prefix_length_P = self.prefix_length_P[prompts]
        self.prompts = self.prompts[:, :, prompts]
        self.order = _Order(self.prompt_B, len(prompts))

    def make_room(self, step: int) -> None:
        """Let the cache take the tokens that were written at `step`."""
        missing = self.num_copied + step + 1 - self.cache.shape[4]
        if missing > 0:
            self.cache = _lengthened(self.cache, missing)
            self._masks.clear()

    def attend(self, layer: int, window: int | None, step: int, heads: Tensor) -> Tensor:
        """Store keys and values of the tokens written at `step` and let their queries see
        everything so far. `heads` are all three `(B, H + 2 J, D)`; returns `(B, H D)`."""
        num_rows, _, size = heads.shape
        cache, slot = self.cache[layer], self.num_copied + step
        num_kv_heads = cache.shape[2]
        new = heads[:, self.num_heads :].view(num_rows, 2, num_kv_heads, size)
        cache[:, :, :, slot] = new.transpose(0, 1)
        query = (heads[:, : self.num_heads] * self.scale).view(num_rows * num_kv_heads, -1, size)
        masks = self._masks_at(window, step)
        if masks.first:
            cache = cache[..., masks.first :, :]
        keys, values = cache.flatten(1, 2)
        scores = torch.bmm(query, keys.mT).add_(masks.own)
        if self.num_copied:
            mixed = torch.bmm(scores.softmax(-1), values)
        else:
            mixed = self._with_prompt(layer, query, scores, values, masks.prompt)
        return mixed.reshape(num_rows, -1)

    def _with_prompt(
        self, layer: int, query: Tensor, scores: Tensor, values: Tensor, mask: Tensor
    ) -> Tensor:
        """What the queries `(B J, R, D)` see of the shared prompts and of their own rows
        together."""
        prompt_keys, prompt_values = self.prompts[layer].flatten(1, 2)
        num_kv_heads = self.prompts.shape[3]
        order = self.order
        prompt_scores = torch.bmm(order.group(query, num_kv_heads), prompt_keys.mT).add_(mask)
        prompt_scores = order.scatter(prompt_scores, num_kv_heads)
        share = torch.cat([prompt_scores, scores], -1).softmax(-1)
        of_prompt, own = share.split([prompt_scores.shape[-1], scores.shape[-1]], -1)
        mixed = torch.bmm(order.group(of_prompt, num_kv_heads), prompt_values)
        return order.scatter(mixed, num_kv_heads) + torch.bmm(own, values)

    def _masks_at(self, window: int | None, step: int) -> _Masks:
        """What the tokens written at `step` must not see; the same for all layers of a kind."""
        known = self._masks.get(window)
        if known is None or (window is not None and known.step != step):
            known = self._masks[window] = self._new_masks(window, step)
        elif known.step != step:
            known.own[..., self.num_copied + step] = 0
            known.step = step
        return known

    def _new_masks(self, window: int | None, step: int) -> _Masks:
        num_kv_heads, length = self.cache.shape[3:5]
        most = self.num_copied or self.prompts.shape[4]
        hidden_PM, hidden_T = self._hidden(window, step, most, length - self.num_copied)
        hidden_BT = hidden_T[None]
        if self.num_copied:
            rows = hidden_T.expand(len(self.index), -1)
            hidden_BT = torch.cat([hidden_PM[self.prompt_B], rows], 1)
        of_prompt, own = (
            torch.zeros(hidden.shape, dtype=self.cache.dtype, device=hidden.device)
            .masked_fill_(hidden, float("-inf"))
            .repeat_interleave(num_kv_heads if len(hidden) > 1 else 1, 0)[:, None]
            for hidden in (hidden_PM, hidden_BT)
        )
        first = 0
        if window is not None:  # all rows have written equally much
            first = max(self.num_copied + step + 1 - window, 0) // ALIGN * ALIGN
        return _Masks(step, own[..., first:], of_prompt, first)

    def _hidden(
        self, window: int | None, step: int, most: int, num_own: int
    ) -> tuple[Tensor, Tensor]:
        """Whether the tokens written at `step` must not see a token of the prompts `(P, M)`, and
        one of what they have written themselves `(T,)`."""
        slot_M, slot_T = (torch.arange(n, device=self.index.device) for n in (most, num_own))
        length_P = self.prefix_length_P[:, None]
        of_prompt, own = slot_M >= length_P, slot_T > step
        if window is not None:
            of_prompt |= slot_M <= length_P + step - window
            own |= slot_T <= step - window
        return of_prompt, own


@dataclass
class _Masks:
    """What is added to the scores of the tokens written at `step`: -inf or 0."""

    step: int
    own: Tensor
    """Of a row's own cache from slot `first` on, `(B J, 1, T)`, or one line for all."""
    prompt: Tensor
    """Of the shared prompts, `(P J, 1, M)`."""
    first: int


def _lengthened(cache: Tensor, missing: int) -> Tensor:
    """With room for at least so many tokens more `(…, T, D)`. What is not written is multiplied by
    shares of 0, so it must be finite."""
    length = -(-(cache.shape[-2] + missing) // ALIGN) * ALIGN
    return F.pad(cache, (0, 0, 0, length - cache.shape[-2]))


class _Order:
    """Rows of the same prompt together, so that one product serves them all: the rows' own order
    where each prompt still has all of its rows, else padded to the most that one has."""

    def __init__(self, prompt_B: Tensor, num_prompts: int) -> None:
        self.num_prompts = num_prompts
        counts = torch.bincount(prompt_B, minlength=num_prompts).tolist()
        self.width = max(counts)
        self.place_B: Tensor | None = None
        if min(counts) < self.width:
            rows = torch.arange(len(prompt_B), device=prompt_B.device)
            padded = pad_sequence(list(rows.split(counts)), batch_first=True)
            first_B = rows.new_tensor(counts).cumsum(0).roll(1)
            first_B[0] = 0
            self.row_PG = padded.flatten()
            self.place_B = prompt_B * self.width + rows - first_B[prompt_B]

    def group(self, x: Tensor, num_heads: int) -> Tensor:
        """`(B J, R, D)` to `(P J, G R, D)`."""
        x = x.reshape(-1, num_heads, *x.shape[1:])
        if self.place_B is not None:
            x = x[self.row_PG]
        x = x.view(self.num_prompts, self.width, *x.shape[1:]).transpose(1, 2)
        return x.reshape(self.num_prompts * num_heads, -1, x.shape[-1])

    def scatter(self, x: Tensor, num_heads: int) -> Tensor:
        """`(P J, G R, D)` to `(B J, R, D)`."""
        x = x.view(self.num_prompts, num_heads, self.width, -1, x.shape[-1])
        x = x.transpose(1, 2).flatten(0, 1)
        return (x if self.place_B is None else x[self.place_B]).flatten(0, 1)
