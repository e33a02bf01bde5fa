"""The README of an exported model: what it is, how it came about, how good it is, in the run's own
numbers (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from grpo_core.config import RunConfig
from grpo_core.intervals import wilson
from grpo_core.reader import RunReader
from grpo_core.recipe import to_yaml
from grpo_core.rewards import RewardFunction
from grpo_core.runs import Run

MAX_POINTS = 24
"""Evaluations in the table."""


def model_card(
    run: Run, step: int, config: RunConfig, functions: Sequence[RewardFunction], is_adapter: bool
) -> str:
    """Markdown with the front matter that hubs read."""
    with RunReader(run.db_path) as reader:
        meta = reader.meta()
        curve = [row for row in reader.evals() if row["step"] <= step]
    parts = [
        _front_matter(config, is_adapter),
        f"# {run.name}",
        f"`{config.model.path}` after {step} steps of reinforcement learning with "
        f"{config.algorithm.name} ({config.algorithm.advantage} advantages) on "
        f"`{config.data.task}`, trained with GRPO Studio.",
        _use(is_adapter),
        "## Held-out accuracy\n\n" + _accuracy(curve),
        "## Training\n\n" + _settings(config, meta),
        "## Rewards\n\n" + "\n\n".join(_reward(function) for function in functions),
        "## Recipe\n\n" + _fenced(to_yaml(config).strip(), "yaml"),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(config: RunConfig, is_adapter: bool) -> str:
    facts: dict[str, Any] = {
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["grpo", "reinforcement-learning", config.algorithm.name],
    }
    if _is_on_hub(config.model.path):
        facts["base_model"] = config.model.path
    return f"---\n{yaml.safe_dump(facts, sort_keys=False).strip()}\n---"


def _is_on_hub(path: str) -> bool:
    return not path.startswith("bundled:") and not Path(path).exists() and path.count("/") < 2


def _use(is_adapter: bool) -> str:
    if is_adapter:
        code = (
            "from peft import AutoPeftModelForCausalLM\n\n"
            "# the base model is the one that adapter_config.json names\n"
            'model = AutoPeftModelForCausalLM.from_pretrained(".")'
        )
    else:
        code = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained(".")\n'
            'tokenizer = AutoTokenizer.from_pretrained(".")'
        )
    return _fenced(code, "python")


def _accuracy(curve: list[dict[str, Any]]) -> str:
    """One greedy completion a problem, with Wilson's 95 % interval."""
    if not curve:
        return "Not measured."
    every = max(1, -(-len(curve) // MAX_POINTS))
    kept = [row for index, row in enumerate(curve) if index % every == 0 or row is curve[-1]]
    lines = ["| step | accuracy | 95 % interval | problems |", "|--:|--:|--:|--:|"]
    for row in kept:
        low, high = wilson(row["num_correct"], row["num_problems"])
        share = row["num_correct"] / row["num_problems"]
        lines.append(
            f"| {row['step']:,} | {share:.1%} | {low:.1%} to {high:.1%} | {row['num_problems']:,} |"
        )
    return "\n".join(lines)


def _settings(config: RunConfig, meta: dict[str, Any]) -> str:
    rollout, optim, algorithm = config.rollout, config.optim, config.algorithm
    facts = {
        "data": f"`{config.data.task}`"
        + (f", {Path(config.data.path).name}" if config.data.path else ""),
        "a step": f"{rollout.prompts_per_step} prompts with {rollout.group_size} completions each",
        "completions": f"up to {rollout.max_new_tokens:,} tokens at temperature "
        f"{rollout.temperature:g}",
        "updates of a rollout": f"{optim.updates_per_rollout * optim.minibatches}",
        "learning rate": f"{optim.learning_rate:g}",
        "KL": f"{algorithm.kl_coefficient or 0:g} × {algorithm.kl_estimator or 'none'}, in the "
        f"{algorithm.kl_place or 'loss'}"
        if algorithm.kl_coefficient
        else "none",
        "device": str(meta.get("device", "unknown")),
        "seed": str(config.seed),
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"| | |\n|---|---|\n{rows}"


def _reward(function: RewardFunction) -> str:
    title = f"### {function.name}, weight {function.weight:g}"
    return f"{title}\n\n{_fenced(function.source.strip(), 'python')}"


def _fenced(text: str, language: str) -> str:
    """A block of code whose fence no line of it can close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
