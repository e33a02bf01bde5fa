"""What a person asks of a model, and the settings that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from grpo_core.evaluation_data import Asked, data_for, problems_of_run, problems_of_task
from grpo_core.evaluation_target import Target
from grpo_core.evaluations import EvaluationSettings
from grpo_core.policy import Policy, encode_prompts, render_prompt
from grpo_core.prepare import wants_half
from grpo_core.records import Problem

LONG = 512
"""Tokens of a completion where no run says how many, if the model has so much room."""
AT_ONCE = 512
"""Prompts that are measured together."""
SMALL = 50_000_000
"""Parameters up to which a CPU answers many problems at a time."""


@dataclass(frozen=True)
class Wish:
    """What a person asks for; None is what the run does, or what suits the model."""

    task: str | None = None
    data: str | None = None
    limit: int | None = None
    samples: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int | None = None
    batch_size: int | None = None
    seed: int = 0
    name: str | None = None


def asked_for(target: Target, wish: Wish) -> Asked:
    """The problems. ValueError where there are none to be had."""
    config = target.config
    if config is not None and wish.data is None and wish.task in (None, config.data.task):
        return problems_of_run(config, wish.limit)
    return problems_of_task(data_for(config, wish.task, wish.data), wish.limit, config)


def asked_before(target: Target, settings: EvaluationSettings) -> Asked:
    """The problems of an evaluation that has begun, as far as they are what they were."""
    config, num = target.config, settings.num_problems
    if config is not None and config.data == settings.data:
        asked = problems_of_run(config, num)
        if asked.digest == settings.problems:
            return asked
    return problems_of_task(settings.data, num, config)


def fixed_settings(target: Target, asked: Asked, wish: Wish) -> dict[str, Any]:
    """The settings that are known before the model is loaded."""
    rollout = target.config.rollout if target.config else None
    half = wants_half(target.model.precision)  # on another machine `auto` may be something else
    fixed = {
        "run": target.run.name if target.run else None,
        "step": target.step,
        "began": target.began,
        "model": target.model.model_copy(update={"precision": "bf16" if half else "fp32"}),
        "fingerprint": target.fingerprint,
        "data": asked.data,
        "num_problems": len(asked.problems),
        "problems": asked.digest,
        "samples": wish.samples,
        "temperature": wish.temperature,
        "top_p": wish.top_p,
        "seed": wish.seed,
    }
    length = wish.max_new_tokens or (rollout.max_new_tokens if rollout else None)
    chosen = {"max_new_tokens": length, "batch_size": wish.batch_size}
    said = [key for key in chosen if getattr(wish, key) is not None]
    return {**fixed, "said": tuple(said)} | {k: v for k, v in chosen.items() if v is not None}


def settings_of(fixed: dict[str, Any], asked: Asked, policy: Policy) -> EvaluationSettings:
    """All of them: what nobody said suits the model. ValueError where prompts and completions do
    not fit into its context."""
    problem, longest = _longest_prompt(asked, policy)
    room = policy.context - longest
    length = fixed.get("max_new_tokens", max(1, min(LONG, room)))
    if room < length:
        fits = f"--max-new-tokens {room} or less fits" if room > 0 else "ask a model with more"
        raise ValueError(
            f"the prompt of {problem.id} has {longest:,} tokens, and with {length:,} more the "
            f"model's context of {policy.context:,} is too short; {fits}"
        )
    size = _batch_size(policy, fixed["samples"])
    return EvaluationSettings(**{"batch_size": size, **fixed, "max_new_tokens": length})


def _longest_prompt(asked: Asked, policy: Policy) -> tuple[Problem, int]:
    found = (asked.problems[0], 0)
    for start in range(0, len(asked.problems), AT_ONCE):
        part = asked.problems[start : start + AT_ONCE]
        prompts = [
            render_prompt(policy.tokenizer, asked.data, one.question, one.examples) for one in part
        ]
        lengths = [len(ids) for ids in encode_prompts(policy.tokenizer, prompts)]
        found = max([found, *zip(part, lengths, strict=True)], key=lambda one: one[1])
    return found


def _batch_size(policy: Policy, samples: int) -> int:
    """Problems at a time: what is lost when it is killed, against what goes through at once."""
    is_small = policy.model.num_parameters() <= SMALL
    rows = 256 if torch.cuda.is_available() else 128 if is_small else 16
    return max(1, rows // max(1, samples))
