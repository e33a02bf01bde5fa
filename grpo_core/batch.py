"""Groups to tensors: the only border between lists and tensors.

Shape letters: N completions of the step, K their tokens. Row n owns the tokens
`offsets[n] : offsets[n + 1]` of every flat tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from grpo_core.records import Group, Rollout


@dataclass
class Batch:
    """A step as rows of ids and flat tensors over the K completion tokens."""

    prompts: list[list[int]]
    completions: list[list[int]]
    offsets: list[int]
    sequence_K: Tensor
    """Index of the completion of each token."""
    rollout_logp_K: Tensor
    micro_batches: list[list[int]]
    """Rows of each forward, similar lengths together, within the token budget."""

    def tokens_of(self, rows: list[int]) -> Tensor:
        """Flat indices of the tokens of `rows`, in the order of a forward over these rows."""
        spans = [torch.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return torch.cat(spans).to(self.sequence_K.device)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion."""
        return [len(completion) for completion in self.completions]


def pack(groups: list[Group], micro_batch_tokens: int, device: torch.device) -> Batch:
    """All completions of a step. A row longer than the budget gets a micro-batch of its own."""
    rows: list[tuple[list[int], Rollout]] = [
        (group.prompt_ids, rollout) for group in groups for rollout in group.rollouts
    ]
    prompts = [prompt for prompt, _ in rows]
    completions = [rollout.ids for _, rollout in rows]
    lengths = [len(completion) for completion in completions]
    sequence = [row for row, length in enumerate(lengths) for _ in range(length)]
    logp = [value for _, rollout in rows for value in rollout.rollout_logp]
    widths = [len(prompt) + length for prompt, length in zip(prompts, lengths, strict=True)]
    return Batch(
        prompts=prompts,
        completions=completions,
        offsets=[0, *accumulate(lengths)],
        sequence_K=torch.tensor(sequence, device=device),
        rollout_logp_K=torch.tensor(logp, dtype=torch.float32, device=device),
        micro_batches=split_rows(widths, micro_batch_tokens),
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


def per_token(values_N: list[float], batch: Batch) -> Tensor:
    """One number per completion, repeated over its tokens."""
    return torch.tensor(values_N, dtype=torch.float32, device=batch.sequence_K.device)[
        batch.sequence_K
    ]
