"""Groups to tensors: the only border between lists and tensors.

Shape letters: N completions of the step, K their tokens. Row n owns the tokens
`offsets[n] : offsets[n + 1]` of every flat tensor. All processes of a team hold the same rows; each
sends only its own through the model.
"""

from __future__ import annotations

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
    micro_batches: list[list[int]]
    """This process's: similar lengths together, each within the token budget."""


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

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion."""
        return [len(completion) for completion in self.completions]

    @property
    def micro_batches(self) -> list[list[int]]:
        """Rows of each forward of this process, over all minibatches."""
        return [rows for minibatch in self.minibatches for rows in minibatch.micro_batches]


def pack(
    groups: list[Group],
    micro_batch_tokens: int,
    device: torch.device,
    own_groups: range | None = None,
    num_minibatches: int = 1,
) -> Batch:
    """All completions of a step. A row longer than the budget gets a micro-batch of its own.

    `own_groups`: those of this process, by default all. Groups are never split: minibatch m of M
    has the groups m, m + M, …
    """
    rows: list[tuple[list[int], Rollout]] = [
        (group.prompt_ids, rollout) for group in groups for rollout in group.rollouts
    ]
    lengths = [len(rollout.ids) for _, rollout in rows]
    sequence = [row for row, length in enumerate(lengths) for _ in range(length)]
    logp = [value for _, rollout in rows for value in rollout.rollout_logp]
    widths = [len(prompt) + len(rollout.ids) for prompt, rollout in rows]
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
            _minibatch(share, own_groups, group_rows, widths, micro_batch_tokens)
            for share in shares
        ],
    )


def _minibatch(
    chosen: range, own_groups: range, group_rows: list[range], widths: list[int], budget: int
) -> Minibatch:
    """The groups `chosen`: everyone's rows, and this process's as micro-batches."""
    own = [row for g in chosen if g in own_groups for row in group_rows[g]]
    parts = split_rows([widths[row] for row in own], budget)
    return Minibatch(
        rows=[row for g in chosen for row in group_rows[g]],
        micro_batches=[[own[index] for index in part] for part in parts],
    )


def split_rows(widths: list[int], budget: int) -> list[list[int]]:
    """Rows by length, cut so that rows x longest of each part stays within `budget` tokens."""
    parts: list[list[int]] = []
    for row in sorted(range(len(widths)), key=widths.__getitem__):
        if parts and widths[row] * (len(parts[-1]) + 1) <= budget:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def per_token(values_N: list[float], batch: Batch, dtype: torch.dtype) -> Tensor:
    """One number per completion, repeated over its tokens."""
    values = torch.tensor(values_N, dtype=dtype, device=batch.sequence_K.device)
    return values[batch.sequence_K]
