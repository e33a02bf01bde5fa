"""A run as a folder that TRL can train from: a script, the rewards, the problems."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grpo_core.config import RunConfig
from grpo_core.records import Problem
from grpo_core.rewards import RewardFunction, batch_forms
from grpo_core.trl_settings import InTrl

_HEAD = '''"""Train with TRL what the run {name} trained.

    pip install "trl>=1.16,<2" datasets{needs}
    python train_trl.py

What TRL cannot express, or means otherwise; "here" is GRPO Studio:

{lost}
"""

import inspect
from pathlib import Path

{imports}

UPDATES = {updates}  # optimizer steps, which TRL counts, in a step of the run


def shaped(one, role, messages):
    """A prompt or a completion as chat messages, or as the text of the last of them."""
    if messages:
        return one if isinstance(one, list) else [{{"role": role, "content": one}}]
    return one if isinstance(one, str) else one[-1]["content"]


def wanted(function, known):
    """Of what is known, what a function asks for by name."""
    asked = inspect.signature(function).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in asked.values())
    return known if takes_all else {{key: known[key] for key in asked if key in known}}


def one_by_one(function, name, messages):
    """A function of one completion, called as TRL calls: for all of them."""

    def call(prompts, completions, trainer_state, **columns):
        lists = {{key: value for key, value in columns.items() if isinstance(value, list)}}
        given = []
        for index, (prompt, completion) in enumerate(zip(prompts, completions)):
            known = {{key: value[index] for key, value in lists.items()}}
            known["prompt"] = shaped(prompt, "user", messages)
            known["completion"] = shaped(completion, "assistant", messages)
            known["step"] = trainer_state.global_step // UPDATES + 1
            given.append(function(**wanted(function, known)))
        return given

    call.__name__ = name
    return call


def all_at_once(function, name, messages):
    """A function of all completions of a batch."""

    def call(prompts, completions, trainer_state, **columns):
        known = {{**columns, "trainer_state": trainer_state}}
        known["prompts"] = [shaped(one, "user", messages) for one in prompts]
        known["completions"] = [shaped(one, "assistant", messages) for one in completions]
        known["step"] = trainer_state.global_step // UPDATES + 1
        return function(**wanted(function, known))

    call.__name__ = name
    return call


def at_the_limit(limit):
    """-1 for a completion that is as long as it may be."""

    def call(completion_ids, **columns):
        return [-1.0 if len(ids) >= limit else 0.0 for ids in completion_ids]

    return call

'''
_BODY = """
args = GRPOConfig(
    output_dir="trained",
{settings}
)
trainer = GRPOTrainer(
    model={model!r},  # as the run began
    reward_funcs=[
{functions}
    ],
    args=args,
    train_dataset=load_dataset(
        "json", data_files=str(Path(__file__).with_name("train.jsonl")), split="train"
    ),{lora}
)

if __name__ == "__main__":
    trainer.train()
    trainer.save_model("trained")
