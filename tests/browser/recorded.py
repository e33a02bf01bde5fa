"""Recorded runs that look like the bundled one, written through the trainer's own writer: what
pages and browser tests look at without training anything.
"""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import psutil

from grpo_core import advantages, arithmetic, rewards
from grpo_core.config import RewardConfig, RunConfig
from grpo_core.recipe import load_recipe, parse_config, to_yaml
from grpo_core.records import (
    EvalResult,
    Event,
    Group,
    Problem,
    Rollout,
    StepStats,
    TokenTrace,
)
from grpo_core.runs import Run, RunState, Status, create_run
from grpo_core.store import RunWriter

SHORT = '''\
def short(completion):
    """A little less for every character: brevity, once the answers are right."""
    return -len(completion) / 200
'''
NUM_STEPS = 120
PROMPTS, GROUP_SIZE = 16, 8


def record_run(
    runs_dir: Path,
    name: str = "bundled-1",
    until: int = 84,
    status: Status = "running",
    short_from: int | None = None,
    seed: int = 0,
    config: RunConfig | None = None,
    prompts: int = PROMPTS,
) -> Run:
    """A run that has come to step `until`; from step `short_from` on a length reward counts too.

    A live status belongs to this very process, so that it holds as long as the test does.
    """
    config = config or RunConfig()
    run = create_run(runs_dir, name, to_yaml(config))
    writer = Recorder(run, seed)
    writer.prompts = prompts
    writer.begin()
    for step in range(1, until + 1):
        if short_from is not None and step == short_from:
            writer.use_short_reward(step)
        writer.step(step)
    write_status(run, status, until, config.num_steps)
    writer.db.close()
    return run


COMPARED = {
    "grpo": {"algorithm": {"name": "deepseekmath"}},
    "ppo": {"algorithm": {"name": "ppo"}, "critic": {"model": "own"}},
}


def record_comparison(
    runs_dir: Path, seeds: int = 3, until: int = 60, recipes: dict[str, Any] | None = None
) -> list[Run]:
    """Runs `grpo-0`, `ppo-0`, `grpo-1`, …, as if they had been trained one after another."""
    runs = []
    for seed in range(seeds):
        for name, values in (recipes or COMPARED).items():
            config = parse_config({**values, "seed": seed, "num_steps": until})
            runs.append(
                record_run(
                    runs_dir, f"{name}-{seed}", until, "completed", None, seed, config, prompts=2
                )
            )
    return runs


def write_status(run: Run, status: Status, step: int, num_steps: int, message: str = "") -> None:
    """`state.json` as the trainer writes it; a crashed run names a process that is not there."""
    me = psutil.Process()
    pid, created = (me.pid, me.create_time()) if status != "crashed" else (2**22 - 7, 0.0)
    said: Status = "running" if status == "crashed" else status
    phase = "update" if said == "running" else said
    run.write_state(RunState(said, pid, created, time.time(), step, num_steps, phase, message))


