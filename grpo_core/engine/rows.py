"""The completions under way: what they have written, their keys and values, and which still go on.

Shape letters: P prompts, B rows, T cache length, H query heads, J key heads, R = H / J query heads
per key head, D head size; G places per prompt in a padded order of the rows, M prompt tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from grpo_core.engine import Completion, Sampling
from grpo_core.engine.architecture import Architecture

COMPACT_BELOW = 0.75
"""Rows are gathered together when fewer than this share of them are still under way."""
GROW_BY = 16
"""Caches have room for at most so many tokens that are not written yet. Products over the whole of
a tensor need no copy of it, which those over a part of its tokens do in bf16."""
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
        prefix_keys: list[Tensor],
        prefix_values: list[Tensor],
        prefix_length_P: Tensor,
        num: int,
        sampling: Sampling,
    ) -> None:
        wide = torch.promote_types(architecture.dtype, torch.float32)
        super().__init__(prefix_length_P, num, sampling, wide)
        size = len(self.index)
        self.scale = architecture.scale
        num_prompts, num_heads, most, head_size = prefix_keys[0].shape
        self.num_copied = 0 if most >= SHARED_FROM else most
        """Slots at the beginning of a row's own cache that hold its prompt."""
        shared = (prefix_keys, prefix_values)
        self.prefix_keys, self.prefix_values = ([], []) if self.num_copied else shared
        self.longest_prompt = most
        self.are_padded = bool((prefix_length_P < most).any())
        self._padding: Tensor | None = None
        nothing = prefix_keys[0].new_empty(size, num_heads, 0, head_size)
        self.keys, self.values = (
            [x.repeat_interleave(num, 0) if self.num_copied else nothing for x in caches]
            for caches in (prefix_keys, prefix_values)
        )
        if not self.num_copied:
            self.order = _Order(self.prompt_B, num_prompts)

    def _keep(self, rows: Tensor) -> None:
        super()._keep(rows)
        self.keys = [key[rows] for key in self.keys]
        self.values = [value[rows] for value in self.values]
        self._padding = None
        if self.num_copied:
            return
        prompts, self.prompt_B = self.prompt_B.unique(return_inverse=True)
        self.prefix_length_P = self.prefix_length_P[prompts]
        self.prefix_keys = [key[prompts] for key in self.prefix_keys]
        self.prefix_values = [value[prompts] for value in self.prefix_values]
        self.order = _Order(self.prompt_B, len(prompts))

    def make_room(self, step: int) -> None:
        """Let the caches take the tokens that were written at `step`."""
        missing = self.num_copied + step + 1 - self.keys[0].shape[2]
        if missing > 0:
            # zeros: what is not written yet is multiplied by shares of 0
            self.keys, self.values = (
                [F.pad(cache, (0, 0, 0, GROW_BY)) for cache in caches]
                for caches in (self.keys, self.values)
            )

    def attend(
        self, layer: int, window: int | None, step: int, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """Store key and value `(B, J, D)` of the tokens written at `step` and let their queries
        `(B, H, D)` see everything so far; `(B, H D)`."""
        num_rows, num_heads, size = key.shape
        keys, values = self.keys[layer], self.values[layer]
        slot = self.num_copied + step
        keys[:, :, slot], values[:, :, slot] = key, value
        query = (query * self.scale).view(num_rows, num_heads, -1, size)
        # all rows have written equally much: what a window hides of that is the same for all
        first = 0 if window is None else slot + 1 - window
        first = first if first > self.num_copied else 0
        keys, values = keys[:, :, first:], values[:, :, first:]
        scores = torch.bmm(query.flatten(0, 1), keys.flatten(0, 1).mT)
        scores = scores.view(num_rows, num_heads, -1, scores.shape[-1])
        scores[..., slot + 1 - first :] = float("-inf")
        mask = None if first and self.num_copied else self._prompt_mask(window, step)
        if self.num_copied:
            if mask is not None:
                scores[..., : self.num_copied] += mask
            mixed = torch.bmm(_shares(scores).flatten(0, 1), values.flatten(0, 1))
        else:
            mixed = self._with_prompt(layer, query, scores, values, mask)
        return mixed.reshape(num_rows, -1)

    def _with_prompt(
        self, layer: int, query: Tensor, scores: Tensor, values: Tensor, mask: Tensor | None
    ) -> Tensor:
        """What the queries see of the shared prompts and of their own rows together."""
        prefix_keys, prefix_values = self.prefix_keys[layer], self.prefix_values[layer]
        prefix = torch.bmm(self.order.group(query), prefix_keys.flatten(0, 1).mT)
        prefix = self.order.scatter(prefix, query.shape[1])
        if mask is not None:
            prefix = prefix + mask
        share = _shares(torch.cat([prefix, scores], -1))
        of_prefix, own = share.split([prefix.shape[-1], scores.shape[-1]], -1)
        mixed = torch.bmm(self.order.group(of_prefix), prefix_values.flatten(0, 1))
        own_mixed = torch.bmm(own.flatten(0, 1), values.flatten(0, 1))
        return self.order.scatter(mixed, query.shape[1]) + own_mixed.view_as(query)

    def _prompt_mask(self, window: int | None, step: int) -> Tensor | None:
        """What is added to the scores of a row's prompt: -inf behind its end and before the window,
        else 0; `(B, 1, 1, M)`, or None where a row may see all."""
        if window is None and (self._padding is not None or not self.are_padded):
            return self._padding  # the same until rows are dropped
        slot_M = torch.arange(self.longest_prompt, device=self.index.device)
        length_P = self.prefix_length_P[:, None]
        hidden_PM = slot_M >= length_P
        if window is not None:
            hidden_PM |= slot_M <= length_P + step - window
        zeros_PM = torch.zeros(hidden_PM.shape, dtype=self.keys[0].dtype, device=hidden_PM.device)
        mask = zeros_PM.masked_fill_(hidden_PM, float("-inf"))[self.prompt_B, None, None]
        if window is None:
            self._padding = mask
        return mask


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

    def group(self, x: Tensor) -> Tensor:
        """`(B, J, R, D)` to `(P J, G R, D)`."""
        if self.place_B is not None:
            x = x[self.row_PG]
        x = x.view(self.num_prompts, self.width, *x.shape[1:]).transpose(1, 2)
        return x.reshape(self.num_prompts * x.shape[1], -1, x.shape[-1])

    def scatter(self, x: Tensor, num_heads: int) -> Tensor:
        """`(P J, G R, D)` to `(B, J, R, D)`."""
        x = x.view(self.num_prompts, num_heads, self.width, -1, x.shape[-1])
        x = x.transpose(1, 2).flatten(0, 1)
        return x if self.place_B is None else x[self.place_B]


def _shares(scores: Tensor) -> Tensor:
    """Softmax in fp32 or better, in the precision of the scores."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(-1, dtype=wide).to(scores.dtype)
