"""Whole runs of a random model of 30,000 parameters: learning, control, kill and resume."""

import json
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file
from whole_runs import (
    assert_same_run,
    changed,
    make_recipe,
    metrics,
    tensors,
    train,
    train_and_kill,
)

from grpo_core import launch, trainer, worker
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, parse_config
from grpo_core.records import Group, Problem, Rollout
from grpo_core.rewards import from_source, to_dicts
from grpo_core.runs import Command, find_run
from grpo_core.sandbox_probe import Protection, probe

SHORT = "def short(completion):\n    return -len(completion) / 50\n"


@pytest.fixture
def recipe(random_model, tmp_path):
    return make_recipe(random_model, tmp_path)


def test_a_run_learns_and_writes_everything_down(recipe, tmp_path):
    optim, rollout = {"learning_rate": 1e-2}, {**recipe["rollout"], "group_size": 8}
    status, run = train(tmp_path, "one", recipe, num_steps=30, optim=optim, rollout=rollout)
    assert status == "completed" == run.status()
    with RunReader(run.db_path) as reader:
        rewards = [value for _, value in reader.series("reward/mean")]
        assert sum(rewards[-5:]) > 3 * sum(rewards[:5]) > 0
        assert [row["step"] for row in reader.evals()] == list(range(0, 31, 3))
        groups = reader.groups(30)
        assert len(groups) == 4 and all(len(g["rollouts"]) == 8 for g in groups)
        one = groups[0]["rollouts"][0]
        assert one["parts"] == {"digits": sum(c.isdigit() for c in one["text"]) / 10}
        ids, trace = reader.trace(one["id"])
        assert len(ids) == one["num_tokens"] == len(trace.logp) == len(trace.pieces)
        assert trace.advantage[0] == pytest.approx(one["advantage"])
        assert max(value for _, value in reader.series("train/logprob_drift")) < 1e-4
        assert [e["detail"]["status"] for e in reader.events(kinds=["status"])] == [
            "running",
            "completed",
        ]
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step_000028", "step_000030"]
    assert load_recipe(run.config_path).num_steps == 30


def test_a_run_says_how_its_rewards_were_kept_apart(recipe, tmp_path, monkeypatch):
    for found in (probe(), Protection("limited", ("use the network", "start programs"))):
        monkeypatch.setattr(launch, "probe", lambda found=found: found)
        _, run = train(tmp_path, found.tier, recipe, num_steps=1)
        with RunReader(run.db_path) as reader:
            kept = reader.meta()["sandbox"]
            notices = [event["detail"]["message"] for event in reader.events(kinds=["notice"])]
        assert kept == {"tier": found.tier, "gaps": list(found.gaps)}
        if sys.platform == "linux" or found.tier == "limited":
            assert [one for one in notices if "reward code" in one] == (
                [found.sentence] if found.tier == "limited" else []
            )
    assert "being able to use the network or start programs. Run only what" in found.sentence


def test_the_same_seed_repeats_the_run_and_another_does_not(recipe, tmp_path):
    runs = [train(tmp_path, f"r{i}", recipe, seed=seed)[1] for i, seed in enumerate((1, 1, 2))]
    assert_same_run(runs[0], runs[1])
    assert metrics(runs[0]) != metrics(runs[2])


SOON = {
    "8bit": {
        "model": {"precision": "bf16"},
        "algorithm": {"kl_reference": "average", "reference_decay": 0.9, "kl_coefficient": 1},
        "optim": {"learning_rate": 3e-3, "state_bits": 8},
    },
}
LATER = {
    "own": {"algorithm": {"name": "ppo"}, "critic": {"model": "own"}},
    # one prompt, so a product of few rows: these round by how the weights lie in memory
    "one_prompt": {
        "algorithm": {"name": "dr_grpo"},
        "rollout": {"prompts_per_step": 1, "group_size": 4, "max_new_tokens": 12},
        "num_steps": 8,
    },
    "one_update": {},
    "prefix": {
        "algorithm": {"name": "prefix_attention"},
        "optim": {"learning_rate": 3e-3, "micro_batch_tokens": 64, "updates_per_rollout": 2},
    },
    "two_updates": {"optim": {"learning_rate": 3e-3, "updates_per_rollout": 2}},
    "as_written": {"algorithm": {"name": "as_written", "kl_coefficient": 0.1}},
    "shared": {
        "algorithm": {"name": "ppo"},
        "optim": {"learning_rate": 3e-3, "minibatches": 2, "updates_per_rollout": 2},
    },
    "average": {
        "algorithm": {"kl_reference": "average", "reference_decay": 0.5, "kl_coefficient": 1}
    },
    "dapo": {"algorithm": {"name": "dapo", "importance_cap": 2.0}},
    "bf16": {"model": {"precision": "bf16"}},
}
"""Six seconds each: in CI."""


