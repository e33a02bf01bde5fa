"""Checkpoints that are complete or absent: `checkpoints/step_000100/`.

Written to a hidden folder beside it, every file synced, a manifest with sizes and SHA-256 last,
then one rename. Reading walks from the newest to the oldest and takes the first whose manifest
holds. No pickle: weights, optimizer and random states are safetensors, the rest is JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from grpo_core.learner import Learner
from grpo_core.runs import Run

MANIFEST = "MANIFEST.json"
OPTIMIZER, CRITIC = "optimizer.safetensors", "critic.safetensors"
CRITIC_OPTIMIZER, REFERENCE = "critic_optimizer.safetensors", "reference.safetensors"


@dataclass
class Position:
    """Where a run is, beside its weights."""

    step: int
    reward_version: str
    config: dict[str, Any]
    """The settings in force, changes made on the way included."""
    skipped_in_row: int = 0
    """Updates skipped one after another because something was not finite."""
    faulty_in_row: int = 0
    """Steps one after another in which reward code mostly failed."""
    python_rng: list[Any] = field(default_factory=list)


def save(folder: Path, learner: Learner, position: Position) -> Path:
    """Write the checkpoint of `position.step`. After an OSError nothing is left of it."""
    target = folder / f"step_{position.step:06d}"
    temporary = folder / f".tmp-{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        learner.policy.model.save_pretrained(temporary / "model")
        learner.policy.tokenizer.save_pretrained(temporary / "model")
        save_file(_optimizer_tensors(learner.optimizer), temporary / OPTIMIZER)
        if learner.critic is not None and learner.critic_optimizer is not None:
            save_file(_weights(learner.critic), temporary / CRITIC)
            save_file(_optimizer_tensors(learner.critic_optimizer), temporary / CRITIC_OPTIMIZER)
        if learner.moving is not None:
            save_file(learner.moving.masters, temporary / REFERENCE)
        save_file(_random_states(), temporary / "random.safetensors")
        version, internal, gauss = random.getstate()
        position.python_rng = [version, list(internal), gauss]
        (temporary / "position.json").write_text(json.dumps(asdict(position)), encoding="utf-8")
        _seal(temporary, position.step)
        if target.exists():  # a damaged one, which a resume has passed over
            shutil.rmtree(target)
        temporary.rename(target)
        _sync(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def _seal(folder: Path, step: int) -> None:
    """Sync every file, write the manifest of them, sync that and the folders."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        _sync(path)
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": _digest(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"format": 1, "step": step, "files": files}), encoding="utf-8")
    _sync(manifest)
    for inner in [p for p in folder.rglob("*") if p.is_dir()]:
        _sync(inner)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- finding and retiring ----------------------------------------------------------------------


def problem_with(folder: Path) -> str | None:
    """Why a checkpoint cannot be trusted, None when it can."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        if manifest["format"] != 1:
            return f"its format is {manifest['format']}, this version reads 1"
        for name, facts in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != facts["size"]:
                return f"{name} is missing or has another size"
            if _digest(path) != facts["sha256"]:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest is missing or damaged"
    return None


def newest_first(folder: Path) -> Iterator[Path]:
    """All checkpoint folders, complete or not, the newest first."""
    return iter(sorted(folder.glob("step_[0-9]*"), reverse=True))


def latest(folder: Path, on_skip: Callable[[Path, str], None]) -> Path | None:
    """The newest checkpoint that is whole; `on_skip(path, reason)` hears of each passed over."""
    for path in newest_first(folder):
        reason = problem_with(path)
        if reason is None:
            return path
        on_skip(path, reason)
    return None


def whole_one(run: Run, step: int | None) -> tuple[Path, list[str]]:
    """The newest whole checkpoint of a run, or that of `step`, and what is wrong with newer ones;
    ValueError that names those there are."""
    known = list(newest_first(run.checkpoints))
    wanted = [path for path in known if step is None or path.name == f"step_{step:06d}"]
    damaged: list[str] = []
    for path in wanted:
        reason = problem_with(path)
        if reason is None:
            return path, damaged
        damaged.append(f"{path.name}: {reason}")
    there = ", ".join(path.name.removeprefix("step_").lstrip("0") or "0" for path in known)
    if damaged and len(known) > len(wanted):
        raise ValueError(f"{run.name}: {damaged[0]}; try another checkpoint (there are: {there})")
    if damaged:
        raise ValueError(
            f"{run.name}: no checkpoint is whole ({'; '.join(damaged)}); train it again from "
            f"{run.config_path}"
        )
    if known:
        raise ValueError(f"{run.name}: has no checkpoint of step {step}; there are: {there}")
    raise ValueError(
        f"{run.name}: has no checkpoint yet (it is {run.status()}); "
        f"`grpo-studio resume {run.name}` trains it on"
    )


def retire(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep`. Renamed first, so that none is ever seen half deleted."""
    for rubbish in [*folder.glob(".trash-*"), *folder.glob(".tmp-*")]:
        shutil.rmtree(rubbish, ignore_errors=True)
    for path in list(newest_first(folder))[keep:]:
        trash = folder / f".trash-{path.name}"
        path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def read_position(path: Path) -> Position:
    """Where the checkpoint stands."""
    return Position(**json.loads((path / "position.json").read_text(encoding="utf-8")))


# --- state that is not weights -------------------------------------------------------------------


def restore(path: Path, learner: Learner, position: Position) -> None:
    """All that the checkpoint holds beside the policy, whose weights come through `load_policy`."""
    _restore_optimizer(path / OPTIMIZER, learner.optimizer)
    if learner.critic is not None and learner.critic_optimizer is not None:
        _restore_weights(path / CRITIC, learner.critic)
        _restore_optimizer(path / CRITIC_OPTIMIZER, learner.critic_optimizer)
    if learner.moving is not None:
        learner.moving.restore(load_file(path / REFERENCE))
    states = load_file(path / "random.safetensors")
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        torch.cuda.set_rng_state_all([states[f"cuda{i}"] for i in devices if f"cuda{i}" in states])
    version, internal, gauss = position.python_rng
    random.setstate((version, tuple(internal), gauss))


def _restore_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    tensors = load_file(path)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor.clone()  # aligned as a fresh one is
    groups = optimizer.state_dict()["param_groups"]
    if state and max(state) >= len(parameters):
        raise ValueError(f"{path}: its optimizer state belongs to another model")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def _restore_weights(path: Path, model: torch.nn.Module) -> None:
    tensors = load_file(path)
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if tensors.keys() != weights.keys():
        raise ValueError(f"{path}: its weights belong to another model")
    for name, weight in weights.items():
        weight.copy_(tensors[name])


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Trained weights; tied ones stand once."""
    return {
        name: weight.detach().contiguous()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value.contiguous()
        for index, values in state.items()
        for key, value in values.items()
    }


def _random_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, value in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda{index}"] = value
    return states
