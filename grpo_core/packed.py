"""Prompts and their completions as one row without padding: each prompt once, its completions
behind it.

    ids        p p p | a a | b b b b | q q | c c c …
    position   0 1 2 | 3 4 | 3 4 5 6 | 0 1 | 2 3 4 …

Shape letters: N tokens of the row, K completion tokens. A completion's last token predicts nothing
that is asked for, so it is not in the row; its first is predicted by the prompt's last token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grpo_core.plan import AttentionPlan, Segment


@dataclass
class Packed:
    """What one forward needs: the row, who attends to whom, and which position predicts what."""

    ids_N: Tensor
    position_N: Tensor
    source_K: Tensor
    """Index in the row of the token whose hidden state predicts each completion token."""
    target_K: Tensor
    plan: AttentionPlan


def pack_rows(
    prompts: list[list[int]], completions: list[list[int]], device: torch.device
) -> Packed:
    """Rows of prompt and completion; neighbours with equal prompts share it.

    Raises ValueError for an empty prompt: nothing would predict the first token.
    """
    ids: list[int] = []
    positions: list[int] = []
    sources: list[int] = []
    segments: list[Segment] = []
    shared: Segment | None = None
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        if not prompt:
            raise ValueError("a prompt has no tokens; set data.prompt_template")
        if shared is None or prompt != prompts[row - 1]:
            shared = Segment(len(ids), len(prompt))
            segments.append(shared)
            ids += prompt
            positions += range(len(prompt))
        if not completion:
            continue
        start, inner = len(ids), completion[:-1]
        sources.append(shared.start + shared.length - 1)
        sources += range(start, start + len(inner))
        if inner:
            segments.append(Segment(start, len(inner), shared.start, shared.length))
            ids += inner
            positions += range(shared.length, shared.length + len(inner))
    targets = [token for completion in completions for token in completion]
    ids_N, position_N, source_K, target_K = (
        torch.tensor(numbers, dtype=torch.long, device=device)
        for numbers in (ids, positions, sources, targets)
    )
    return Packed(ids_N, position_N, source_K, target_K, AttentionPlan(segments, device))
