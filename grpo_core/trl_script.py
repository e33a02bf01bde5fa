"""A run as a folder that TRL can train from: a script, the rewards, the problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from grpo_core.config import RunConfig
from grpo_core.records import Problem
from grpo_core.rewards import RewardFunction, batch_forms
from grpo_core.trl_settings import InTrl

_HEAD = '''"""Train with TRL what {name} trained: pip install trl datasets{needs}

What TRL cannot express, or means otherwise:
{lost}
"""

import inspect

import torch  # noqa: F401
from datasets import load_dataset
{imports}
from trl import GRPOConfig, GRPOTrainer


def said(one):
    """The text of a prompt or a completion, a text itself or chat messages."""
    return one if isinstance(one, str) else one[-1]["content"]


def wanted(function, known):
    """Of what is known, what a function asks for by name."""
    asked = inspect.signature(function).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in asked.values())
    return known if takes_all else {{key: known[key] for key in asked if key in known}}


def one_by_one(function, name, messages):
    """A function of one completion, called as TRL calls: for all of them."""

    def call(prompts, completions, trainer_state=None, **columns):
        lists = {{key: value for key, value in columns.items() if isinstance(value, list)}}
        given = []
        for index, completion in enumerate(completions):
            known = {{key: value[index] for key, value in lists.items()}}
            prompt = prompts[index]
            known |= {{"prompt": prompt, "completion": completion}} if messages else {{
                "prompt": said(prompt), "completion": said(completion)
            }}
            known["step"] = trainer_state.global_step if trainer_state else 0
            given.append(function(**wanted(function, known)))
        return given

    call.__name__ = name
    return call


def at_the_limit(limit):
    """-1 for a completion that is as long as it may be."""

    def call(completion_ids, **columns):
        return [-1.0 if len(ids) >= limit else 0.0 for ids in completion_ids]

    return call


def all_at_once(function, name, messages):
    """A function of all completions of a batch."""

    def call(prompts, completions, trainer_state=None, **columns):
        known = {{**columns, "prompts": prompts, "completions": completions}}
        if not messages:
            known["prompts"] = [said(one) for one in prompts]
            known["completions"] = [said(one) for one in completions]
        known["step"] = trainer_state.global_step if trainer_state else 0
        return function(**wanted(function, known))

    call.__name__ = name
    return call

'''
_BODY = """
args = GRPOConfig(
    output_dir="trained",
{settings}
)
trainer = GRPOTrainer(
    model={model!r},
    reward_funcs=[
{functions}
    ],
    args=args,
    train_dataset=load_dataset("json", data_files="train.jsonl", split="train"),{lora}
)

if __name__ == "__main__":
    trainer.train()
"""


def script_files(
    name: str,
    model: str,
    config: RunConfig,
    translated: InTrl,
    functions: Sequence[RewardFunction],
) -> dict[str, str]:
    """`train_trl.py` and a module for each reward file, by name. `model`: a folder or a hub id."""
    texts = list(dict.fromkeys(function.source for function in functions))
    imports, calls, lost = [], [], list(translated.lost)
    for number, function in enumerate(functions, start=1):
        imports.append(
            f"from reward_file_{texts.index(function.source) + 1} import {function.function} as "
            f"reward_{number}"
        )
        calls.append(_call(function, number))
    if any(not one.startswith("one_by_one") for one in calls):
        lost.append("A reward of a whole group gets the whole batch at once.")
    if any("grpo_core.programs" in text for text in texts):
        lost.append("grpo_core.programs runs only in the sandbox: a reward that uses it fails.")
    if any("grpo_core" in text for text in texts):
        lost.append("A reward file imports grpo_core: install GRPO Studio beside TRL.")
    settings = {**translated.settings, "reward_weights": [one.weight for one in functions]}
    _add_penalty(config, imports, calls, settings, lost)
    lora = ""
    if translated.lora:
        imports.insert(0, "from peft import LoraConfig")
        lora = f"\n    peft_config=LoraConfig({_arguments(translated.lora)}),"
    half = {"fp32": "False", "bf16": "True"}.get(config.model.precision)
    bf16 = f"    bf16={half or 'torch.cuda.is_available()'},"
    head = _HEAD.format(
        name=name,
        needs=" peft" if lora else "",
        lost="\n".join(f"- {one}" for one in lost),
        imports="\n".join(imports),
    )
    body = _BODY.format(
        settings="\n".join([*(f"    {key}={value!r}," for key, value in settings.items()), bf16]),
        model=model,
        functions="\n".join(f"        {call}," for call in calls),
        lora=lora,
    )
    modules = {f"reward_file_{number}.py": text for number, text in enumerate(texts, start=1)}
    return {"train_trl.py": head + body, **modules}


def _call(function: RewardFunction, number: int) -> str:
    is_batch = batch_forms(function.source).get(function.function, True)  # see `brought_in`
    wrapper = "all_at_once" if is_batch else "one_by_one"
    has_messages = function.completion_format == "messages"
    return f"{wrapper}(reward_{number}, {function.name!r}, messages={has_messages})"


def _add_penalty(
    config: RunConfig,
    imports: list[str],
    calls: list[str],
    settings: dict[str, Any],
    lost: list[str],
) -> None:
    """DAPO's soft punishment of long completions, which is a reward function of TRL's."""
    algorithm, limit = config.algorithm, config.rollout.max_new_tokens
    if algorithm.truncated != "penalize" or algorithm.overlong_penalty is None:
        return
    buffer = round((algorithm.overlong_buffer or 0.0) * limit)
    if buffer:
        imports.append("from trl.rewards import get_soft_overlong_punishment")
        arguments = f"max_completion_len={limit}, soft_punish_cache={buffer}"
        calls.append(f"get_soft_overlong_punishment({arguments})")
    else:
        calls.append(f"at_the_limit({limit})")
    settings["reward_weights"] = [*settings["reward_weights"], algorithm.overlong_penalty]
    lost.append("The penalty for length is a reward function of its own and shows in the mean.")


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
