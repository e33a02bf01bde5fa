"""What our engines share: so many completions at a time as memory allows, and the loop in which
rows go on token by token.

Shape letters: P prompts, B rows (completions under way), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from grpo_core.engine import Completion, Sampling
from grpo_core.engine.rows import Rows
from grpo_core.engine.sampling import choose

AnyRows = TypeVar("AnyRows", bound=Rows)


class Chunked(Protocol):
    """An engine that samples some prompts' completions at the same time."""

    rows_at_once: int | None
    """Most completions under way at a time, all where None. It changes no sample."""

    def release(self) -> None:
        """Give back memory that is kept only for the next call."""
        ...

    def _sample(
        self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor, own: slice
    ) -> list[Completion]:
        """Completions `own` of all, those of `prompts`; `uniform` is `(rows, tokens)`."""
        ...


def generate_in_chunks(
    engine: Chunked,
    context: int,
    prompts: list[list[int]],
    num: int,
    sampling: Sampling,
    seed: int,
) -> list[list[Completion]]:
    """`num` completions for each prompt, half as many at a time whenever memory runs out.

    Raises ValueError where they do not fit into the model's `context`, RuntimeError where the
    memory does not hold a single one.
    """
    longest = max(map(len, prompts)) + sampling.max_new_tokens
    if longest > context:
        raise ValueError(
            f"a prompt and its completion need {longest} tokens, the model has a context of "
            f"{context}; lower rollout.max_new_tokens"
        )
    # One number for each (completion, position), drawn before the first token: what a row
    # samples does not depend on the others, nor on how many there are at a time.
    shape = (len(prompts) * num, sampling.max_new_tokens)
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    done: list[Completion] = []
    while len(done) < len(uniform):
        first, written = divmod(len(done), num)
        most = engine.rows_at_once or len(uniform)
        # whole groups, which read their prompt once, or a part of one
        part = prompts[first : first + (1 if written else max(most // num, 1))]
        size = min(most, len(part) * num - written)
        own = slice(len(done), len(done) + size)
        try:
            done += engine._sample(part, sampling, uniform[own], own)
            continue
        except torch.OutOfMemoryError:
            pass  # the error holds the tensors that fill the memory: go on when it is gone
        if size == 1:
            raise RuntimeError(
                f"the GPU has no memory to sample one completion of {sampling.max_new_tokens} "
                "tokens; lower rollout.max_new_tokens"
            )
        engine.release()
        torch.cuda.empty_cache()
        engine.rows_at_once = size // 2
    return [done[i * num : (i + 1) * num] for i in range(len(prompts))]


def write_rows(
    rows: AnyRows,
    logits_PV: Tensor,
    decode: Callable[[AnyRows, int], Tensor],
    sampling: Sampling,
    uniform: Tensor,
    own: slice,
    eos: Tensor,
) -> list[Completion]:
    """Completions `own` of all, token by token: the first from the logits after their prompts,
    each other from `decode(rows, step)`, those after what was written at `step`, `(B, V)`."""
    forced = None
    if sampling.forced_lengths is not None:
        forced = torch.tensor(sampling.forced_lengths[own], device=logits_PV.device)
    uniform = uniform.to(logits_PV.device)
    logits_BV = logits_PV.repeat_interleave(len(uniform) // len(logits_PV), 0)
    for step in range(sampling.max_new_tokens):
        if forced is not None:
            logits_BV.index_fill_(1, eos, float("-inf"))
        ids, logp = choose(logits_BV, sampling, uniform[rows.index, step])
        if forced is not None:
            ids = torch.where(forced[rows.index] <= step + 1, eos[0], ids)
        rows.write(step, ids, logp, eos)
        if step + 1 == sampling.max_new_tokens or not rows.compact():
            break
        logits_BV = decode(rows, step)
    return rows.completions()
