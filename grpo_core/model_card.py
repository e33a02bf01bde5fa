"""The README of an exported model: what it is, how it came about, how good it is, in the run's own
numbers (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import yaml

from grpo_core.config import RunConfig
from grpo_core.intervals import wilson
from grpo_core.reader import RunReader
from grpo_core.recipe import to_yaml
from grpo_core.rewards import RewardFunction
from grpo_core.runs import Run

MAX_POINTS = 24
"""Evaluations in the table."""
FEW_POINTS = 8
"""Where there are fewer, tenths of the run stand between them, with their rewards."""


@dataclass(frozen=True)
class Form:
    """In which form the weights leave."""

    kind: Literal["whole", "merged", "adapters"]
    half: bool
    """Whether the model was trained in bf16; adapters themselves are in fp32."""

    @property
    def sentence(self) -> str:
        """For people."""
        precision = "bf16" if self.half else "fp32"
        return {
            "whole": f"the whole model, in {precision}",
            "merged": "the model with its adapters merged, in fp32",
            "adapters": f"the adapters alone, for the model in {precision}",
        }[self.kind]


@dataclass(frozen=True)
class History:
    """What `run.db` says of a run up to a step."""

    step: int
    meta: dict[str, Any]
    evals: list[dict[str, Any]]
    rewards: list[tuple[int, float]]
    """`(step, mean reward of its completions)`."""
    num_changes: int
    """How often settings or rewards were changed on the way."""


def read_history(run: Run, step: int) -> History:
    """Raises ValueError where `run.db` cannot be read."""
    try:
        with RunReader(run.db_path) as reader:
            changes = reader.events(kinds=["setting", "reward_version"])
            return History(
                step=step,
                meta=reader.meta(),
                evals=[row for row in reader.evals() if row["step"] <= step],
                rewards=[point for point in reader.series("reward/mean") if point[0] <= step],
                num_changes=sum(
                    "command_id" in event["detail"] and event["step"] <= step for event in changes
                ),
            )
    except FileNotFoundError:
        why = "is missing"
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
        why = f"cannot be read ({error})"
    raise ValueError(
        f"{run.name}: {run.db_path} {why}, of which the model card is made; put back a whole one"
    )


def model_card(
    name: str,
    history: History,
    config: RunConfig,
    functions: Sequence[RewardFunction],
    form: Form,
) -> str:
    """Markdown with the front matter that hubs read."""
    parts = [
        _front_matter(config, form),
        f"# {name}",
        f"{_code(_base(config))} after {_times(history.step, 'step')} of reinforcement learning on "
        f"`{config.data.task}` problems, trained with GRPO Studio. This is {form.sentence}.",
        _use(form),
        "## Evaluation\n\n" + _evaluation(history),
        "## Curves\n\n" + _curves(history),
        "## Data\n\n" + _data(config),
        "## Training\n\n" + _training(config, history, form),
        "## Reward\n\n" + _reward(functions),
        "## Recipe\n\nAll settings, also in `recipe.yaml`, which GRPO Studio trains again; in "
        "`trl/`, where there is one, the same for TRL.\n\n" + _fenced(to_yaml(config), "yaml"),
    ]
    return "\n\n".join(parts) + "\n"


def _base(config: RunConfig) -> str:
    """What the run began with, without the folders of this machine."""
    path = config.model.path
    return path if path.startswith("bundled:") or is_on_hub(path) else Path(path).name


def is_on_hub(path: str) -> bool:
    """Whether a model's path is a name on the hub, as far as one can see here."""
    looks_so = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path, re.ASCII) and path[0] not in "./"
    return bool(looks_so) and not Path(path).exists()


def _front_matter(config: RunConfig, form: Form) -> str:
    facts: dict[str, Any] = {
        "library_name": "peft" if form.kind == "adapters" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["grpo", "reinforcement-learning", config.algorithm.name],
    }
    if is_on_hub(config.model.path):
        facts["base_model"] = config.model.path
    if config.data.task == "gsm8k" and config.data.path is None:
        facts["datasets"] = ["openai/gsm8k"]
    return f"---\n{yaml.safe_dump(facts, sort_keys=False).strip()}\n---"


def _use(form: Form) -> str:
    is_adapter = form.kind == "adapters"
    package, kind, dtype = "transformers", "AutoModelForCausalLM", ""
    if is_adapter:
        package, kind = "peft", "AutoPeftModelForCausalLM"
        dtype = ', dtype="bfloat16"' if form.half else ""
    lines = [
        f"from {package} import {kind}",
        "from transformers import AutoTokenizer",
        "",
        'folder = "."  # where this file is',
        f"model = {kind}.from_pretrained(folder{dtype})",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
    ]
    code = _fenced("\n".join(lines), "python")
    return code + "\n\nIt loads the model that `adapter_config.json` names." * is_adapter


# --- how good it is ------------------------------------------------------------------------------


def _evaluation(history: History) -> str:
    if not history.evals:
        return "Not measured."
    first, last = history.evals[0], history.evals[-1]
    said = f"{_share(last)} of {last['num_problems']:,} held-out problems are answered right"
    at = "" if last["step"] == history.step else f" at step {last['step']:,}"
    if first is not last and first["step"] == 0:
        said += f"{at}; before the training it was {_share(first)}"
    else:
        said += at
    return (
        f"{said}. One greedy completion a problem; in brackets Wilson's 95 % interval. No training "
        "step asks these problems."
    )


