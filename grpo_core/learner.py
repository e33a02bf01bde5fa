"""What learns: the policy with its optimizer, and what its row needs beside it (a critic, a moving
reference).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from grpo_core.batch import Batch
from grpo_core.config import RunConfig
from grpo_core.critic import Critic, make_critic
from grpo_core.policy import Policy, Scored, score_completions
from grpo_core.team import Team


@dataclass
class Learner:
    """Models and optimizers of one process."""

    accelerator: Accelerator
    team: Team
    policy: Policy
    optimizer: torch.optim.Optimizer
    critic: Critic | None = None
    critic_optimizer: torch.optim.Optimizer | None = None
    moving: PreTrainedModel | None = None
    """The reference of the KL where it is neither the initial policy nor the old one."""
    critic_s: float = field(default=0.0, init=False)
    """Seconds spent on the critic since this was last set to 0."""

    @property
    def dtype(self) -> torch.dtype:
        """Of log-probabilities and losses: fp32, or fp64 where the weights are."""
        return torch.promote_types(self.policy.model.dtype, torch.float32)

    @property
    def own_trunk(self) -> bool:
        """Whether the critic is a model of its own."""
        return self.critic is not None and self.critic.trunk is not None

    def forward(
        self,
        model: PreTrainedModel,
        batch: Batch,
        rows: list[int],
        temperature: float,
        entropy_gradient: bool = False,
    ) -> Scored:
        """Log-probs, entropies and hidden states of a micro-batch."""
        with self.accelerator.autocast():
            return score_completions(
                model,
                [batch.prompts[row] for row in rows],
                [batch.completions[row] for row in rows],
                temperature,
                entropy_gradient,
            )

    def values(self, batch: Batch, rows: list[int], hidden_KD: Tensor) -> Tensor:
        """The critic's values of a micro-batch; `hidden_KD` are the policy's hidden states."""
        assert self.critic is not None
        if self.critic.trunk is not None:
            with self.accelerator.autocast():
                hidden_KD = self.critic.hidden(
                    [batch.prompts[row] for row in rows], [batch.completions[row] for row in rows]
                )
        # the head outside of autocast: bf16 would round values to three digits
        return self.critic.values(hidden_KD).to(self.dtype)

    @contextmanager
    def timing_critic(self) -> Iterator[None]:
        """Adds the time inside to `critic_s`. Waits for a GPU, whose work is otherwise not over."""
        on_gpu = self.accelerator.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize()
        clock = time.perf_counter()
        yield
        if on_gpu:
            torch.cuda.synchronize()
        self.critic_s += time.perf_counter() - clock

    @torch.no_grad()
    def move_reference(self, step: int, config: RunConfig) -> None:
        """After the update of `step`: renew or average the moving reference."""
        if self.moving is None:
            return
        algorithm = config.algorithm
        pairs = zip(self.moving.parameters(), self.policy.model.parameters(), strict=True)
        if algorithm.kl_reference == "average":
            assert algorithm.reference_decay is not None
            for reference, weight in pairs:
                reference.lerp_(weight, 1 - algorithm.reference_decay)
        elif step % (algorithm.reference_sync_every or 1) == 0:
            for reference, weight in pairs:
                reference.copy_(weight)


def make_learner(accelerator: Accelerator, policy: Policy, config: RunConfig) -> Learner:
    """Everything that the recipe's row needs, at its beginning."""
    optimizer = _adamw(policy.model, config.optim.learning_rate, config.optim.weight_decay)
    learner = Learner(accelerator, Team.of(accelerator), policy, accelerator.prepare(optimizer))
    if config.critic is not None:
        learner.critic = make_critic(policy.model, config.critic.model)
        learner.critic_optimizer = accelerator.prepare(
            _adamw(learner.critic, config.critic.learning_rate, config.optim.weight_decay)
        )
    if config.algorithm.kl_reference in ("synced", "average"):
        learner.moving = copy.deepcopy(policy.reference)
    return learner


def _adamw(model: torch.nn.Module, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    # fused: one pass over the weights instead of about ten
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay, fused=True)