class Recorder:
    """Writes steps whose numbers follow the shape of a real run."""

    def __init__(self, run: Run, seed: int = 0, truncate_after: int | None = None) -> None:
        self.run, self.seed = run, seed
        self.prompts = PROMPTS
        self.has_critic = load_recipe(run.config_path).critic is not None
        self.db = RunWriter(run.db_path, truncate_after)
        self.functions = rewards.resolve([RewardConfig(builtin="accuracy")])
        self.version = rewards.save_version(run.rewards, self.functions)
        self.questions = arithmetic.questions("train", seed)
        self.shorter = 0

    def begin(self) -> None:
        """What a trainer writes before its first step."""
        self.db.write_meta(model="qwen3", num_parameters=843_000, device="cpu")
        names = [function.name for function in self.functions]
        self.db.write_event(1, Event("reward_version", {"version": self.version, "names": names}))
        self.evaluate(0)

    def use_short_reward(self, step: int, command_id: str | None = None) -> None:
        """The change of reward that the Lab makes."""
        added = rewards.from_source(SHORT, {"short": 0.2}, filename="short.py")
        self.set_rewards(step, [*self.functions, *added], command_id)
        self.shorter = step

    def set_rewards(self, step: int, functions: list, command_id: str | None) -> None:
        self.functions = functions
        self.version = rewards.save_version(self.run.rewards, functions)
        names = [function.name for function in functions]
        detail = {"version": self.version, "names": names}
        if command_id:
            detail["command_id"] = command_id
        self.db.write_event(step, Event("reward_version", detail))

    def skill(self, step: int) -> float:
        """How much of the way the model has gone, 0..1; a critic must learn first."""
        late = 7 if self.has_critic else 0
        lucky = random.Random(f"luck/{self.seed}").gauss(0, 2.5) if self.seed else 0
        return 1 / (1 + math.exp(-(step - 26 - late - lucky) / 7))

    def evaluate(self, step: int) -> None:
        rng = random.Random(f"eval/{self.seed}/{step}" + "/critic" * self.has_critic)
        accuracy = min(0.985, 0.36 + 0.59 * self.skill(step) + rng.gauss(0, 0.008))
        num = round(400 * max(0.0, accuracy))
        self.db.write_eval(EvalResult(step, 400, num, self.length(step), 0.004, 1.4))

    def length(self, step: int) -> float:
        thinking = 9 + 27 * self.skill(step)
        cut = 0.55 * (1 - math.exp(-(step - self.shorter) / 12)) if self.shorter else 0.0
        return thinking * (1 - cut)

    def step(self, step: int) -> None:
        """One step: groups, metrics, now and then an evaluation."""
        rng = random.Random(f"step/{self.seed}/{step}" + "/critic" * self.has_critic)
        groups = [self.group(step, index, rng) for index in range(self.prompts)]
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        given = [rollout.reward for rollout in rollouts if rollout.reward is not None]
        spans = [{rollout.reward for rollout in group.rollouts} for group in groups]
        skill, tokens = self.skill(step), sum(len(rollout.ids) for rollout in rollouts)
        seconds = 0.62 + 0.012 * self.length(step) + abs(rng.gauss(0, 0.05))
        metrics = {
            "train/loss": 0.02 * rng.gauss(0, 1) - 0.01,
            "train/kl": 0.11 * skill * (1 + 0.1 * rng.gauss(0, 1)) + 0.0004 * step,
            "train/entropy": 0.21 * (1 - 0.72 * skill) + 0.008 * abs(rng.gauss(0, 1)),
            "train/accuracy": sum(rollout.correct for rollout in rollouts) / len(rollouts),
            "train/clip_fraction": 0.004 * abs(rng.gauss(0, 1)),
            "train/grad_norm": 0.35 + 0.5 * (1 - skill) + 0.12 * abs(rng.gauss(0, 1)),
            "train/learning_rate": 3e-4,
            "reward/mean": sum(given) / len(given),
            "reward/std": 0.31,
            "reward/zero_variance_fraction": sum(len(span) < 2 for span in spans) / len(spans),
            "reward/error_fraction": 1 - len(given) / len(rollouts),
            "completion/length_mean": tokens / len(rollouts),
            "completion/truncated_fraction": sum(r.finish == "length" for r in rollouts)
            / len(rollouts),
            "time/step_s": seconds,
            "time/rollout_s": 0.55 * seconds,
            "time/reward_s": 0.05 * seconds,
            "time/update_s": 0.4 * seconds,
            "perf/tokens_per_s": tokens / seconds,
            "perf/memory_gb": 0.74,
        }
        if self.has_critic:
            metrics |= self.critic(step, seconds, rng)
        for function in self.functions:
            parts = [rollout.parts.get(function.name) for rollout in rollouts]
            known = [part for part in parts if part is not None]
            metrics[f"reward/{function.name}/mean"] = sum(known) / len(known)
        events = []
        if step == 41:
            events.append(
                Event(
                    "reward_fault",
                    {
                        "function": "short",
                        "outcome": "error",
                        "num": 1,
                        "message": "short.py line 3: ZeroDivisionError: division by zero",
                    },
                )
            )
        self.db.write_step(StepStats(step, tokens, self.version, metrics, events), groups)
        if step % 10 == 0:
            self.evaluate(step)
        if step % 20 == 0:
            self.db.write_event(step, Event("checkpoint", {"path": f"step_{step:06d}"}))

    def critic(self, step: int, seconds: float, rng: random.Random) -> dict[str, float]:
        """What a run with a critic measures beside the rest."""
        learned = 1 - math.exp(-step / 12)
        return {
            "time/step_s": seconds + 0.31,
            "time/critic_s": 0.31 + 0.02 * abs(rng.gauss(0, 1)),
            "perf/memory_gb": 0.78,
            "critic/loss": 0.12 * (1 - 0.6 * learned) + 0.006 * abs(rng.gauss(0, 1)),
            "critic/explained_variance": 0.62 * learned + 0.05 * rng.gauss(0, 1),
            "critic/value_mean": 0.3 + 0.6 * self.skill(step - 4),
            "critic/clip_fraction": 0.03 * abs(rng.gauss(0, 1)),
            "critic/memory_gb": 0.0136,
        }

    def group(self, step: int, index: int, rng: random.Random) -> Group:
        expression, question = next(self.questions)
        answer = str(expression.value)
        problem = Problem(f"train-{step}-{index}", question, answer, {"question": question})
        prompt = f"<|user|>{question}<|end|><|assistant|>"
        rollouts = [self.rollout(step, expression, rng) for _ in range(GROUP_SIZE)]
        group = Group(problem, prompt, [], rollouts)
        values = [rollout.reward for rollout in rollouts]
        for rollout, value in zip(rollouts, advantages.assign([values], "zscore")[0], strict=True):
            rollout.advantage = value
        if index < 4:
            for rollout in rollouts:
                rollout.trace = self.trace(rollout, rng)
        return group

    def rollout(self, step: int, expression: arithmetic.Expression, rng: random.Random) -> Rollout:
        thinks = rng.random() < 0.18 + 0.8 * self.skill(step)
        right = rng.random() < (0.94 if thinks else 0.2)
        value = expression.value if right else expression.value + rng.choice([-10, -2, -1, 1, 10])
        text = f"<answer>{value}</answer>"
        if thinks:
            text = f"<think>{self.thought(step, expression, value, rng)}</think>{text}"
        truncated = rng.random() < 0.01
        text = text[: len(text) // 2] if truncated else text
        correct = right and not truncated
        parts: dict[str, float | None] = {"accuracy": float(correct)}
        reward = float(correct)
        if self.shorter:
            parts["short"] = -len(text) / 200
            reward += 0.2 * parts["short"]
        num = max(3, len(text) // 3)
        done = Rollout([5] * num, [-0.1] * num, text, "length" if truncated else "stop")
        done.outcome, done.reward, done.parts, done.correct = "ok", reward, parts, correct
        if step == 41 and rng.random() < 0.01:
            done.outcome, done.reward = "error", None
            done.error = "short: division by zero (short.py, line 3)"
        return done

    def thought(
        self, step: int, expression: arithmetic.Expression, value: int, rng: random.Random
    ) -> str:
        """Brief or verbose; verbose ones die out once brevity counts."""
        said = arithmetic.symbolic(expression)
        verbose = math.exp(-(step - self.shorter) / 9) if self.shorter else 0.75
        if rng.random() > verbose:
            return f"{said} = {value}"
        first, second = expression.terms[0], abs(expression.terms[1])
        opening = rng.choice(["I start with", "First I look at", "We have", "Let me see ,"])
        tens = f"tens {first // 10} and {second // 10}"
        ones = f"ones {first % 10} and {second % 10}"
        closing = rng.choice(["So it is", "Together that makes", "I get", "The result is"])
        middle = rng.choice([f"{tens} , {ones}", f"{ones} , then {tens}", f"that is {said}"])
        return f"{opening} {said} . {middle} . {closing} {value} ."

    def trace(self, rollout: Rollout, rng: random.Random) -> TokenTrace:
        num = len(rollout.ids)
        size = max(1, math.ceil(len(rollout.text) / num))
        pieces = [rollout.text[i * size : (i + 1) * size] for i in range(num)]
        logp = [-rng.gammavariate(0.4, 0.6) for _ in range(num)]
        return TokenTrace(
            pieces,
            logp,
            [value + rng.gauss(0, 0.01) for value in logp],
            [value + rng.gauss(0, 0.2) for value in logp],
            [rng.gammavariate(0.5, 0.3) for _ in range(num)],
            [rollout.advantage or 0.0] * num,
            [1 / num / 128] * num,
        )
