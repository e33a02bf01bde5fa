"""Whom an evaluation asks: a run's checkpoint, the model that a run began with, or any model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils.hub import cached_file

from grpo_core import checkpoint
from grpo_core.config import ModelConfig, RunConfig
from grpo_core.policy import Policy, load_policy, model_folder
from grpo_core.prepare import wants_half
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, parse_config
from grpo_core.runs import Run, find_run, list_runs

_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Of files that say what a model is."""


@dataclass(frozen=True)
class Target:
    """A model, and the run it belongs to."""

    model: ModelConfig
    fingerprint: str
    run: Run | None = None
    step: int | None = None
    config: RunConfig | None = None
    """The run's settings in force at that step."""
    began: float | None = None
    """When the run began (seconds since the epoch)."""
    weights: Path | None = None
    """The checkpoint's folder with the model or its adapters; None at the start of a run."""

    def load(self, device: torch.device) -> Policy:
        """The policy, only to be sampled. ValueError where it cannot be loaded."""
        half, lora = wants_half(self.model.precision), self.model.lora
        if self.weights is None:
            return load_policy(self.model.path, device, None, half, None, is_trained=False)
        if lora is None:
            return load_policy(str(self.weights), device, None, half, None, is_trained=False)
        return load_policy(self.model.path, device, self.weights, half, lora, is_trained=False)


def find_target(runs_dir: Path, text: str) -> Target:
    """`RUN` (its newest whole checkpoint), `RUN@STEP` (`@0`: as it began), or a model: a folder, a
    hub id, `bundled:tiny`. ValueError where there is no such thing."""
    name, at, step = text.rpartition("@")
    if at and step.isdecimal() and _is_run(runs_dir, name):
        return target_of_run(find_run(runs_dir, name), int(step))
    if _is_run(runs_dir, text):
        return target_of_run(find_run(runs_dir, text), None)
    if (Path(text) / "config.yaml").is_file():
        raise ValueError(f"{text}: is the folder of a run; say its name, {Path(text).name}")
    if not (text.startswith("bundled:") or (text and Path(text).is_dir()) or text.count("/") == 1):
        there = ", ".join(run.name for run in list_runs(runs_dir)) or "none"
        raise ValueError(
            f"{text}: neither a run in {runs_dir} (there: {there}), nor RUN@STEP, nor a folder "
            "with a model, nor a hub id such as owner/name"
        )
    return target_of_model(ModelConfig(path=_absolute(text)))


def target_of_run(run: Run, step: int | None) -> Target:
    """A checkpoint of a run, the newest whole one where no step is said."""
    if step == 0:
        config = load_recipe(run.config_path)
        model = config.model.model_copy(update={"lora": None})
        return Target(model, fingerprint(model.path), run, 0, config, began(run))
    path, _ = checkpoint.whole_one(run, step)
    position = checkpoint.read_position(path)
    config = parse_config(position.config, path.name)
    digest = hashlib.sha256((path / checkpoint.MANIFEST).read_bytes()).hexdigest()[:24]
    if config.model.lora is not None:  # the checkpoint holds the adapters alone
        digest += f" {fingerprint(config.model.path)}"
    return Target(config.model, digest, run, position.step, config, began(run), path / "model")


def began(run: Run) -> float | None:
    """When a run began, None before its first word."""
    if not run.db_path.exists():
        return None
    with RunReader(run.db_path) as reader:
        return reader.began()


def target_of_model(model: ModelConfig) -> Target:
    """A model that no run trained."""
    return Target(model, fingerprint(model.path))


def fingerprint(path: str) -> str:
    """Of a model's files: names, sizes and times, or the hub's commit. ValueError without them."""
    folder = Path(model_folder(path))
    if not folder.is_dir():
        try:
            found = cached_file(path, "config.json")
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()).split(". ")[0][:200]
            raise ValueError(
                f"{path}: is no folder here and cannot be had from the hub ({reason}); check the "
                "name and the network, or name a folder"
            ) from None
        return f"commit {Path(str(found)).parent.name}"
    facts = [
        f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix in _SUFFIXES
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).is_dir() else path


def _is_run(runs_dir: Path, name: str) -> bool:
    return any(run.name == name for run in list_runs(runs_dir))
