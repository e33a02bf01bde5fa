"""What learns: the policy with its optimizer, and what its row needs beside it (a critic, a moving
reference).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from grpo_core.batch import Batch
from grpo_core.budget import Budget
from grpo_core.config import OptimConfig, RunConfig
from grpo_core.critic import Critic, make_critic
from grpo_core.forward import Scored, is_packed, score_completions
from grpo_core.optim import AdamW
from grpo_core.policy import Policy
from grpo_core.reference import MovingReference
from grpo_core.team import Team


@dataclass
class Learner:
    """Models and optimizers of one process."""

    accelerator: Accelerator
    team: Team
    policy: Policy
    optimizer: AdamW
    budget: Budget
    critic: Critic | None = None
    critic_optimizer: AdamW | None = None
    moving: MovingReference | None = None
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
            hidden_KD = self.critic.hidden(
                [batch.prompts[row] for row in rows], [batch.completions[row] for row in rows]
            )
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

    def move_reference(self, step: int, config: RunConfig) -> None:
        """After the update of `step`: renew or average the moving reference."""
        if self.moving is None:
            return
        algorithm, master_of = config.algorithm, self.optimizer.master_of
        if algorithm.kl_reference == "average":
            assert algorithm.reference_decay is not None
            self.moving.follow(self.policy.model, master_of, algorithm.reference_decay)
        elif step % (algorithm.reference_sync_every or 1) == 0:
            self.moving.follow(self.policy.model, master_of)


def make_learner(accelerator: Accelerator, policy: Policy, config: RunConfig) -> Learner:
    """Everything that the recipe's row needs, at its beginning."""
    optimizer = _adamw(policy.model, config.optim.learning_rate, config.optim)
    for name, parameter in policy.model.named_parameters():
        if name in policy.masters:
            optimizer.prime(parameter, policy.masters.pop(name))
    critic = critic_optimizer = moving = None
    if config.critic is not None:
        critic = make_critic(policy.model, config.critic.model)
        critic_optimizer = _adamw(critic, config.critic.learning_rate, config.optim)
    if config.algorithm.kl_reference in ("synced", "average"):
        moving = MovingReference(policy)
    models = [policy.model] if critic is None else [policy.model, critic]
    budget = Budget(config.optim.micro_batch_tokens, models, is_packed(policy.model))
    team = Team.of(accelerator)
    return Learner(accelerator, team, policy, optimizer, budget, critic, critic_optimizer, moving)


def _adamw(model: torch.nn.Module, rate: float, optim: OptimConfig) -> AdamW:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.dtype == torch.bfloat16:
            parameter.grad_dtype = torch.float32  # sums over micro-batches would be rounded
    return AdamW(trained, lr=rate, weight_decay=optim.weight_decay, state_bits=optim.state_bits)
