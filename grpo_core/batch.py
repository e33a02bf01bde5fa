"""Groups to tensors: the only border between lists and tensors.

Shape letters: N completions of the step, K their tokens. Row n owns the tokens
`offsets[n] : offsets[n + 1]` of every flat tensor. All processes of a team hold the same rows; each
sends only its own groups through the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from grpo_core.records import Group, Rollout


@dataclass
class Minibatch:
    """The rows of one optimizer step."""

    rows: list[int]
    """Everyone's: they make the denominator."""
    own_groups: list[int]
    """This process's: it sends them through the model."""


@dataclass
class Batch:
    """A step as rows of ids and flat tensors over the K completion tokens."""

    prompts: list[list[int]]
    completions: list[list[int]]
    group_rows: list[range]
    """The rows of each group."""
    own_groups: range
    """The groups of this process."""
    offsets: list[int]
    sequence_K: Tensor
    """Index of the completion of each token."""
    rollout_logp_K: Tensor
    minibatches: list[Minibatch]

    def tokens_of(self, rows: list[int]) -> Tensor:
        """Flat indices of the tokens of `rows`, in the order of a forward over these rows."""
        spans = [torch.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return torch.cat(spans).to(self.sequence_K.device)

    def tokens_of_groups(self, groups: list[int]) -> Tensor:
        """Flat indices of the tokens of these groups, in their order."""
        rows = [row for group in groups for row in self.group_rows[group]]
        return self.tokens_of(rows) if rows else self.sequence_K.new_zeros(0)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion."""
        return [len(completion) for completion in self.completions]

    def num_tokens(self, rows: list[int], packed: bool = True) -> int:
        """Tokens of a forward over `rows`: packed, where neighbours with equal prompts share it,
        or as rows that are padded to the longest."""
        if not packed:
            return len(rows) * max(len(self.prompts[r]) + len(self.completions[r]) for r in rows)
        prompts = [self.prompts[row] for row in rows]
        new = [i == 0 or prompt != prompts[i - 1] for i, prompt in enumerate(prompts)]
        own = sum(max(len(self.completions[row]) - 1, 0) for row in rows)
        return own + sum(len(p) for p, is_new in zip(prompts, new, strict=True) if is_new)

    def micro_batches(
        self, groups: Iterable[int], budget: int, packed: bool = True
    ) -> list[list[int]]:
        """Rows of each forward over these groups: at most `budget` tokens, groups kept together.

        As few as the budget allows and of like size: the next largest group goes to the smallest
        part. A group beyond the budget is split, and its prompt is then read more than once; a
        completion beyond it goes alone. Padded rows go by length, as each pads the others.
        """
        if not packed:
            return self._padded(groups, budget)
        pieces = [piece for group in groups for piece in self._pieces(group, budget)]
        pieces.sort(key=lambda piece: -piece[1])
        for num in range(-(-sum(size for _, size in pieces) // budget), len(pieces)):
            parts: list[list[int]] = [[] for _ in range(num)]
            sizes = [0] * num
            for rows, size in pieces:
                smallest = sizes.index(min(sizes))
                parts[smallest] += rows
                sizes[smallest] += size
            if max(sizes) <= budget:
                return parts
        return [rows for rows, _ in pieces]

    def _padded(self, groups: Iterable[int], budget: int) -> list[list[int]]:
        """Rows by length, cut so that rows x longest of each part stays within the budget."""
        rows = [row for group in groups for row in self.group_rows[group]]
        parts: list[list[int]] = []
        for row in sorted(rows, key=lambda r: self.num_tokens([r], packed=False)):
            if parts and self.num_tokens([*parts[-1], row], packed=False) <= budget:
                parts[-1].append(row)
            else:
                parts.append([row])
        return parts

    def _pieces(self, group: int, budget: int) -> Iterator[tuple[list[int], int]]:
        """A group's rows with their tokens, cut where they are more than the budget."""
        piece: list[int] = []
        size = 0
        for row in self.group_rows[group]:
            length = max(len(self.completions[row]) - 1, 0)
            if piece and size + length > budget:
                yield piece, size
                piece = []
            if not piece:
                size = len(self.prompts[row])
            piece.append(row)
            size += length
        if piece:
            yield piece, size


def pack(
    groups: list[Group],
    device: torch.device,
    own_groups: range | None = None,
    num_minibatches: int = 1,
) -> Batch:
    """All completions of a step.

    `own_groups`: those of this process, by default all. Groups are never split: minibatch m of M
    has the groups m, m + M, …
    """
    rows: list[tuple[list[int], Rollout]] = [
        (group.prompt_ids, rollout) for group in groups for rollout in group.rollouts
    ]
    lengths = [len(rollout.ids) for _, rollout in rows]
    sequence = [row for row, length in enumerate(lengths) for _ in range(length)]
    logp = [value for _, rollout in rows for value in rollout.rollout_logp]
    starts = [0, *accumulate(len(group.rollouts) for group in groups)]
    group_rows = [range(*pair) for pair in pairwise(starts)]
    own_groups = range(len(groups)) if own_groups is None else own_groups
    shares = [
        range(first, len(groups), num_minibatches)
        for first in range(min(num_minibatches, len(groups)))
    ]
    return Batch(
        prompts=[prompt for prompt, _ in rows],
        completions=[rollout.ids for _, rollout in rows],
        group_rows=group_rows,
        own_groups=own_groups,
        offsets=[0, *accumulate(lengths)],
        sequence_K=torch.tensor(sequence, dtype=torch.long, device=device),
        rollout_logp_K=torch.tensor(logp, dtype=torch.float32, device=device),
        minibatches=[
            Minibatch(
                rows=[row for g in share for row in group_rows[g]],
                own_groups=[g for g in share if g in own_groups],
            )
            for share in shares
        ],
    )


def per_token(values_N: list[float], batch: Batch, dtype: torch.dtype) -> Tensor:
    """One number per completion, repeated over its tokens."""
    values = torch.tensor(values_N, dtype=dtype, device=batch.sequence_K.device)
    return values[batch.sequence_K]
