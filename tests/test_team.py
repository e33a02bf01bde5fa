"""Two processes (gloo, on the CPU, through `accelerate launch`) are one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from two_processes import CASES

from grpo_core.reader import RunReader
from grpo_core.runs import Command, Run, find_run
from grpo_core.team import Team

TESTS = Path(__file__).parent


def command_of(num: int, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """`accelerate launch` of a script or module in `num` processes of one thread each."""
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    # --cpu would want MPI; --multi_gpu starts one process for each rank, with or without GPUs
    command += ["--multi_gpu"] if num > 1 else ["--cpu"]
    command += ["--num_processes", str(num), "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0"]
    here = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    env = {**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    return [*command, *arguments], env


def launch(num: int, *arguments: str) -> None:
    """Run it to its end."""
    command, env = command_of(num, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def outputs(random_model, tmp_path_factory):
    folders = {}
    for num in (1, 2):
        folders[num] = tmp_path_factory.mktemp(f"processes{num}")
        launch(num, str(TESTS / "two_processes.py"), str(random_model), str(folders[num]))
    return folders


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_two_processes_give_the_loss_and_gradients_of_one(outputs, case):
    one, two = (json.loads((folder / f"{case}.json").read_text()) for folder in outputs.values())
    assert (one.pop("num_processes"), two.pop("num_processes")) == (1, 2)
    assert one.keys() == two.keys() and {"train/loss", "train/grad_norm"} <= one.keys()
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    one, two = (load_file(folder / f"{case}.safetensors") for folder in outputs.values())
    assert one.keys() == two.keys()
    for name, expected in one.items():
        assert expected.dtype == torch.float64
        assert torch.allclose(two[name], expected, rtol=0, atol=1e-12), name
    assert max(float(x.abs().max()) for x in one.values()) > 1e-3


@pytest.mark.slow
def test_a_whole_run_in_two_processes(random_model, tmp_path):
    """Sampling, rewards, evaluation and the run folder: one run, not two."""
    recipe = {
        "model": {"path": str(random_model)},
        "algorithm": {"name": "ppo"},
        "rollout": {"prompts_per_step": 3, "group_size": 2, "max_new_tokens": 8},
        "evaluation": {"every": 2, "num_problems": 7},
        "num_steps": 2,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    where = ("--runs-dir", str(tmp_path))
    launch(
        2, "-m", "grpo_core.cli", "train", str(tmp_path / "recipe.yaml"), "--name", "one", *where
    )
    run = find_run(tmp_path, "one")
    assert run.status() == "completed"
    with RunReader(run.db_path) as reader:
        assert reader.meta()["num_processes"] == 2
        assert [row["num_problems"] for row in reader.evals()] == [7, 7]
        groups = reader.groups(2)
        assert len(groups) == 3 and all(len(group["rollouts"]) == 2 for group in groups)
        texts = [one["text"] for group in groups for one in group["rollouts"]]
        assert len(set(texts)) == len(texts), "the processes sampled with the same seed"
    run.send(Command("set", {"overrides": ["num_steps=3"]}))
    launch(2, "-m", "grpo_core.cli", "resume", "one", *where)
    with RunReader(run.db_path) as reader:
        assert [row["step"] for row in reader.steps()] == [1, 2, 3]


@pytest.mark.slow
def test_a_signal_to_all_stops_the_run_with_a_checkpoint(random_model, tmp_path):
    """A launcher hands SIGTERM to every process, and so does a cluster that wants its machine."""
    recipe = {
        "model": {"path": str(random_model)},
        "rollout": {"prompts_per_step": 2, "group_size": 2, "max_new_tokens": 8},
        "evaluation": {"every": 1000, "num_problems": 2},
        "checkpoint": {"every": 1000},
        "num_steps": 100_000,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ("-m", "grpo_core.cli", "train", str(tmp_path / "recipe.yaml"), "--name", "one")
    command, env = command_of(2, *arguments, "--runs-dir", str(tmp_path))
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    limit = time.time() + 90
    while not ((state := Run(tmp_path / "one").state()) and state.step >= 2):
        assert time.time() < limit and process.poll() is None
        time.sleep(0.2)
    process.terminate()
    process.wait(60)
    run = find_run(tmp_path, "one")
    assert run.status() == "stopped"
    assert (run.checkpoints / f"step_{run.state().step:06d}").is_dir()


def test_a_process_without_rows_adds_zeros_in_the_precision_of_gradients(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(1))
    half, whole, frozen = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
    half.data, half.grad_dtype = half.data.bfloat16(), torch.float32
    frozen.requires_grad_(False)
    Team(0, 2).sum_gradients([half, whole, frozen])
    for parameter in (half, whole):
        assert parameter.grad.dtype == torch.float32 and parameter.grad.tolist() == [1, 1, 1]
    assert frozen.grad is None


def test_shares_are_all_of_it_and_nothing_twice():
    for size in (1, 2, 3, 7):
        for num in (0, 1, 5, 16):
            shares = [list(Team(rank, size).share(num)) for rank in range(size)]
            assert [item for share in shares for item in share] == list(range(num))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
