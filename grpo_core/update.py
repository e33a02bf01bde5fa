"""Optimizer steps on a step's completions: `updates_per_rollout` passes over its minibatches.

Shape letters: N completions of the step, K their tokens; see `batch.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

import torch
from torch import Tensor

from grpo_core.algorithm_config import objective_of
from grpo_core.annotate import Annotations, UpdateResult
from grpo_core.batch import Batch, Minibatch
from grpo_core.config import RunConfig
from grpo_core.credit import Credit
from grpo_core.critic import ValueLoss, explained_variance, memory_bytes, value_loss
from grpo_core.forward import Scored
from grpo_core.learner import Learner
from grpo_core.losses import importance, policy_loss, token_weights
from grpo_core.passes import Pass, only_seen


class Update:
    """One update: the optimizer steps on the completions of one step."""

    def __init__(
        self,
        learner: Learner,
        batch: Batch,
        notes: Annotations,
        credit: Credit,
        config: RunConfig,
    ) -> None:
        self.learner, self.batch, self.notes = learner, batch, notes
        self.credit, self.config, self.objective = credit, config, objective_of(config.algorithm)
        self.weight_K = torch.zeros_like(notes.initial_K)
        self.value_weight_K = self.weight_K.clone()
        # the first of all tokens, later ones of those that are kept
        self.passes = [Pass(self.weight_K)]
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.value_losses: list[float] = []
        self.num_clipped = self.num_values_clipped = 0
        self.has_moved = False  # the policy is still the one that sampled
        for minibatch in batch.minibatches:
            self._weigh(minibatch)

    def run(self) -> UpdateResult:
        """All passes. A step that is not finite ends the update before the weights change."""
        nonfinite = ""
        kept = self.batch.tokens_of_groups(self.notes.traced)
        for index in range(self.config.optim.updates_per_rollout):
            if index:
                self.passes.append(Pass(self.weight_K, kept))
            for minibatch in self.batch.minibatches:
                nonfinite = self._step(minibatch, is_first_pass=index == 0)
                if nonfinite:
                    return self._result(nonfinite)
            if self.notes.old_K is None:
                # one minibatch, so its first forward saw the policy that sampled
                self.notes.old_K = self.passes[0].logp_K.clone()
        return self._result(nonfinite)

    def _weigh(self, minibatch: Minibatch) -> None:
        """Loss weights of the minibatch's tokens; those of completions left out are 0."""
        algorithm, rollout = self.config.algorithm, self.config.rollout
        rows = torch.tensor(minibatch.rows, device=self.batch.sequence_K.device)
        lengths_N = self.credit.lengths_N[rows]
        assert algorithm.aggregation is not None
        tokens = self.batch.tokens_of(minibatch.rows)
        for target, aggregation in (
            (self.weight_K, algorithm.aggregation),
            (self.value_weight_K, "token_mean"),
        ):
            weights_N = torch.zeros_like(self.credit.lengths_N)
            weights_N[rows] = token_weights(lengths_N, aggregation, rollout.max_new_tokens)
            target[tokens] = weights_N[self.batch.sequence_K[tokens]]

    def _step(self, minibatch: Minibatch, is_first_pass: bool) -> str:
        """One optimizer step; says what was not finite, when it was left out."""
        learner, critic = self.learner, self.learner.critic
        sums = self._gradients(minibatch, is_first_pass)
        loss, num_clipped, critic_loss, values_clipped = learner.team.sum(sums).tolist()
        model = learner.policy.model
        learner.team.sum_gradients(model.parameters())
        limit = self.config.optim.max_grad_norm
        norm = learner.accelerator.clip_grad_norm_(model.parameters(), limit)
        assert norm is not None
        if not math.isfinite(loss):
            return "loss"
        if not torch.isfinite(norm):
            return "gradient"
        if not self._counts(minibatch):
            # momentum and weight decay would move the weights although nothing was learned
            self.losses.append(loss)
            self.norms.append(float(norm))
            return ""
        if critic is not None and learner.critic_optimizer is not None:
            with learner.timing_critic():
                learner.team.sum_gradients(critic.parameters())
                critic_norm = learner.accelerator.clip_grad_norm_(critic.parameters(), limit)
                if not (
                    math.isfinite(critic_loss) and torch.isfinite(torch.as_tensor(critic_norm))
                ):
                    return "critic's loss or gradient"
                learner.critic_optimizer.step()
            self.value_losses.append(critic_loss)
        learner.optimizer.step()
        self.has_moved = True
        self.losses.append(loss)
        self.norms.append(float(norm))
        self.num_clipped += int(num_clipped)
        self.num_values_clipped += int(values_clipped)
        return ""

    def _gradients(self, minibatch: Minibatch, is_first_pass: bool) -> Tensor:
        """Gradients of the minibatch's own groups. Returns the sums of what `_backward` returns."""
        learner, batch = self.learner, self.batch
        teaching = [
            group for group in minibatch.own_groups if self._teaches(batch.group_rows[group])
        ]
        if is_first_pass:
            # their gradient is 0, but their log-probs are shown
            rest = [group for group in minibatch.own_groups if group not in teaching]
            learner.budget.over(batch, rest, self._look)
        self._forget()

        def backward(rows: list[int]) -> Tensor:
            with learner.budget.recomputing():
                return self._backward(rows)

        sums = learner.budget.over(batch, teaching, backward, self._forget, learns=True)
        if not teaching:
            # a gradient of zeros, which is not none: momentum goes on
            for group in learner.optimizer.param_groups:
                for weight in group["params"]:
                    weight.grad = torch.zeros_like(weight, dtype=learner.dtype)
        zeros = torch.zeros(4, dtype=torch.float64, device=batch.sequence_K.device)
        return torch.stack([zeros, *sums]).sum(0)

    def _counts(self, minibatch: Minibatch) -> bool:
        """Whether any completion of the minibatch takes part in the loss."""
        return bool((self.credit.lengths_N[minibatch.rows] > 0).any())

    def _forget(self) -> None:
        """Gradients to nothing."""
        self.learner.optimizer.zero_grad()
        if self.learner.critic_optimizer is not None:
            self.learner.critic_optimizer.zero_grad()

    def _teaches(self, rows: Iterable[int]) -> bool:
        """Whether completions of `rows` have a gradient at all: an advantage, or a term that acts
        without one."""
        tokens = self.batch.tokens_of(list(rows))
        live = self.weight_K[tokens] != 0
        objective = self.objective
        if self.learner.critic or objective.kl_coefficient or objective.entropy_coefficient:
            return bool(live.any())
        return bool((live & (self.credit.advantage_K[tokens] != 0)).any())

    @torch.no_grad()
    def _look(self, rows: list[int]) -> None:
        """The forward alone."""
        learner = self.learner
        temperature = self.config.rollout.temperature
        scored = learner.forward(learner.policy.model, self.batch, rows, temperature)
        self._note(self.batch.tokens_of(rows), scored)

    def _note(self, tokens: Tensor, scored: Scored) -> tuple[Tensor, Tensor]:
        """Keep what this pass sees; returns its old log-probs and advantages."""
        # until the first step the ratio is 1, whatever another forward's rounding says
        old_K = scored.logp_K.detach()
        if self.notes.old_K is not None and self.has_moved:
            old_K = self.notes.old_K[tokens]
        advantage_K = self._corrected(old_K, tokens)
        self.passes[-1].note(tokens, scored.logp_K, old_K, scored.entropy_K, advantage_K)
        return old_K, advantage_K

    def _backward(self, rows: list[int]) -> Tensor:
        """Gradients of one micro-batch. Returns loss, tokens clipped, value loss and values
        clipped."""
        learner, config, notes = self.learner, self.config, self.notes
        tokens = self.batch.tokens_of(rows)
        bonus = config.algorithm.entropy_coefficient != 0
        scored = learner.forward(
            learner.policy.model, self.batch, rows, config.rollout.temperature, bonus
        )
        old_K, advantage_K = self._note(tokens, scored)
        parts = policy_loss(
            self.objective,
            scored.logp_K,
            old_K,
            advantage_K,
            self.weight_K[tokens],
            self.batch.sequence_K[tokens],
            ref_K=old_K if notes.ref_K is None else notes.ref_K[tokens],
            entropy_K=scored.entropy_K,
        )
        total, numbers = parts.loss, [parts.loss, parts.num_clipped]
        if learner.critic is not None:
            with learner.timing_critic():
                value = self._value_loss(rows, scored, tokens)
                numbers += [value.loss, value.num_clipped]
                if learner.own_trunk:
                    learner.accelerator.backward(value.loss)
                else:
                    assert config.critic is not None and config.critic.value_coefficient
                    total = total + config.critic.value_coefficient * value.loss
        learner.accelerator.backward(total)
        # not .item(): on a GPU each would wait for the work before it
        numbers += [torch.zeros_like(parts.loss)] * (4 - len(numbers))
        return torch.stack([number.detach().double() for number in numbers])

    def _corrected(self, old_K: Tensor, tokens: Tensor) -> Tensor:
        """The advantages, times pi_old / pi_engine where the recipe corrects for the engine."""
        advantage_K = self.credit.advantage_K[tokens]
        cap = self.config.algorithm.importance_cap
        if cap is None:
            return advantage_K
        return advantage_K * importance(old_K, self.batch.rollout_logp_K[tokens], cap)

    def _value_loss(self, rows: list[int], scored: Scored, tokens: Tensor) -> ValueLoss:
        config, notes = self.config, self.notes
        assert config.critic is not None and notes.value_K is not None
        assert self.credit.return_K is not None
        return value_loss(
            self.learner.values(self.batch, rows, scored.hidden_KD),
            notes.value_K[tokens],
            self.credit.return_K[tokens],
            self.value_weight_K[tokens],
            config.critic.value_clip,
        )

    # --- what it all came to ----------------------------------------------------------------------

    def _result(self, nonfinite: str) -> UpdateResult:
        team, notes = self.learner.team, self.notes
        sums = [one.whole(team) for one in self.passes]
        (logp_K, _, entropy_K, _), seen_K = sums[0]
        old_K = logp_K if notes.old_K is None or len(self.batch.minibatches) == 1 else notes.old_K
        everything = torch.arange(len(old_K), device=old_K.device)
        result = UpdateResult(
            logp_K=logp_K,
            entropy_K=entropy_K,
            weight_K=self.weight_K,
            old_K=old_K,
            advantage_K=self._corrected(old_K, everything),
            nonfinite=nonfinite,
            passes=[only_seen(*one) for one in sums],
            drift=(old_K - self.batch.rollout_logp_K).abs().mean().item(),
        )
        numbers = {
            **self._policy_metrics(result, seen_K),
            **self._critic_metrics(),
            **self.credit.metrics,
        }
        # a NaN is no point of a curve, and the database takes none; `nonfinite` tells of it
        result.metrics = {k: value for k, value in numbers.items() if math.isfinite(value)}
        return result

    def _policy_metrics(self, result: UpdateResult, seen_K: Tensor) -> dict[str, float]:
        known_K = ~self.notes.initial_K.isnan()
        metrics = {
            "train/kl": (result.old_K - self.notes.initial_K)[known_K].mean().item(),
            # an update that was broken off has not seen all tokens
            "train/entropy": (result.entropy_K.sum() / seen_K.sum()).item(),
            "train/logprob_drift": result.drift,
        }
        if self.losses:
            passes = len(self.losses) / len(self.batch.minibatches)
            num_live = max(int((self.weight_K != 0).sum()), 1)
            metrics["train/loss"] = fmean(self.losses)
            metrics["train/grad_norm"] = fmean(self.norms)
            metrics["train/clip_fraction"] = self.num_clipped / (num_live * passes)
        cap = self.config.algorithm.importance_cap
        if cap is not None:
            ratio_K = importance(result.old_K, self.batch.rollout_logp_K, cap)
            metrics["rollout/importance_ratio_mean"] = ratio_K.mean().item()
        return metrics

    def _critic_metrics(self) -> dict[str, float]:
        learner, notes = self.learner, self.notes
        if learner.critic is None or learner.critic_optimizer is None or not self.value_losses:
            return {}
        assert notes.value_K is not None and self.credit.return_K is not None
        live = self.value_weight_K != 0
        passes = len(self.value_losses) / len(self.batch.minibatches)
        explained = explained_variance(notes.value_K[live], self.credit.return_K[live])
        metrics = {
            "critic/loss": fmean(self.value_losses),
            "critic/value_mean": notes.value_K[live].mean().item(),
            "critic/clip_fraction": self.num_values_clipped / (max(int(live.sum()), 1) * passes),
            "critic/memory_gb": memory_bytes(learner.critic, learner.critic_optimizer) / 1e9,
            "time/critic_s": learner.critic_s,
        }
        return metrics if explained is None else {**metrics, "critic/explained_variance": explained}