"""


def script_files(
    name: str,
    model: str,
    config: RunConfig,
    translated: InTrl,
    functions: Sequence[RewardFunction],
) -> tuple[dict[str, str], list[str]]:
    """`train_trl.py` and a module for each reward file, by name; all that TRL cannot express.
    `model`: a folder or a hub id."""
    texts = list(dict.fromkeys(function.source for function in functions))
    parts = _Parts({**translated.settings}, [*translated.lost])
    parts.settings["reward_weights"] = [one.weight for one in functions]
    for number, function in enumerate(functions, start=1):
        file = texts.index(function.source) + 1
        parts.own.append(f"from reward_file_{file} import {function.function} as reward_{number}")
        parts.calls.append(_call(function, number))
    _say_of_rewards(parts, texts)
    _add_penalty(config, parts)
    if translated.lora:
        parts.theirs.append("from peft import LoraConfig")
    half = {"fp32": "False", "bf16": "True"}.get(config.model.precision)
    if half is None:
        parts.theirs.append("import torch")
    updates = config.optim.updates_per_rollout * config.optim.minibatches
    script = parts.head(name, updates) + parts.body(model, half, translated.lora)
    modules = {f"reward_file_{number}.py": text for number, text in enumerate(texts, start=1)}
    return {"train_trl.py": script, **modules}, parts.lost


@dataclass
class _Parts:
    """Of a script."""

    settings: dict[str, Any]
    lost: list[str]
    theirs: list[str] = field(
        default_factory=lambda: [
            "from datasets import load_dataset",
            "from trl import GRPOConfig, GRPOTrainer",
        ]
    )
    own: list[str] = field(default_factory=list)
    """Imports of libraries, and of the reward files."""
    calls: list[str] = field(default_factory=list)

    def head(self, name: str, updates: int) -> str:
        lines = [
            textwrap.fill(one, 96, initial_indent="- ", subsequent_indent="  ") for one in self.lost
        ]
        return _HEAD.format(
            name=name,
            needs=" peft" if "from peft import LoraConfig" in self.theirs else "",
            lost="\n".join(lines),
            imports="\n".join([*sorted(self.theirs, key=_sort_key), "", *self.own]),
            updates=updates,
        )

    def body(self, model: str, half: str | None, lora: dict[str, Any] | None) -> str:
        settings = {key: repr(value) for key, value in self.settings.items()}
        settings["bf16"] = half or "torch.cuda.is_available()"
        return _BODY.format(
            settings="\n".join(f"    {key}={value}," for key, value in settings.items()),
            model=model,
            functions="\n".join(f"        {call}," for call in self.calls),
            lora=f"\n    peft_config=LoraConfig({_arguments(lora)})," if lora else "",
        )


def _sort_key(line: str) -> tuple[bool, str]:
    return not line.startswith("import "), line


def _say_of_rewards(parts: _Parts, texts: list[str]) -> None:
    if any(not one.startswith("one_by_one") for one in parts.calls):
        parts.lost.append("A reward of a whole group gets the whole batch at once.")
    if any("grpo_core.programs" in text for text in texts):
        parts.lost.append("grpo_core.programs runs only in the sandbox: a reward with it fails.")
    if any("grpo_core" in text for text in texts):
        parts.lost.append("A reward file imports grpo_core: install GRPO Studio beside TRL.")


def _call(function: RewardFunction, number: int) -> str:
    is_batch = batch_forms(function.source).get(function.function, True)  # see `brought_in`
    wrapper = "all_at_once" if is_batch else "one_by_one"
    has_messages = function.completion_format == "messages"
    return f"{wrapper}(reward_{number}, {function.name!r}, messages={has_messages})"


def _add_penalty(config: RunConfig, parts: _Parts) -> None:
    """DAPO's soft punishment of long completions, which is a reward function of TRL's."""
    algorithm, limit = config.algorithm, config.rollout.max_new_tokens
    if algorithm.truncated != "penalize" or algorithm.overlong_penalty is None:
        return
    buffer = round((algorithm.overlong_buffer or 0.0) * limit)
    if buffer:
        parts.theirs.append("from trl.rewards import get_soft_overlong_punishment")
        arguments = f"max_completion_len={limit}, soft_punish_cache={buffer}"
        parts.calls.append(f"get_soft_overlong_punishment({arguments})")
    else:
        parts.calls.append(f"at_the_limit({limit})")
    parts.settings["reward_weights"].append(algorithm.overlong_penalty)
    parts.lost.append("The penalty for length is a reward function of its own, seen in the mean.")


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items())


def problem_lines(problems: Sequence[Problem], config: RunConfig, is_chat: bool) -> str:
    """`train.jsonl`: the prompt as TRL takes it, the reference answer, the data's columns.

    `is_chat`: the model has a chat template, so that prompts are messages.
    """
    lines = []
    for problem in problems:
        row = {**problem.row, "question": problem.question, "answer": problem.answer}
        row = {**row, "prompt": _prompt(problem, config, is_chat)}
        lines.append(json.dumps(row, default=str) + "\n")
    return "".join(lines)


def _prompt(problem: Problem, config: RunConfig, is_chat: bool) -> Any:
    data = config.data
    user = data.prompt_template.replace("{question}", problem.question)
    if not is_chat:
        return f"{data.system_prompt}\n\n{user}" if data.system_prompt else user
    system = [{"role": "system", "content": data.system_prompt}] if data.system_prompt else []
    return [*system, {"role": "user", "content": user}]
