"""A reference of the KL that follows the policy."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo_core.policy import Policy


class MovingReference:
    """A frozen copy of a policy, renewed or averaged between steps."""

    def __init__(self, policy: Policy) -> None:
        trained = {n for n, weight in policy.model.named_parameters() if weight.requires_grad}
        # new adapters change nothing: with them it is the initial policy too
        start = policy.model if policy.reference is None else policy.reference
        self.model = copy.deepcopy(start).requires_grad_(False)
        self.masters = {
            # an average of bf16 weights in bf16 would lose most of its small steps
            name: weight.float() if weight.dtype == torch.bfloat16 else weight.data
            for name, weight in self.model.named_parameters()
            if name in trained
        }

    @torch.no_grad()
    def follow(
        self, policy: PreTrainedModel, master_of: Callable[[Tensor], Tensor], decay: float = 0.0
    ) -> None:
        """reference <- decay * reference + (1 - decay) * policy, in the masters' precision."""
        trained = dict(policy.named_parameters())
        for name, reference in self._moving():
            self.masters[name].lerp_(master_of(trained[name]), 1 - decay)
            reference.copy_(self.masters[name])

    @torch.no_grad()
    def restore(self, masters: dict[str, Tensor]) -> None:
        """Go on from saved masters. Raises ValueError for those of another model."""
        if masters.keys() != self.masters.keys():
            raise ValueError("its reference belongs to another model")
        for name, reference in self._moving():
            self.masters[name].copy_(masters[name])
            reference.copy_(self.masters[name])

    def _moving(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [pair for pair in self.model.named_parameters() if pair[0] in self.masters]
