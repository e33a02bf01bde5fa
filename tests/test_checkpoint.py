"""A checkpoint is whole or absent, and the loader never takes one that is not."""

import json
import os
import random

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from grpo_core import checkpoint
from grpo_core.checkpoint import Position
from grpo_core.learner import make_learner
from grpo_core.policy import load_policy
from grpo_core.recipe import parse_config


@pytest.fixture
def policy(random_model):
    return load_policy(str(random_model), torch.device("cpu"))


def learner_of(policy, **recipe):
    return make_learner(Accelerator(cpu=True), policy, parse_config(recipe))


def trained(policy, steps: int = 3):
    learner = learner_of(policy)
    optimizer = learner.optimizer
    for step in range(steps):
        optimizer.zero_grad()
        ids = torch.tensor([[1, 2, 3, step]])
        policy.model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return learner


def latest(folder):
    skipped = []
    return checkpoint.latest(
        folder, lambda path, reason: skipped.append((path.name, reason))
    ), skipped


def test_everything_comes_back_bit_for_bit(policy, tmp_path, random_model):
    learner = trained(policy)
    random.seed(5)
    torch.manual_seed(6)
    checkpoint.save(tmp_path, learner, Position(3, "abc", {"seed": 1}))
    expected = random.random(), torch.rand(3)
    path, skipped = latest(tmp_path)
    assert path.name == "step_000003" and skipped == []
    again = load_policy(str(random_model), torch.device("cpu"), path / "model")
    for a, b in zip(policy.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    fresh = learner_of(again)
    position = checkpoint.read_position(path)
    checkpoint.restore(path, fresh, position)
    assert (position.step, position.reward_version) == (3, "abc")
    old, new = (one.optimizer.state_dict()["state"] for one in (learner, fresh))
    assert old.keys() == new.keys()
    for index in old:
        assert all(torch.equal(old[index][key], new[index][key]) for key in old[index])
    assert (random.random(), torch.rand(3).tolist()) == (expected[0], expected[1].tolist())
    # the reference is the model the run began with, not the checkpoint
    initial = load_file(random_model / "model.safetensors")
    name, tensor = next(iter(initial.items()))
    assert torch.equal(again.reference.state_dict()[name], tensor)
    assert not torch.equal(again.model.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "name", ["model/model.safetensors", "optimizer.safetensors", "position.json"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_passed_over(policy, tmp_path, name, damage):
    learner = trained(policy)
    for step in (1, 2):
        checkpoint.save(tmp_path, learner, Position(step, "abc", {}))
    victim = tmp_path / "step_000002" / name
    content = bytearray(victim.read_bytes())
    if damage == "remove":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    path, ((skipped, reason),) = latest(tmp_path)
    assert (path.name, skipped) == ("step_000001", "step_000002")
    assert name in reason


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 2, "files": {}}'])
def test_a_bad_manifest_is_passed_over(policy, tmp_path, text):
    checkpoint.save(tmp_path, trained(policy, 1), Position(1, "abc", {}))
    (tmp_path / "step_000001" / "MANIFEST.json").write_text(text)
    path, skipped = latest(tmp_path)
    assert path is None and len(skipped) == 1


def test_a_save_that_dies_anywhere_leaves_the_older_checkpoint(policy, tmp_path, monkeypatch):
    """A full disk at the n-th sync or rename, for every n until the save gets through."""
    learner = trained(policy)
    checkpoint.save(tmp_path, learner, Position(1, "abc", {}))
    real = os.fsync
    for limit in range(100):
        calls = iter(range(limit))

        def failing(descriptor, calls=calls):
            if next(calls, None) is None:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            checkpoint.save(tmp_path, learner, Position(2, "abc", {}))
        except OSError:
            whole = [p.name for p in checkpoint.newest_first(tmp_path)]
            whole = [name for name in whole if checkpoint.problem_with(tmp_path / name) is None]
            assert "step_000001" in whole
            assert not list(tmp_path.glob(".tmp-*"))
            continue
        break
    assert limit > 8  # every file, the manifest and the folders were synced
    assert latest(tmp_path)[0].name == "step_000002"


def test_retire_keeps_the_newest_and_clears_rubbish(policy, tmp_path):
    learner = trained(policy, 1)
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, learner, Position(step, "abc", {}))
    (tmp_path / ".trash-step_000000").mkdir()
    (tmp_path / ".tmp-step_000011").mkdir()
    checkpoint.retire(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_000003", "step_000010"]


def test_no_file_of_a_checkpoint_is_a_pickle(policy, tmp_path):
    path = checkpoint.save(tmp_path, trained(policy, 1), Position(1, "abc", {}))
    suffixes = {file.suffix for file in path.rglob("*") if file.is_file()}
    assert suffixes <= {".json", ".safetensors", ".jinja"}
    assert json.loads((path / "MANIFEST.json").read_text())["step"] == 1
