"""How much goes through a model at a time, and what to do when that was too much."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from grpo_core.batch import Batch
from grpo_core.records import Event

Result = TypeVar("Result")


class Budget:
    """Tokens of a micro-batch. After an out-of-memory the same samples go in smaller ones.

    In this order: halves until a group goes alone; activation checkpointing, which costs a third
    more arithmetic; halves of a group, whose prompt is then read twice. What has been learned of
    the memory holds for the rest of the run.
    """

    def __init__(self, tokens: int, models: Iterable[nn.Module], packed: bool = True) -> None:
        self.tokens, self.packed, self._models = tokens, packed, list(models)
        self.make_room: Callable[[], None] = lambda: None
        """Gives back what others hold only to be faster next time."""
        self._recomputed: list[Any] = []
        """Blocks whose activations are recomputed."""
        self._events: list[Event] = []

    def take_events(self) -> list[Event]:
        """What happened since this was last asked."""
        events, self._events = self._events, []
        return events

    def over(
        self,
        batch: Batch,
        groups: list[int],
        body: Callable[[list[int]], Result],
        restart: Callable[[], None] = lambda: None,
        learns: bool = False,
    ) -> list[Result]:
        """`body` on the rows of each micro-batch. It begins again from the first, after `restart`,
        when memory has run out. `learns`: it keeps activations for a gradient.

        Raises RuntimeError when one completion alone does not fit.
        """
        while True:
            parts = batch.micro_batches(groups, self.tokens, self.packed)
            try:
                return [body(rows) for rows in parts]
            except torch.OutOfMemoryError:
                pass  # the error holds the tensors that fill the memory: go on when it is gone
            restart()
            self.make_room()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._shrink(batch, parts, learns)

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Forwards inside keep as little as the memory asks for. Only for those with a gradient: a
        block that recomputes takes no cache, so it could not sample."""
        for block in self._recomputed:
            block.gradient_checkpointing = block.training = True
        try:
            yield
        finally:
            for block in self._recomputed:
                block.gradient_checkpointing = block.training = False

    def _shrink(self, batch: Batch, parts: list[list[int]], learns: bool) -> None:
        most = max(batch.num_tokens(rows, self.packed) for rows in parts)
        num_groups = max(len({tuple(batch.prompts[row]) for row in rows}) for rows in parts)
        if learns and num_groups == 1 and not self._recomputed:
            modules = (module for model in self._models for module in model.modules())
            self._recomputed = [m for m in modules if isinstance(m, GradientCheckpointingLayer)]
            for block in self._recomputed:
                block._gradient_checkpointing_func = functools.partial(_recompute, block)
            if self._recomputed:
                self._tell("activations are recomputed from now on")
                return
        if max(map(len, parts)) == 1:
            raise RuntimeError(
                f"the GPU has no memory for one completion of {most} tokens; lower "
                "rollout.max_new_tokens, set optim.state_bits: 8 or train a model.lora"
            )
        # of what there was, not of what was allowed: a budget far above it would be halved in vain
        self.tokens = max(most // 2, 1)
        self._tell(f"micro-batches of at most {self.tokens} tokens from now on")

    def _tell(self, what: str) -> None:
        message = f"the GPU's memory was full; the same completions went through again: {what}"
        self._events.append(Event("oom", {"message": message, "micro_batch_tokens": self.tokens}))


def _recompute(block: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
    """A block that keeps only its input. Inside it is not in training mode: no dropout wakes up."""

    def quiet(*inputs: Any) -> Any:
        before, block.training = block.training, False
        try:
            return function(*inputs)
        finally:
            block.training = before

    return checkpoint(quiet, *args, use_reentrant=False)