def _share(row: dict[str, Any]) -> str:
    return f"{row['num_correct'] / row['num_problems']:.1%} ({_interval(row)})"


def _interval(row: dict[str, Any]) -> str:
    low, high = wilson(row["num_correct"], row["num_problems"])
    return f"{low:.1%} to {high:.1%}"


def _curves(history: History) -> str:
    evals = {row["step"]: row for row in history.evals}
    marks = sorted(evals)
    if len(marks) < FEW_POINTS:
        tenths = {round(history.step * part / 10) for part in range(1, 11)}
        marks = sorted(evals.keys() | tenths - {0})
    every = max(1, -(-len(marks) // MAX_POINTS))
    marks = [mark for mark in marks[::every] if mark != marks[-1]] + marks[-1:]
    lines = ["| step | held-out accuracy | 95 % interval | mean reward |", "|--:|--:|--:|--:|"]
    for before, mark in zip([-1, *marks], marks, strict=False):
        row = evals.get(mark)
        share = f"{row['num_correct'] / row['num_problems']:.1%}" if row else ""
        since = [value for step, value in history.rewards if before < step <= mark]
        reward = f"{fmean(since):.3f}" if since else ""
        lines.append(f"| {mark:,} | {share} | {_interval(row) if row else ''} | {reward} |")
    return "\n".join(lines) + (
        "\n\nMean reward: of the sampled completions of all steps after the row above."
    )


# --- how it came about ---------------------------------------------------------------------------


def _data(config: RunConfig) -> str:
    data = config.data
    source = {"arithmetic": "generated by GRPO Studio"}.get(data.task, "`openai/gsm8k` on the hub")
    if data.path:
        source = f"from {_code(Path(data.path).name)}"
    parts = [f"`{data.task}`, {source}."]
    if data.prompt_template != "{question}":
        parts.append(f"A question is asked as\n\n{_fenced(data.prompt_template, 'text')}")
    if data.system_prompt:
        parts.append(f"after the system prompt\n\n{_fenced(data.system_prompt, 'text')}")
    return "\n\n".join(parts)


def _training(config: RunConfig, history: History, form: Form) -> str:
    rollout, optim, lora = config.rollout, config.optim, config.model.lora
    weights = f"LoRA, rank {lora.rank}, alpha {lora.alpha}" if lora else "all"
    facts = {
        **_algorithm(config),
        "a step": f"{rollout.prompts_per_step} prompts with {rollout.group_size} completions each",
        "completions": f"up to {rollout.max_new_tokens:,} tokens at temperature "
        f"{rollout.temperature:g}, top-p {rollout.top_p:g}",
        "updates of a step": f"{optim.updates_per_rollout * optim.minibatches}",
        "optimizer": f"AdamW, learning rate {optim.learning_rate:g}",
        "weights": f"{weights}; trained in {'bf16' if form.half else 'fp32'}",
        "device": str(history.meta.get("device", "unknown")),
        "seed": str(config.seed),
    }
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items())
    changed = (
        f"\n\nSettings or rewards were changed {_times(history.num_changes, 'time')} on the way; "
        "these are the last ones."
        if history.num_changes
        else ""
    )
    return f"| | |\n|---|---|\n{rows}{changed}"


def _algorithm(config: RunConfig) -> dict[str, str]:
    algorithm = config.algorithm
    bounds = [f"{one:g}" for one in (algorithm.clip_low, algorithm.clip_high) if one is not None]
    clipping = f"`{algorithm.clipping}` {' / '.join(bounds)}".strip()
    weight = algorithm.kl_coefficient or 0.0
    return {
        "algorithm": f"`{algorithm.name}`",
        "advantage": f"`{algorithm.advantage}`",
        "loss": f"ratio `{algorithm.ratio_level}`, clipping {clipping}, "
        f"aggregation `{algorithm.aggregation}`",
        "KL": f"{weight:g} × `{algorithm.kl_estimator}` in the {algorithm.kl_place}, against "
        f"`{algorithm.kl_reference}`"
        if weight
        else "none",
    }


def _reward(functions: Sequence[RewardFunction]) -> str:
    said = "The weighted sum of" if len(functions) > 1 else "What is trained for:"
    names = ", ".join(f"{one.weight:g} × {_code(one.name)}" for one in functions)
    of_text: dict[str, list[str]] = {}
    for one in functions:
        of_text.setdefault(one.source, []).append(_code(one.name))
    texts = (f"### {', '.join(of)}\n\n{_fenced(text, 'python')}" for text, of in of_text.items())
    return "\n\n".join([f"{said} {names}.", *texts])


# --- text that may be anything -------------------------------------------------------------------


def _fenced(text: str, language: str) -> str:
    """A block of code whose fence no line of it can close."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def _code(text: str) -> str:
    """Code in a line, which cannot end before its end."""
    text = " ".join(text.split()) or "(empty)"
    fence = _fence(text, 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(least, longest + 1)


def _times(num: int, what: str) -> str:
    return f"{num:,} {what}{'s' * (num != 1)}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