@pytest.mark.parametrize(
    "more",
    [
        *(pytest.param(more, id=name) for name, more in SOON.items()),
        *(pytest.param(m, id=name, marks=pytest.mark.slow) for name, m in LATER.items()),
    ],
)
def test_a_killed_run_resumes_bit_identically(recipe, tmp_path, more):
    recipe = changed(recipe, more)
    _, undisturbed = train(tmp_path, "undisturbed", recipe)
    killed = train_and_kill(tmp_path, "killed", recipe, after=5)
    assert launch.resume(killed) == "completed"
    assert_same_run(undisturbed, killed)
    with RunReader(killed.db_path) as reader:
        steps = [row["step"] for row in reader.steps()]
        assert reader.attempt() == 2 and steps == list(range(1, recipe["num_steps"] + 1))


@pytest.mark.slow
@pytest.mark.parametrize("state_bits", [32, 8])
def test_a_run_in_half_precision(recipe, tmp_path, monkeypatch, state_bits):
    """Weights are bf16 in memory, what must stay exact is not."""
    seen, real = [], worker.annotate

    def looking(learner, batch, config, traced):
        model, master_of = learner.policy.model, learner.optimizer.master_of
        off = [(master_of(one) - one.float()).abs().max().item() for one in model.parameters()]
        rotary = {b.dtype for name, b in model.named_buffers() if "inv_freq" in name}
        seen.append(({one.dtype for one in model.parameters()}, rotary, max(off)))
        return real(learner, batch, config)

    monkeypatch.setattr(worker, "annotate", looking)
    recipe = changed(recipe, {"model": {"precision": "bf16"}})
    optim = {"learning_rate": 1e-2, "state_bits": state_bits}
    rollout = {**recipe["rollout"], "group_size": 8}
    status, run = train(tmp_path, "one", recipe, num_steps=40, optim=optim, rollout=rollout)
    assert status == "completed"
    for weights, rotary, off in seen:
        assert (weights, rotary) == ({torch.bfloat16}, {torch.float32})
        assert 0 < off < 0.01, "masters are finer than the weights"
    with RunReader(run.db_path) as reader:
        rewards = [value for _, value in reader.series("reward/mean")]
        assert sum(rewards[-5:]) > 10 * sum(rewards[:5]) > 0
        assert max(value for _, value in reader.series("train/logprob_drift")) < 0.05
        assert dict(reader.series("train/kl"))[1] == pytest.approx(0, abs=1e-6)
    kept = tensors(run)

    def kinds(start, end):
        return {t.dtype for n, t in kept.items() if n.startswith(start) and n.endswith(end)}

    assert kinds("model", "") == {torch.bfloat16}
    assert kinds("optimizer", ".residual") == {torch.int16}
    # small parameters keep full moments
    moments = {torch.float32} if state_bits == 32 else {torch.float32, torch.uint8}
    assert kinds("optimizer", ".exp_avg") == kinds("optimizer", ".exp_avg_sq") == moments


