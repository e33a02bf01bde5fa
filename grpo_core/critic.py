"""All that PPO adds: a critic, generalised advantage estimation, and the value loss.

Shape letters: K completion tokens, N completions, T time, D width of the hidden states. The value
of a token is that of the state *before* it: prompt and completion so far.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from grpo_core.forward import hidden_of_completions


class Critic(nn.Module):
    """A linear value head on the policy's hidden states, or on those of a trunk of its own."""

    def __init__(self, width: int, trunk: PreTrainedModel | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(width, 1)
        # values start at 0 everywhere, so a run does not depend on how a head is drawn
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def values(self, hidden_KD: Tensor) -> Tensor:
        """Value of each state, `(K,)`."""
        return self.head(hidden_KD.to(self.head.weight.dtype))[:, 0]

    def hidden(self, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """The own trunk's hidden state before each completion token, `(K, D)`."""
        assert self.trunk is not None
        return hidden_of_completions(self.trunk, prompts, completions)


def make_critic(policy: PreTrainedModel, kind: str) -> Critic:
    """A critic for `policy`: `shared` puts a head on its trunk, `own` begins as a copy of it."""
    device, width = policy.device, policy.get_output_embeddings().weight.shape[1]
    trunk = None
    if kind == "own":
        trunk = copy.deepcopy(policy.get_decoder()).eval()
    critic = Critic(width, trunk)
    # in fp32 or better: bf16 would round values to three digits
    critic.head.to(device, torch.promote_types(policy.dtype, torch.float32))
    return critic


def memory_bytes(critic: Critic, optimizer: torch.optim.Optimizer) -> int:
    """What the critic costs: weights, gradients and the optimizer's state (bytes)."""
    weights = list(critic.parameters())
    gradients = [p.grad for p in weights if p.grad is not None]
    state = [
        value
        for values in optimizer.state.values()
        for value in values.values()
        if isinstance(value, Tensor)
    ]
    return sum(t.numel() * t.element_size() for t in [*weights, *gradients, *state])


# --- formulas -------------------------------------------------------------------------------------


def gae(
    reward_K: Tensor, value_K: Tensor, lengths: list[int], gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of each token: GAE, arXiv 1506.02438, eq. 16.

    A_t = sum over l of (gamma lam)^l delta_(t+l), delta_t = reward_t + gamma V_(t+1) - V_t, with
    V = 0 after the last token. The return is A_t + V_t. `lengths`: tokens of each completion.
    """
    # zeros after the end are right, not only harmless: no reward, no value, so no delta
    reward_NT = pad_sequence(list(reward_K.split(lengths)), batch_first=True)
    value_NT = pad_sequence(list(value_K.split(lengths)), batch_first=True)
    advantage_NT = torch.zeros_like(value_NT)
    after_N, next_N = torch.zeros_like(value_NT[:, 0]), torch.zeros_like(value_NT[:, 0])
    for t in reversed(range(value_NT.shape[1])):
        delta_N = reward_NT[:, t] + gamma * next_N - value_NT[:, t]
        after_N = delta_N + gamma * lam * after_N
        next_N = value_NT[:, t]
        advantage_NT[:, t] = after_N
    rows = [row[:length] for row, length in zip(advantage_NT, lengths, strict=True)]
    advantage_K = torch.cat(rows)
    return advantage_K, advantage_K + value_K


def whiten(advantage_K: Tensor, counted_K: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the tokens that count (bool); 0 where all are equal."""
    counted = advantage_K[counted_K]
    if len(counted) < 2:
        return torch.zeros_like(advantage_K)
    return (advantage_K - counted.mean()) / (counted.std() + 1e-8)


@dataclass
class ValueLoss:
    """The scalar to minimise, and how many tokens the value clip held back."""

    loss: Tensor
    num_clipped: Tensor


def value_loss(
    value_K: Tensor, old_K: Tensor, return_K: Tensor, weight_K: Tensor, clip: float | None
) -> ValueLoss:
    """sum of weight * max((V - R)^2, (clip(V, old - c, old + c) - R)^2) / 2, as PPO's authors'
    code has it; without `clip` the plain squared error. Tokens of weight 0 never matter."""
    live = weight_K != 0
    value_K, old_K, return_K, weight_K = (x[live] for x in (value_K, old_K, return_K, weight_K))
    error_K = (value_K - return_K).square()
    if clip is None:
        return ValueLoss(0.5 * (weight_K * error_K).sum(), error_K.new_zeros(()))
    near_K = old_K + (value_K - old_K).clamp(-clip, clip)
    clipped_K = (near_K - return_K).square()
    worse_K = clipped_K > error_K
    loss = 0.5 * (weight_K * torch.maximum(error_K, clipped_K)).sum()
    return ValueLoss(loss, worse_K.sum())


def explained_variance(value_K: Tensor, return_K: Tensor) -> float | None:
    """1 - Var(R - V) / Var(R): 1 for a perfect critic, 0 for a constant one, None where all
    returns are equal."""
    variance = return_K.var() if len(return_K) > 1 else return_K.new_zeros(())
    if variance <= 1e-12:
        return None
    return float(1 - (return_K - value_K).var() / variance)
