"""A run's model as a folder that the library, and whatever builds on it, loads like any other; with
a model card, the recipe, and the same training for TRL.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from grpo_core import checkpoint
from grpo_core.adapters import SETTINGS
from grpo_core.config import RunConfig
from grpo_core.model_card import model_card
from grpo_core.policy import model_folder
from grpo_core.prepare import wants_half
from grpo_core.recipe import parse_config, to_yaml
from grpo_core.rewards import RewardFunction, load_version
from grpo_core.runs import Run
from grpo_core.tasks import load_task
from grpo_core.trl_script import problem_lines, script_files
from grpo_core.trl_settings import in_trl


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    step: int
    form: str
    """For people: whole, merged or adapters, and in which precision."""
    notes: list[str]
    """What is not there, and why."""


def export(run: Run, target: Path, step: int | None = None, as_adapter: bool = False) -> Exported:
    """Write the model of a checkpoint (the newest whole one, or that of `step`) into `target`,
    which must not exist yet. All of it appears at once or not at all.

    The weights are what the trainer had: in bf16 where it trained in bf16. Adapters are merged in
    fp32, because bf16 would round away what they have learned, or stay adapters. Raises ValueError
    where there is no such checkpoint, or where the folder cannot be written.
    """
    source = _checkpoint(run, step)
    position = checkpoint.read_position(source)
    config = parse_config(position.config, source.name)
    if as_adapter and config.model.lora is None:
        raise ValueError(f"{run.name} has no adapters: it trained the weights themselves")
    functions = load_version(run.rewards, position.reward_version)
    temporary = _beside(target)
    try:
        form = _write_model(source / "model", temporary, config, as_adapter)
        card = model_card(run, position.step, config, functions, as_adapter)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        (temporary / "recipe.yaml").write_text(to_yaml(config), encoding="utf-8")
        notes = _write_trl(temporary / "trl", run.name, config, functions)
        os.rename(temporary, target)
    except OSError as error:
        raise ValueError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(target, position.step, form, notes)


def _checkpoint(run: Run, step: int | None) -> Path:
    """A whole checkpoint; ValueError that names those there are."""
    known = list(checkpoint.newest_first(run.checkpoints))
    wanted = [path for path in known if step is None or path.name == f"step_{step:06d}"]
    reasons = []
    for path in wanted:
        reason = checkpoint.problem_with(path)
        if reason is None:
            return path
        reasons.append(f"{path.name}: {reason}")
    if reasons:
        raise ValueError(f"{run.name}: no checkpoint is whole; {'; '.join(reasons)}")
    there = ", ".join(str(int(path.name.removeprefix("step_"))) for path in known)
    if step is not None and known:
        raise ValueError(f"{run.name}: has no checkpoint of step {step}; there are: {there}")
    raise ValueError(f"{run.name}: has no checkpoint yet (it is {run.status()})")


def _beside(target: Path) -> Path:
    """A hidden folder next to the target; ValueError where the target is taken or has no parent."""
    if target.exists():
        raise ValueError(f"{target}: is there already; name a folder that is not")
    if not target.parent.is_dir():
        raise ValueError(f"{target}: {target.parent} is not a folder")
    temporary = target.with_name(f".{target.name}.partial-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    return temporary


# --- the model -----------------------------------------------------------------------------------


def _write_model(saved: Path, target: Path, config: RunConfig, as_adapter: bool) -> str:
    if config.model.lora is None:
        shutil.copytree(saved, target)
        return f"whole model, {_precision(config)}"
    base = _base(config)
    if as_adapter:
        shutil.copytree(saved, target)
        settings = json.loads((target / SETTINGS).read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = base
        (target / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        return f"adapters of {base}"
    _merge(base, saved, wants_half(config.model.precision)).save_pretrained(target)
    AutoTokenizer.from_pretrained(saved).save_pretrained(target)
    return "adapters merged into the model, fp32"


def _base(config: RunConfig) -> str:
    """Where the run's first weights are: a folder, else the hub's name for them."""
    folder = Path(model_folder(config.model.path))
    return str(folder.resolve()) if folder.is_dir() else config.model.path


def _precision(config: RunConfig) -> str:
    return "bf16" if wants_half(config.model.precision) else "fp32"


def _merge(base: str, saved: Path, half: bool) -> PreTrainedModel:
    """The adapters added to the weights they were trained on; bf16 ones are what they round to."""
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        base, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    if half:
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()
    adapted: Any = peft.PeftModel.from_pretrained(model, str(saved))
    merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged


# --- the same training for TRL -------------------------------------------------------------------


def _write_trl(
    folder: Path, name: str, config: RunConfig, functions: list[RewardFunction]
) -> list[str]:
    """The script with its rewards and problems; what TRL cannot express, or why there is none."""
    try:
        translated = in_trl(config)
        problems = load_task(config.data, config.evaluation.num_problems).train
    except ValueError as error:
        return [f"no TRL script: {error}"]
    is_chat = AutoTokenizer.from_pretrained(folder.parent).chat_template is not None
    model = _base(config)
    folder.mkdir()
    for file, text in script_files(name, model, config, translated, functions).items():
        (folder / file).write_text(text, encoding="utf-8")
    lines = problem_lines(problems, config, is_chat)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    return translated.lost