@pytest.mark.slow
def test_changes_made_on_the_way_are_repeated_at_their_step(recipe, tmp_path):
    """set at step 3, a new reward at step 5, kill after 5, resume from 2: the same run."""

    def change(run):
        def on_step(state, numbers):
            if state.step == 2 and "train/kl" in numbers:
                run().send(Command("set", {"overrides": ["optim.learning_rate=1e-3"]}))
            if state.step == 4 and "train/kl" in numbers:
                functions = from_source(SHORT, {"short": 0.5}, filename="short.py")
                run().send(Command("set_rewards", {"functions": to_dicts(functions)}))

        return on_step

    runs = []
    for name in ("undisturbed", "interrupted"):
        config = parse_config({**recipe, "checkpoint": {"every": 100}, "num_steps": 6})
        on_step = change(lambda name=name: find_run(tmp_path, name))
        if name == "interrupted":
            with pytest.raises(RuntimeError, match="pulled the plug"):
                launch.start(tmp_path, name, config, _interrupt(on_step, after=5))
            launch.resume(find_run(tmp_path, name))
        else:
            launch.start(tmp_path, name, config, on_step)
        runs.append(find_run(tmp_path, name))
    assert_same_run(*runs)
    with RunReader(runs[1].db_path) as reader:
        rates = dict(reader.series("train/learning_rate"))
        assert (rates[2], rates[3]) == (3e-3, 1e-3)
        assert dict(reader.series("reward/short/mean")).keys() == {5, 6}
        marks = [(e["step"], e["detail"]["names"]) for e in reader.events(kinds=["reward_version"])]
        assert marks == [(1, ["digits"]), (5, ["short"])]
        versions = [row["reward_version"] for row in reader.steps()]
        assert len(set(versions[:4])) == len(set(versions[4:])) == 1 and versions[3] != versions[4]
        for version in {versions[0], versions[5]}:
            assert (runs[1].rewards / version).is_dir()


def _interrupt(on_step, after):
    def wrapped(state, numbers):
        on_step(state, numbers)
        if state.step == after:
            raise RuntimeError("pulled the plug")

    return wrapped


def test_pause_continue_and_stop(recipe, tmp_path):
    """Steered from another thread, as the page does it from another process."""
    config = parse_config({**recipe, "num_steps": 10_000})
    thread = threading.Thread(target=launch.start, args=(tmp_path, "one", config))
    thread.start()
    _wait(lambda: (tmp_path / "one" / "state.json").exists())
    run = find_run(tmp_path, "one")
    _wait(lambda: run.state().step >= 2)
    pause = run.send(Command("pause"))
    _wait(lambda: run.status() == "paused")
    held = run.state().step
    time.sleep(0.5)
    assert run.state().step == held
    run.send(Command("continue"))
    _wait(lambda: run.state().step > held)
    with pytest.raises(ValueError, match="is running; stop it first"):
        run.delete()
    run.send(Command("stop"))
    thread.join(30)
    assert run.status() == "stopped"
    last = run.state().step
    assert (run.checkpoints / f"step_{last:06d}").is_dir()
    with RunReader(run.db_path) as reader:
        acknowledged = [e["detail"].get("command_id") for e in reader.events()]
    assert acknowledged.count(pause.id) == 1 and list(run.inbox.iterdir()) == []


def _wait(condition, seconds=30):
    limit = time.time() + seconds
    while not condition():
        assert time.time() < limit, "waited too long"
        time.sleep(0.02)


def test_a_command_that_makes_no_sense_is_refused_and_the_run_goes_on(recipe, tmp_path):
    config = parse_config(recipe)

    def on_step(state, numbers):
        if state.step == 1 and "train/kl" in numbers:
            run = find_run(tmp_path, "one")
            run.send(Command("set", {"overrides": ["seed=5"]}))
            run.send(Command("set_rewards", {"functions": "nonsense"}))

    assert launch.start(tmp_path, "one", config, on_step) == "completed"
    with RunReader(tmp_path / "one" / "run.db") as reader:
        notices = [e["detail"]["message"] for e in reader.events(kinds=["notice"])]
    assert len(notices) == 2 and "seed: cannot be changed" in notices[0]


