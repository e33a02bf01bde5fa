"""A run's model as a folder that the library, and whatever builds on it, loads like any other; with
a model card, the recipe, and the same training for TRL.

All is read and worked out first, then written beside the target, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel

from grpo_core import checkpoint
from grpo_core.adapters import SETTINGS, WEIGHTS
from grpo_core.config import RunConfig
from grpo_core.model_card import Form, model_card, read_history
from grpo_core.policy import halve, load_model, model_folder
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
    form: Form
    skipped: list[str]
    """Newer checkpoints that are damaged, and how."""
    lost: list[str]
    """What the script for TRL cannot say, a sentence each; where there is none, why."""
    has_script: bool


def export(run: Run, target: Path, step: int | None = None, as_adapter: bool = False) -> Exported:
    """Write the model of a checkpoint (the newest whole one, or that of `step`) into `target`,
    which must be free or an empty folder. All of it appears at once or not at all.

    The weights are what the trainer had: in bf16 where it trained in bf16. Adapters are merged in
    fp32, because bf16 would round away what they have learned, or stay adapters. Raises ValueError
    that says what to do where the run is live, has no such checkpoint, or lacks something that is
    needed, and where the folder cannot be written.
    """
    if run.is_live():  # it removes checkpoints while we read them
        raise ValueError(
            f"{run.name}: is {run.status()}; stop it first (`grpo-studio stop {run.name}`), "
            f"`grpo-studio resume {run.name}` goes on from there"
        )
    target = _free(target)
    source, skipped = checkpoint.whole_one(run, step)
    position = checkpoint.read_position(source)
    config = parse_config(position.config, source.name)
    functions = load_version(run.rewards, position.reward_version)
    history = read_history(run, position.step)
    precision = history.meta.get("precision")
    half = precision == "bf16" if precision else wants_half(config.model.precision)
    form = _form(run, config, as_adapter, half)
    merged = _merge(config.model.path, source / "model", half) if form.kind == "merged" else None
    texts, lost = _trl_files(run.name, source / "model", config, functions)
    has_script = bool(texts)
    texts["README.md"] = model_card(run.name, history, config, functions, form)
    texts["recipe.yaml"] = to_yaml(config)
    if form.kind == "adapters":
        texts[SETTINGS] = _adapter_settings(source / "model", config)
    _place(source / "model", target, merged, texts)
    return Exported(target, position.step, form, skipped, lost, has_script)


def _place(
    saved: Path, target: Path, merged: PreTrainedModel | None, texts: dict[str, str]
) -> None:
    """What was saved, with the merged model in place of its adapters, and `texts` by path, at once;
    after a ValueError nothing of it is there."""
    temporary = target.with_name(f".{target.name}.partial-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        if merged is None:
            shutil.copytree(saved, temporary)
        else:
            adapters = shutil.ignore_patterns(SETTINGS, WEIGHTS)
            shutil.copytree(saved, temporary, ignore=adapters)
            merged.save_pretrained(temporary)
        for name, text in texts.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_text(text, encoding="utf-8")
        os.rename(temporary, target)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(
            f"{target}: cannot be written: {why}; nothing of it was kept, make room or name "
            "another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _free(target: Path) -> Path:
    """The target without links and dots; ValueError where it is taken or has no parent."""
    whole = target.resolve()
    try:
        if whole.exists() and (not whole.is_dir() or any(whole.iterdir())):
            raise ValueError(f"{target}: is there already; name a folder that is not, or empty it")
        if not whole.parent.is_dir():
            raise ValueError(f"{target}: there is no folder {whole.parent}; make it first")
    except OSError as error:
        raise ValueError(f"{target}: cannot be read: {error.strerror}") from None
    return whole


# --- the model -----------------------------------------------------------------------------------


def _form(run: Run, config: RunConfig, as_adapter: bool, half: bool) -> Form:
    if config.model.lora is not None:
        return Form("adapters" if as_adapter else "merged", half)
    if as_adapter:
        raise ValueError(
            f"{run.name}: has no adapters, it trained the weights themselves; leave out --adapter"
        )
    return Form("whole", half)


def _adapter_settings(saved: Path, config: RunConfig) -> str:
    """As the library wants them for loading by the folder's name alone."""
    settings = json.loads((saved / SETTINGS).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = _base(config)
    return json.dumps({**settings, "task_type": "CAUSAL_LM", "inference_mode": True}, indent=2)


def _base(config: RunConfig) -> str:
    """Where the run's first weights are: a folder, else the hub's name for them."""
    folder = Path(model_folder(config.model.path))
    return str(folder.resolve()) if folder.is_dir() else config.model.path


def _merge(path: str, saved: Path, half: bool) -> PreTrainedModel:
    """The adapters added to the weights they were trained on; bf16 ones are what they round to."""
    model = load_model(model_folder(path), path)
    if half:
        halve(model)
        model.float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks for a name that transformers drops
        try:
            adapted: Any = peft.PeftModel.from_pretrained(model, str(saved))
        except RuntimeError:  # it says which of a hundred shapes do not fit
            raise ValueError(
                f"model.path: the adapters do not fit {path}, which has changed since the run "
                "began; put it back, or export the adapters alone (--adapter)"
            ) from None
    merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged


# --- the same training for TRL -------------------------------------------------------------------


def _trl_files(
    name: str, saved: Path, config: RunConfig, functions: list[RewardFunction]
) -> tuple[dict[str, str], list[str]]:
    """The script with its rewards and problems, by path, and what TRL cannot express; no files and
    the reason where TRL cannot come near, or where the data are gone."""
    try:
        translated = in_trl(config)
        problems = load_task(config.data, config.evaluation.num_problems).train
    except ValueError as error:
        return {}, [str(error)]
    is_chat = AutoTokenizer.from_pretrained(saved).chat_template is not None
    files, lost = script_files(name, _base(config), config, translated, functions)
    files["train.jsonl"] = problem_lines(problems, config, is_chat)
    return {f"trl/{file}": text for file, text in files.items()}, lost
