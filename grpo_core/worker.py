"""What every process of a team does in a step: sample and score its share of the prompts, then
learn from the groups of all.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from grpo_core.advantages import is_flat
from grpo_core.annotate import UpdateResult, annotate
from grpo_core.batch import pack
from grpo_core.config import RunConfig
from grpo_core.credit import assign_credit
from grpo_core.engine import Engine, Sampling
from grpo_core.evaluate import evaluate
from grpo_core.generate import sample
from grpo_core.judge import Judge, mark
from grpo_core.learner import make_learner
from grpo_core.metrics import describe, memory_gb
from grpo_core.prepare import Prepared
from grpo_core.records import EvalResult, Event, Group, Problem
from grpo_core.rewards import RewardFunction
from grpo_core.scorer import Scorer
from grpo_core.traces import fill_traces
from grpo_core.update import Update

PATIENCE_S = 20.0
"""For the answers of a step that take algebra, or of a batch of an evaluation."""


@dataclass
class Step:
    """What one step did."""

    groups: list[Group]
    """Those that were learned from."""
    num_tokens: int
    """Sampled, also those of groups that were replaced."""
    metrics: dict[str, float]
    events: list[Event] = field(default_factory=list)
    nonfinite: str = ""
    drift: float = 0.0


class Worker:
    """One process: engine, policy, reward workers. All processes call the same methods in the same
    order."""

    def __init__(self, prepared: Prepared, functions: list[RewardFunction]) -> None:
        self.policy, self.engine, self.task = prepared.policy, prepared.engine, prepared.task
        self.learner = make_learner(prepared.accelerator, prepared.policy, prepared.config)
        self.learner.budget.make_room = self.engine.release
        self.team = self.learner.team
        self.sandbox = prepared.config.sandbox
        self.functions = functions
        self.scorer = self._new_scorer()
        is_ordered = prepared.config.data.task != "math"
        self.judge = Judge(patience_s=PATIENCE_S, is_ordered=is_ordered, die_with_parent=True)
        self.undecided = 0
        """Answers of the newest evaluation that got no verdict, of this process."""
        tokenizer = self.policy.tokenizer
        self.piece = functools.cache(lambda token: str(tokenizer.decode([token])))

    def text_of(self, ids: list[int]) -> str:
        """What several tokens say together."""
        return str(self.policy.tokenizer.decode(ids))

    def set_rewards(self, functions: list[RewardFunction]) -> None:
        """Score with these from now on."""
        self.scorer.close()
        self.functions = functions
        self.scorer = self._new_scorer()

    def _new_scorer(self) -> Scorer:
        return Scorer(self.functions, self.sandbox.timeout_s, self.sandbox.num_workers)

    def close(self) -> None:
        """End the workers of rewards and judge."""
        self.scorer.close()
        self.judge.close()

    def step(self, step: int, config: RunConfig, phase: Callable[[str], None]) -> Step:
        """One whole step; `phase` hears what is done next."""
        clock = time.perf_counter()
        groups, replaced, events, timing = self._collect(step, config, phase)
        phase("update")
        started = time.perf_counter()
        result, metrics = self._learn(step, groups, config)
        events += self.team.gather(self.learner.budget.take_events())
        everyone = groups + replaced
        metrics |= describe(everyone, self.functions) | timing
        if config.algorithm.resample_rounds:
            metrics["rollout/resampled_groups"] = len(replaced)
        metrics["time/update_s"] = time.perf_counter() - started
        metrics["time/step_s"] = time.perf_counter() - clock
        num_tokens = sum(len(one.ids) for group in everyone for one in group.rollouts)
        metrics["perf/tokens_per_s"] = num_tokens / metrics["time/step_s"]
        metrics["perf/memory_gb"] = memory_gb()
        return Step(groups, num_tokens, metrics, events, result.nonfinite, result.drift)

    # --- sampling ---------------------------------------------------------------------------------

    def _collect(
        self, step: int, config: RunConfig, phase: Callable[[str], None]
    ) -> tuple[list[Group], list[Group], list[Event], dict[str, float]]:
        """The groups to learn from and those that dynamic sampling has replaced.

        A group whose rewards are all equal (before any penalty or KL) is replaced by one of a new
        prompt, for at most `resample_rounds` rounds (DAPO, arXiv 2503.14476). Then the step makes
        do with what teaches; where nothing does, with what there is.
        """
        wanted = config.rollout.prompts_per_step
        teaching: list[Group] = []
        flat: list[Group] = []
        events: list[Event] = []
        timing = {"time/rollout_s": 0.0, "time/reward_s": 0.0}
        for attempt in range(1 + (config.algorithm.resample_rounds or 0)):
            problems = self._draw(step, wanted - len(teaching), config, attempt)
            groups = self._sample(step, problems, config, attempt, events, timing, phase)
            for group in groups:
                rewards = [one.reward for one in group.rollouts]
                (flat if is_flat(rewards) else teaching).append(group)
            if len(teaching) == wanted:
                break
        if not config.algorithm.resample_rounds:
            return groups, [], events, timing
        if not teaching:
            return flat[:wanted], flat[wanted:], events, timing
        return teaching, flat, events, timing

    def _draw(self, step: int, num: int, config: RunConfig, attempt: int) -> list[Problem]:
        seed = config.seed if attempt == 0 else derive_seed(config.seed, step, attempt)
        return self.task.draw(step, num, seed)

    def _sample(
        self,
        step: int,
        problems: list[Problem],
        config: RunConfig,
        attempt: int,
        events: list[Event],
        timing: dict[str, float],
        phase: Callable[[str], None],
    ) -> list[Group]:
        """Sample and score this process's share; returns everyone's groups."""
        clock = time.perf_counter()
        phase("rollout")
        rollout = config.rollout
        own = [problems[index] for index in self.team.share(len(problems))]
        groups, rows_before = [], self.engine.rows_at_once
        if own:
            sampling = Sampling(rollout.max_new_tokens, rollout.temperature, rollout.top_p)
            seed = derive_seed(config.seed, step, attempt, self.team.rank)
            groups = sample(
                self.engine, self.policy, config.data, own, rollout.group_size, sampling, seed
            )
        full = [] if self.engine.rows_at_once == rows_before else [fewer_rows(self.engine)]
        timing["time/rollout_s"] += time.perf_counter() - clock
        clock = time.perf_counter()
        phase("reward")
        events += self.team.gather(full + self.scorer.score(groups, step))
        if undecided := mark(groups, self.judge):
            events.append(Event("notice", {"message": said_of_undecided(undecided)}))
        groups = self.team.gather(groups)
        timing["time/reward_s"] += time.perf_counter() - clock
        return groups

    # --- learning ---------------------------------------------------------------------------------

    def _learn(
        self, step: int, groups: list[Group], config: RunConfig
    ) -> tuple[UpdateResult, dict[str, float]]:
        """Update the policy on the groups."""
        learner, optim = self.learner, config.optim
        warmup = min(1.0, step / optim.warmup_steps) if optim.warmup_steps else 1.0
        _set_rate(learner.optimizer, optim.learning_rate * warmup)
        if learner.critic_optimizer is not None and config.critic is not None:
            _set_rate(learner.critic_optimizer, config.critic.learning_rate * warmup)
        learner.critic_s = 0.0
        share = self.team.share(len(groups))
        device = learner.accelerator.device
        batch = pack(groups, device, share, optim.minibatches)
        notes = annotate(learner, batch, config, telling(groups, config.store.token_groups))
        weights = {function.name: function.weight for function in self.functions}
        credit = assign_credit(groups, batch, notes, config, weights, self.team)
        notes.hidden_KD = None  # as large as the step's activations, and done with
        result = Update(learner, batch, notes, credit, config).run()
        learner.move_reference(step, config)
        self.engine.refresh()
        ref_K = result.old_K if notes.ref_K is None else notes.ref_K
        kept = batch.tokens_of_groups(notes.traced)
        ref, weight = ref_K[kept].tolist(), result.weight_K[kept].tolist()
        first, *later = result.passes
        passes = [first[:, kept].tolist(), *(one.tolist() for one in later)]
        traced = [groups[group] for group in notes.traced]
        fill_traces(traced, ref, weight, passes, self.text_of, self.piece)
        return result, {**result.metrics, "train/learning_rate": optim.learning_rate * warmup}

    def evaluate(self, step: int, config: RunConfig) -> EvalResult:
        """Held-out accuracy now."""
        problems = self.task.held_out
        result, self.undecided = evaluate(
            self.engine, self.policy, config, problems, step, self.judge, self.team
        )
        return result


def said_of_undecided(num: int) -> str:
    """Answers that the judge could not work out in time."""
    return f"{num} answers took too long to be judged and count as wrong"


def fewer_rows(engine: Engine) -> Event:
    """Memory has run out while sampling."""
    message = (
        "the GPU's memory was full while sampling: at most "
        f"{engine.rows_at_once} completions at a time from now on, the same samples"
    )
    return Event("oom", {"message": message, "rows_at_once": engine.rows_at_once})


def telling(groups: list[Group], num: int) -> list[int]:
    """The first `num` groups whose rewards differ, then others: the tokens of a group that moves
    nothing tell little."""
    flat = [is_flat([one.reward for one in group.rollouts]) for group in groups]
    order = sorted(range(len(groups)), key=lambda group: flat[group])
    return sorted(order[:num])


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate


def derive_seed(seed: int, step: int, *more: int) -> int:
    """The seed of a step's sampling, of a further round, of another process; far apart for
    neighbouring numbers."""
    tail = "".join(f"/{number}" for number in more) if any(more) else ""
    digest = hashlib.sha256(f"rollout/{seed}/{step}{tail}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