@pytest.mark.slow
def test_the_size_of_micro_batches_changes_nothing_but_rounding(recipe, tmp_path):
    _, whole = train(tmp_path, "whole", recipe, num_steps=3)
    optim = {"learning_rate": 3e-3, "micro_batch_tokens": 64}
    _, small = train(tmp_path, "small", recipe, num_steps=3, optim=optim)
    a, b = metrics(whole), metrics(small)
    assert a.keys() == b.keys()
    for key in a:
        assert b[key] == pytest.approx(a[key], rel=1e-3, abs=2e-5), key


def test_faulty_completions_are_left_out_and_counted(recipe, tmp_path):
    source = (
        "def picky(completion):\n"
        "    if len(completion) % 3 == 1:\n"
        "        raise KeyError('one')\n"
        "    if len(completion) % 3 == 2:\n"
        "        return float('nan')\n"
        "    return float(len(completion))\n"
    )
    (tmp_path / "picky.py").write_text(source)
    rewards = [{"path": str(tmp_path / "picky.py")}]
    status, run = train(tmp_path, "one", recipe, rewards=rewards, num_steps=2)
    assert status == "completed"
    outcomes = set()
    with RunReader(run.db_path) as reader:
        for group in reader.groups(1) + reader.groups(2):
            for one in group["rollouts"]:
                expected = ("ok", "error", "nonfinite")[len(one["text"]) % 3]
                assert one["outcome"] == expected
                assert (one["reward"] is None) == (expected != "ok")
                if expected != "ok":
                    assert one["advantage"] is None
                outcomes.add(expected)
        assert outcomes == {"ok", "error", "nonfinite"}
        assert any(
            "line 3" in json.dumps(e["detail"]) or e["detail"].get("line") == 3
            for e in reader.events(kinds=["reward_fault"])
        )
        assert all(value < 1 for _, value in reader.series("reward/error_fraction"))


@pytest.mark.parametrize(
    ("body", "paused_at", "said"),
    [
        (
            "f(completion):\n    raise KeyError('oh')",
            1,
            "reward code failed on 100% of the completions in this step, mostly f: KeyError: 'oh' "
            "(line 2); apply a reward that works, then continue",
        ),
        (
            "f(completions):\n    return [0.5, float('nan'), 'a', 'b']",
            3,
            "reward code failed on 75% of the completions in 3 steps in a row, mostly f: returned "
            "str, not a number or None; apply",
        ),
        (
            "f(completion):\n    return None",
            3,
            "no completion got a reward in 3 steps in a row: every function says that it does not "
            "apply (None); apply another, then continue",
        ),
    ],
)
def test_a_reward_that_mostly_fails_pauses_the_run(recipe, tmp_path, body, paused_at, said):
    (tmp_path / "broken.py").write_text(f"def {body}\n")
    config = parse_config({**recipe, "rewards": [{"path": str(tmp_path / "broken.py")}]})
    thread = threading.Thread(target=launch.start, args=(tmp_path, "one", config))
    thread.start()
    _wait(lambda: (tmp_path / "one" / "state.json").exists())
    run = find_run(tmp_path, "one")
    _wait(lambda: run.status() == "paused")
    assert run.state().step == paused_at and run.state().message.startswith(said)
    run.send(Command("set_rewards", {"functions": to_dicts(from_source(SHORT))}))
    run.send(Command("continue"))
    thread.join(30)
    assert run.status() == "completed" and run.state().message == ""
    with RunReader(run.db_path) as reader:
        pauses = [e for e in reader.events(kinds=["status"]) if e["detail"].get("message")]
        assert [event["step"] for event in pauses] == [paused_at]
        faults = dict(reader.series("reward/error_fraction"))
        assert faults[paused_at] >= (0.75 if "failed" in said else 0) and not faults[paused_at + 1]


