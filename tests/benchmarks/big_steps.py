"""What the steps of a big run hold: problems that come again, completions, numbers, alerts."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise
from typing import Any

from grpo_core import arithmetic, rewards
from grpo_core.config import RewardConfig
from grpo_core.records import (
    EvalResult,
    Event,
    Group,
    Problem,
    Rollout,
    StepStats,
    TokenTrace,
)

NUM_VERSIONS = 12
NUM_PAUSES = 20
ALERTS_PER_STEP = 1 / 60
NEVER_ENDING = (
    "First I look at the larger number. ", "The tens and the ones are added apart. ",
    "I carry one over to the tens. ", "That gives a number below one hundred. ",
    "Let me check this from the other side. ", "The order of the terms does not matter here. ",
    "So the difference must be positive. ", "I write down what I have so far. ",
    "Both parts are even, and so is the sum. ", "Now only the ones are left. ",
)  # fmt: skip
ALERTS = (
    Event("reward_fault", {"function": "brevity", "outcome": "timeout", "count": 2,
                           "message": "took longer than 2.0 s"}),
    Event("logprob_drift", {"mean_abs_nats": 0.031, "bound": 0.02}),
    Event("nonfinite", {"message": "the gradient was not finite: no update", "in_row": 1}),
    Event("oom", {"message": "out of memory: fewer tokens at once", "micro_batch_tokens": 4096}),
    Event("notice", {"message": "two completions of this step repeat themselves to the end"}),
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    steps: int = 20_000
    prompts: int = 7
    group: int = 8
    pool: int = 3000
    """Problems that the prompts are drawn from, each once before one comes again."""
    seed: int = 0
    tokens: int = 0
    """Of every completion; 0: about 60, and as many as it happens."""
    traced_every: int = 50
    traced_groups: int = 4
    """Groups that keep their tokens, in one step of so many."""
    rewards: tuple[tuple[str, float], ...] = (
        ("accuracy", 1.0), ("brevity", 0.2), ("think_first", 0.1),
    )  # fmt: skip

    @classmethod
    def of(cls, values: dict[str, Any]) -> Size:
        """The inverse of `asdict`, by way of JSON."""
        return cls(**{**values, "rewards": tuple(map(tuple, values["rewards"]))})


class Steps:
    """Any step of a run of this size."""

    def __init__(self, size: Size) -> None:
        self.size = size
        drawn = islice(arithmetic.questions("train", size.seed), size.pool)
        self.problems = [
            Problem(f"train-{index:05d}", question, str(expression.value), {"question": question})
            for index, (expression, question) in enumerate(drawn)
        ]
        self._order = cache(self._shuffled)
        self._version = cache(self._saved)

    def _rng(self, what: str, number: int) -> random.Random:
        return random.Random(f"{what}/{self.size.seed}/{number}")

    def _shuffled(self, epoch: int) -> list[int]:
        order = list(range(self.size.pool))
        self._rng("epoch", epoch).shuffle(order)
        return order

    # --- rewards -------------------------------------------------------------------------------

    def functions(self, step: int) -> list[rewards.RewardFunction]:
        """The reward functions in force at a step."""
        return self._version(self._number(step))[0]

    def version(self, step: int) -> tuple[str, list[str]]:
        """The version of the reward code at a step, and its functions' names."""
        functions, version = self._version(self._number(step))
        return version, [function.name for function in functions]

    def _number(self, step: int) -> int:
        return min(NUM_VERSIONS - 1, (step - 1) * NUM_VERSIONS // self.size.steps)

    def _saved(self, number: int) -> tuple[list[rewards.RewardFunction], str]:
        """Versions differ in the weight of the second function."""
        weights = [weight for _, weight in self.size.rewards]
        weights[1] *= 1 + number / NUM_VERSIONS
        configs = [
            RewardConfig(builtin=name, weight=weight)
            for (name, _), weight in zip(self.size.rewards, weights, strict=True)
        ]
        functions = rewards.resolve(configs)
        return functions, rewards.version_of(functions)

    # --- completions ---------------------------------------------------------------------------

    def skill(self, step: int) -> float:
        """How much of the way the model has gone, 0..1."""
        return 1 / (1 + math.exp(-(step / self.size.steps - 0.2) / 0.05))

    def groups(self, step: int) -> list[Group]:
        """The groups of a step."""
        size, rng = self.size, self._rng("step", step)
        is_traced = step % size.traced_every == 0
        weights = [function.weight for function in self.functions(step)]
        found = []
        for index in range(size.prompts):
            epoch, place = divmod(step * size.prompts + index, size.pool)
            problem = self.problems[self._order(epoch)[place]]
            prompt = f"<|user|>{problem.question}<|end|><|assistant|>"
            skill = self.skill(step)
            rollouts = [self._rollout(problem, skill, weights, rng) for _ in range(size.group)]
            _set_advantages(rollouts)
            if is_traced and index < size.traced_groups:
                for rollout in rollouts:
                    rollout.trace = _trace(rollout, rng)
            found.append(Group(problem, prompt, [], rollouts))
        return found

    def _rollout(
        self, problem: Problem, skill: float, weights: list[float], rng: random.Random
    ) -> Rollout:
        right, truncated = rng.random() < 0.3 + 0.65 * skill, rng.random() < 0.01
        value = problem.answer if right else str(int(problem.answer) + rng.choice((-10, -1, 1, 2)))
        num = self.size.tokens or max(12, int(rng.gauss(60, 12)))
        # 3.6 characters a token; the answer takes about 40
        said = "".join(rng.choices(NEVER_ENDING, k=max(1, (num * 36 // 10 - 40) // 35)))
        text = f"<think>{said}I get {value} .</think><answer>{value}</answer>"
        if truncated:
            text = text[: len(text) * 2 // 3]
        correct = right and not truncated
        parts: list[float | None] = [float(correct), -num / 200, float(not truncated)]
        rollout = Rollout([5] * num, [], text, "length" if truncated else "stop")
        rollout.outcome, rollout.correct = "ok", correct
        if rng.random() < 0.001:
            parts[1], rollout.outcome = None, "timeout"
            rollout.error = "brevity: took longer than 2.0 s"
        else:
            rollout.reward = sum(w * part for w, part in zip(weights, parts, strict=True) if part)
        names = (name for name, _ in self.size.rewards)
        rollout.parts = dict(zip(names, parts, strict=True))
        return rollout

    # --- numbers -------------------------------------------------------------------------------

    def stats(self, step: int, groups: list[Group]) -> StepStats:
        """Thirty metrics, and now and then an alert."""
        rng = self._rng("stats", step)
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        tokens = sum(len(rollout.ids) for rollout in rollouts)
        events = [rng.choice(ALERTS)] if rng.random() < ALERTS_PER_STEP else []
        metrics = self._measured(groups, rollouts, tokens) | self._drawn(step, tokens, rng)
        return StepStats(step, tokens, self.version(step)[0], metrics, events)

    def _measured(
        self, groups: list[Group], rollouts: list[Rollout], tokens: int
    ) -> dict[str, float]:
        """Metrics that follow from the completions."""
        num = len(rollouts)
        given = [rollout.reward for rollout in rollouts if rollout.reward is not None]
        mean = sum(given) / len(given)
        flat = sum(len({rollout.reward for rollout in group.rollouts}) < 2 for group in groups)
        found = {
            "reward/mean": mean,
            "reward/std": math.sqrt(sum((reward - mean) ** 2 for reward in given) / len(given)),
            "reward/zero_variance_fraction": flat / len(groups),
            "reward/error_fraction": 1 - len(given) / num,
            "train/accuracy": sum(rollout.correct for rollout in rollouts) / num,
            "completion/length_mean": tokens / num,
            "completion/truncated_fraction": sum(r.finish == "length" for r in rollouts) / num,
        }
        for name, _ in self.size.rewards:
            parts = [part for r in rollouts if (part := r.parts[name]) is not None]
            found[f"reward/{name}/mean"] = sum(parts) / len(parts)
        return found

    def _drawn(self, step: int, tokens: int, rng: random.Random) -> dict[str, float]:
        """Metrics in the shape that they take in a real run."""
        skill, noise = self.skill(step), rng.gauss
        seconds = 1.4 + abs(noise(0, 0.05))
        return {
            "train/loss": noise(-0.01, 0.02),
            "train/kl": 0.11 * skill * (1 + noise(0, 0.1)) + 1e-5 * step,
            "train/entropy": 0.21 * (1 - 0.72 * skill) + abs(noise(0, 0.008)),
            "train/clip_fraction": abs(noise(0, 0.004)),
            "train/grad_norm": 0.35 + 0.5 * (1 - skill) + abs(noise(0, 0.12)),
            "train/learning_rate": 3e-4,
            "train/logprob_drift": abs(noise(0, 0.004)),
            "rollout/resampled_groups": float(rng.random() < 0.2),
            "critic/loss": 0.12 * (1 - 0.6 * skill) + abs(noise(0, 0.006)),
            "critic/explained_variance": 0.62 * skill + noise(0, 0.05),
            "critic/value_mean": 0.3 + 0.6 * skill,
            "critic/clip_fraction": abs(noise(0, 0.03)),
            "critic/memory_gb": 0.0136,
            "time/step_s": seconds,
            "time/rollout_s": 0.5 * seconds,
            "time/reward_s": 0.05 * seconds,
            "time/update_s": 0.3 * seconds,
            "time/critic_s": 0.15 * seconds,
            "perf/tokens_per_s": tokens / seconds,
            "perf/memory_gb": 0.78,
        }

    def pause(self, step: int) -> list[Event]:
        """A pause and its end, at some steps."""
        every = max(1, self.size.steps // NUM_PAUSES)
        words = ("paused", "running") if step % every == 0 else ()
        return [Event("status", {"status": word, "command_id": f"{step:032x}"}) for word in words]

    def evaluation(self, step: int) -> EvalResult:
        """Greedy accuracy on 400 problems."""
        lucky = self._rng("eval", step).gauss(0, 0.008)
        accuracy = min(0.985, 0.36 + 0.59 * self.skill(step) + lucky)
        return EvalResult(step, 400, round(400 * accuracy), 58.0, 0.004, 1.4)


def _set_advantages(rollouts: list[Rollout]) -> None:
    """Standard scores within the group, as the estimator `zscore` gives them."""
    given = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    if len(given) < 2:
        return
    mean = sum(given) / len(given)
    std = math.sqrt(sum((reward - mean) ** 2 for reward in given) / (len(given) - 1))
    for rollout in rollouts:
        if rollout.reward is not None:
            rollout.advantage = (rollout.reward - mean) / (std + 1e-4)


def _trace(rollout: Rollout, rng: random.Random) -> TokenTrace:
    num, text = len(rollout.ids), rollout.text
    bounds = [index * len(text) // num for index in range(num + 1)]
    logp = [-rng.gammavariate(0.4, 0.6) for _ in range(num)]
    return TokenTrace(
        [text[low:high] for low, high in pairwise(bounds)],
        logp,
        [value + rng.gauss(0, 0.01) for value in logp],
        [value + rng.gauss(0, 0.2) for value in logp],
        [rng.gammavariate(0.5, 0.3) for _ in range(num)],
        [rollout.advantage or 0.0] * num,
        [1 / num / 128] * num,
    )
