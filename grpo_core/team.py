"""The processes that train one policy together (`accelerate launch`); one is the special case.

Each holds the whole model and its share of the step's groups. What is summed over processes is
summed as it would be over micro-batches, so their number never changes a loss or a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Parameter


@dataclass(frozen=True)
class Team:
    """This process and the others; by default there are no others."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of(cls, accelerator: Accelerator) -> Team:
        """The processes that `accelerate launch` has started."""
        return cls(accelerator.process_index, accelerator.num_processes)

    @property
    def leads(self) -> bool:
        """Whether this is the process that owns the run."""
        return self.rank == 0

    def tell(self, *order: Any) -> None:
        """The leader's next order, to all others."""
        if self.size > 1:
            torch.distributed.broadcast_object_list([order])

    def listen(self) -> tuple[Any, ...]:
        """Wait for the leader's next order."""
        heard: list[Any] = [None]
        torch.distributed.broadcast_object_list(heard)
        return heard[0]

    def share(self, num: int) -> range:
        """Which of `num` things in a row are this process's."""
        return range(self.rank * num // self.size, (self.rank + 1) * num // self.size)

    def gather(self, items: list[Any]) -> list[Any]:
        """Everyone's items in the order of the processes, on every process."""
        if self.size == 1:
            return items
        parts: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(parts, items)
        return [item for part in parts for item in part]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over processes, on every process."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    def sum_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Add up everyone's gradients, in one message."""
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:  # this process held none of these rows
                # of a bf16 parameter it is in fp32
                parameter.grad = torch.zeros_like(parameter, dtype=parameter.grad_dtype)
        gradients = [p.grad for p in trained if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))