@pytest.mark.slow
def test_a_resume_does_not_ask_again_for_what_was_mended(recipe, tmp_path):
    """It repeats the step that paused the run, and then what a person did about it."""
    (tmp_path / "broken.py").write_text("def f(completion):\n    raise KeyError\n")
    rewards, seen = [{"path": str(tmp_path / "broken.py")}], []

    def on_step(state, numbers):
        if state.step == 1 and "train/kl" in numbers:
            run = find_run(tmp_path, "one")
            run.send(Command("set_rewards", {"functions": to_dicts(from_source(SHORT))}))
            run.send(Command("continue"))
        seen.append(state.step)

    config = parse_config({**recipe, "rewards": rewards, "checkpoint": {"every": 50}})
    with pytest.raises(RuntimeError, match="plug"):
        launch.start(tmp_path, "one", config, _interrupt(on_step, 3))
    run = find_run(tmp_path, "one")
    assert not list(run.checkpoints.iterdir())
    with RunReader(run.db_path) as reader:
        before = [(step, value) for step, value in reader.series("reward/mean")]
    assert launch.resume(run) == "completed"
    with RunReader(run.db_path) as reader:
        after = [(step, value) for step, value in reader.series("reward/mean")]
        assert reader.series("reward/error_fraction")[0] == (1, 1.0)
    assert before == after[:2] and [step for step, _ in before] == [2, 3]


def test_faults_in_the_last_step_do_not_keep_a_run_from_its_end(recipe, tmp_path):
    (tmp_path / "broken.py").write_text("def f(completion):\n    raise KeyError\n")
    rewards = [{"path": str(tmp_path / "broken.py")}]
    status, run = train(tmp_path, "one", recipe, rewards=rewards, num_steps=1)
    assert status == "completed"
    with RunReader(run.db_path) as reader:
        assert reader.events(kinds=["notice"])[-1]["detail"]["message"].startswith("reward code")


def test_an_update_that_is_not_finite_leaves_the_weights_alone(recipe, tmp_path, monkeypatch):
    real, calls = worker.annotate, []

    def poisoned(learner, batch, config, traced):
        weights = [p.clone() for p in learner.policy.model.parameters()]
        if len(calls) == 2:  # the step after the poisoned one begins where that one began
            assert all(torch.equal(a, b) for a, b in zip(calls[1], weights, strict=True))
        calls.append(weights)
        notes = real(learner, batch, config)
        if len(calls) == 2:
            notes.ref_K = notes.initial_K = notes.initial_K * float("nan")
        return notes

    monkeypatch.setattr(worker, "annotate", poisoned)
    status, run = train(tmp_path, "one", recipe, num_steps=4)
    assert status == "completed"
    with RunReader(run.db_path) as reader:
        (event,) = reader.events(kinds=["nonfinite"])
        assert event["step"] == 2 and event["detail"]["in_row"] == 1
        # what was not a number is no point of a curve; the step itself is kept
        assert [step for step, _ in reader.series("train/kl")] == [1, 3, 4]
        assert [row["step"] for row in reader.steps()] == [1, 2, 3, 4]


def test_a_full_disk_costs_a_checkpoint_not_the_run(recipe, tmp_path, monkeypatch):
    real, calls = trainer.checkpoint.save, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(trainer.checkpoint, "save", failing)
    status, run = train(tmp_path, "one", recipe)
    assert status == "completed"
    with RunReader(run.db_path) as reader:
        (notice,) = reader.events(kinds=["notice"])
        assert "No space left" in notice["detail"]["message"]
        steps = [e["step"] for e in reader.events(kinds=["checkpoint"])]
    assert steps == [3, 4, 6]  # step 2 failed, was owed, and came after step 3


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_over(recipe, tmp_path):
    _, run = train(tmp_path, "one", recipe, num_steps=4)
    for path in run.checkpoints.glob("step_*"):
        (path / "optimizer.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="no checkpoint is whole"):
        launch.resume(run)


@pytest.mark.slow
def test_a_finished_run_goes_on_only_when_told_further(recipe, tmp_path):
    _, short = train(tmp_path, "short", recipe, num_steps=4)
    with pytest.raises(ValueError, match="all 4 steps are done"):
        launch.resume(short)
    short.send(Command("set", {"overrides": ["num_steps=6"]}))
    assert launch.resume(short) == "completed"
    _, whole = train(tmp_path, "whole", recipe, num_steps=6)
    one, two = metrics(short), metrics(whole)
    assert {k: v for k, v in one.items() if k != (4, "eval/accuracy")} == two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"path": "/nonexistent/model"}}, "model.path: /nonexistent/model"),
        ({"rollout": {"max_new_tokens": 500}}, "leaves room for 0"),
        ({"rewards": [{"path": "/nonexistent.py"}]}, "rewards.0.path"),
        ({"data": {"task": "file", "path": "/nonexistent.jsonl"}}, "is not a file"),
    ],
)
def test_a_recipe_that_cannot_run_leaves_nothing_behind(recipe, tmp_path, change, message):
    runs_dir = tmp_path / "runs"
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        train(runs_dir, "one", {**recipe, **change})
    assert not runs_dir.exists()


