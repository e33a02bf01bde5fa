"""Whole runs of a random model: starting and killing them, and whether two are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from grpo_core import launch
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config
from grpo_core.runs import Run, find_run

DIGITS = "def digits(completion):\n    return sum(c.isdigit() for c in completion) / 10\n"


def make_recipe(model: Path, folder: Path) -> dict:
    """A recipe as nested dicts; each test changes what it is about."""
    (folder / "digits.py").write_text(DIGITS)
    return {
        "model": {"path": str(model), "precision": "fp32"},
        "rewards": [{"path": str(folder / "digits.py")}],
        "rollout": {"prompts_per_step": 4, "group_size": 4, "max_new_tokens": 12},
        "optim": {"learning_rate": 3e-3},
        "evaluation": {"every": 3, "num_problems": 8},
        "checkpoint": {"every": 2},
        "num_steps": 6,
        "seed": 1,
    }


def changed(recipe: dict, more: dict) -> dict:
    """`recipe` with `more` over it; of the model only what `more` names."""
    return {**recipe, **more, "model": {**recipe["model"], **more.get("model", {})}}


def train(runs_dir: Path, name: str, recipe: dict, **more):
    status = launch.start(runs_dir, name, parse_config({**recipe, **more}))
    return status, find_run(runs_dir, name)


def train_and_kill(runs_dir: Path, name: str, recipe: dict, after: int) -> Run:
    """A run in a process of its own, which dies at the end of step `after`."""
    code = (
        "import json, os, signal, sys, pathlib\n"
        "from grpo_core import launch\n"
        "from grpo_core.recipe import parse_config\n"
        "runs_dir, name, recipe, last = json.loads(sys.argv[1])\n"
        "def on_step(state, metrics):\n"
        "    if state.step == last and 'train/kl' in metrics:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "launch.start(pathlib.Path(runs_dir), name, parse_config(recipe), on_step)\n"
    )
    arguments = json.dumps([str(runs_dir), name, recipe, after])
    process = subprocess.Popen(
        [sys.executable, "-c", code, arguments], env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert process.wait(60) == -signal.SIGKILL
    run = find_run(runs_dir, name)
    assert run.status() == "crashed"
    return run


def metrics(run: Run) -> dict[tuple[int, str], float]:
    """Everything but times, speeds and memory."""
    with RunReader(run.db_path) as reader:
        rows = reader.metrics()["rows"]
    kept = {
        (r["step"], r["name"]): r["value"]
        for r in rows
        if not r["name"].startswith(("time", "perf"))
    }
    assert len(kept) == sum(not r["name"].startswith(("time", "perf")) for r in rows)  # no doubles
    return kept


def tensors(run: Run) -> dict[str, torch.Tensor]:
    """All of the newest checkpoint: weights, residuals, moments, the reference. Not the random
    states, which are those of the process: a run draws every number from seeds of its own."""
    newest = sorted(run.checkpoints.glob("step_*"))[-1]
    return {
        f"{file.relative_to(newest)}/{name}": tensor
        for file in newest.rglob("*.safetensors")
        if file.name != "random.safetensors"
        for name, tensor in load_file(file).items()
    }


def assert_same_run(one: Run, two: Run) -> None:
    """To the last bit."""
    assert metrics(one) == metrics(two)
    a, b = tensors(one), tensors(two)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name