def test_a_model_folder_without_tokenizer_is_refused(recipe, random_model, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((random_model / name).read_bytes())
    with pytest.raises(ValueError, match="has no tokenizer that can be loaded"):
        train(tmp_path / "runs", "one", recipe, model={"path": str(bare)})


def test_a_pickled_model_is_refused(recipe, random_model, tmp_path):
    evil = tmp_path / "evil"
    evil.mkdir()
    for file in random_model.iterdir():
        if file.suffix != ".safetensors":
            (evil / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(random_model / "model.safetensors"), evil / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        train(tmp_path / "runs", "one", recipe, model={"path": str(evil)})


def test_groups_with_equal_rewards_are_replaced_within_a_bound(recipe, tmp_path):
    """A question that holds a 7 always pays the same; nothing of it is learned from."""
    source = (
        "def picky(completion, question):\n"
        "    first = 0.01 * ord(completion[:1] or 'a')\n"
        "    return 1.0 if '7' in question else len(completion) + first\n"
    )
    (tmp_path / "picky.py").write_text(source)
    rewards = [{"path": str(tmp_path / "picky.py")}]
    rounds = {"name": "dapo", "resample_rounds": 6, "truncated": "keep"}
    _, run = train(tmp_path, "one", recipe, rewards=rewards, algorithm=rounds, num_steps=4)
    with RunReader(run.db_path) as reader:
        replaced = dict(reader.series("rollout/resampled_groups"))
        flat = dict(reader.series("reward/zero_variance_fraction"))
        for step in range(1, 5):
            groups = reader.groups(step)
            assert len(groups) == 4
            for group in groups:
                assert len({one["reward"] for one in group["rollouts"]}) > 1
                assert "7" not in group["prompt"]
            # the share of flat groups is that of all that were sampled
            assert flat[step] == pytest.approx(replaced[step] / (4 + replaced[step]))
    assert sum(replaced.values()) > 0


def test_where_nothing_differs_the_step_makes_do_with_what_there_is(recipe, tmp_path):
    (tmp_path / "same.py").write_text("def same(completion):\n    return 1.0\n")
    rewards = [{"path": str(tmp_path / "same.py")}]
    rounds = {"name": "dapo", "resample_rounds": 2, "truncated": "keep"}
    status, run = train(tmp_path, "one", recipe, rewards=rewards, algorithm=rounds, num_steps=2)
    assert status == "completed"
    with RunReader(run.db_path) as reader:
        assert dict(reader.series("rollout/resampled_groups")) == {1: 8, 2: 8}
        assert len(reader.groups(1)) == 4
        assert dict(reader.series("train/loss")) == {1: 0, 2: 0}


def test_tokens_are_kept_of_groups_that_teach_first():
    def group(*rewards):
        rollouts = [Rollout([1], [0.0], "x", "stop", reward=reward) for reward in rewards]
        return Group(Problem("p", "q", "a"), "q", [1], rollouts)

    flat, telling_one, unknown = group(1.0, 1.0), group(1.0, 0.0), group(None, None)
    groups = [flat, telling_one, unknown, flat, telling_one, telling_one]
    assert worker.telling(groups, 2) == [1, 4]
    assert worker.telling(groups, 4) == [0, 1, 4, 5]
    assert worker.telling(groups, 0) == [] and worker.telling(groups, 99) == [0, 1, 2, 3, 4, 5]
