"""The commands as a person or a program calls them: output, exit codes, messages."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from grpo_core import cli_options, reward_test
from grpo_core.reward_test import read_groups
from grpo_core.runs import find_run

REPOSITORY = Path(__file__).parent.parent


def studio(*arguments, cwd, check=None):
    """Run a command; with `check` the exit code must be that one."""
    done = subprocess.run(
        [sys.executable, "-m", "grpo_core.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


@pytest.fixture(scope="module")
def workplace(random_model, tmp_path_factory):
    """A folder with a recipe, a reward file and one finished run called `done`."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "digits.py").write_text(
        "def digits(completion, answer, **row):\n    return sum(c.isdigit() for c in completion)\n"
    )
    recipe = {
        "model": {"path": str(random_model)},
        "rewards": [{"path": "digits.py"}],
        "rollout": {"prompts_per_step": 2, "group_size": 3, "max_new_tokens": 8},
        "evaluation": {"num_problems": 4},
        "num_steps": 3,
    }
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe))
    done = studio("train", "r.yaml", "--name", "done", cwd=folder, check=0)
    assert "completed" in done.stdout and "step 3/3" in done.stdout
    return folder


def test_show_json(workplace):
    facts = json.loads(studio("show", "done", "--json", cwd=workplace, check=0).stdout)
    assert facts["name"] == "done" and facts["status"] == "completed"
    assert (facts["step"], facts["num_steps"]) == (3, 3)
    assert facts["config"]["rollout"]["group_size"] == 3
    wanted = {"train/loss", "train/kl", "train/entropy", "train/accuracy", "train/clip_fraction",
              "train/grad_norm", "train/learning_rate", "reward/mean", "reward/std",
              "reward/digits/mean", "reward/zero_variance_fraction", "reward/error_fraction",
              "completion/length_mean", "completion/truncated_fraction", "eval/accuracy",
              "time/step_s", "time/rollout_s", "time/reward_s", "time/update_s",
              "perf/tokens_per_s", "perf/memory_gb"}  # fmt: skip
    assert wanted <= facts["metrics"].keys()


def test_metrics_as_csv_and_jsonl_agree(workplace):
    text = studio("metrics", "done", cwd=workplace, check=0).stdout
    rows = list(csv.DictReader(text.splitlines()))
    assert list(rows[0]) == ["step", "name", "value"]
    lines = studio("metrics", "done", "--format", "jsonl", cwd=workplace, check=0).stdout
    parsed = [json.loads(line) for line in lines.splitlines()]
    assert [(int(r["step"]), r["name"], float(r["value"])) for r in rows] == [
        (p["step"], p["name"], p["value"]) for p in parsed
    ]


def test_groups_json(workplace):
    done = studio("groups", "done", "--step", "2", "--json", cwd=workplace, check=0)
    groups = json.loads(done.stdout)
    assert len(groups) == 2
    for group in groups:
        assert group["prompt"].startswith("<|user|>") and group["answer"]
        assert len(group["completions"]) == 3
        assert abs(sum(one["advantage"] for one in group["completions"])) < 1e-9
        for one in group["completions"]:
            assert one["reward"] == one["parts"]["digits"] == sum(map(str.isdigit, one["text"]))
            assert one["outcome"] == "ok" and one["finish"] in ("stop", "length")
            assert 1 <= one["num_tokens"] <= 8


def test_runs_lists_them(workplace):
    rows = json.loads(studio("runs", "--json", cwd=workplace, check=0).stdout)
    assert [row["name"] for row in rows] == ["done"]
    assert "done" in studio("runs", cwd=workplace, check=0).stdout


@pytest.mark.slow
def test_check_needs_no_gpu(workplace):
    facts = json.loads(studio("check", "--json", cwd=workplace, check=0).stdout)
    assert {"gpu", "torch", "bundled_model", "cpu"} <= facts.keys()
    if sys.platform == "linux":
        assert facts["sandbox"].startswith("Isolated: reward code cannot")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing.yaml"], "nothing.yaml: no such recipe"),
        (["train", "nothing"], "nothing: neither a recipe file nor a shipped recipe (shipped: "),
        (["train", "r.yaml", "--set", "optim.lr=1"], "optim.lr: unknown key; known here"),
        (["train", "r.yaml", "--set", "num_steps=0"], "num_steps: input should be greater"),
        (["train", "r.yaml", "--name", "../x"], "a run's name has 1 to 64 letters"),
        (["train", "r.yaml", "--name", "done"], "done: a run of this name exists"),
        (["show", "other"], "other: no such run in runs (there: done)"),
        (["pause", "done"], "done: is completed; there is nothing to pause"),
        pytest.param(
            ["resume", "done"], "done: all 3 steps are done", marks=pytest.mark.slow
        ),
        (["set", "done", "seed=3"], "seed: cannot be changed while the run goes on"),
        (["apply-reward", "done", "missing.py"], "missing.py: cannot be read"),
        (["groups", "done", "--step", "9"], "done: has no step 9; the newest is 3"),
        (["reward-test", "digits.py"], "either --run RUN or --data FILE.jsonl"),
        (["reward-test", "digits.py", "--run", "done", "--step", "9"], "has no step 9; the newest"),
        (["reward-test", "missing.py", "--run", "done"], "missing.py: cannot be read"),
        (["reward-test", "digits.py", "--data", "no.jsonl"], "no.jsonl: cannot be read: No such"),
        (["metrics", "done", "--format", "xml"], "--format xml: expected csv or jsonl"),
        (["sample", "other"], "other: no such run in runs (there: done)"),
        (["sample", "done", "--out", "no/x.jsonl"], "--out no/x.jsonl: name a file in a folder"),
        (["sample", "done", "--out", "runs"], "--out runs: name a file in a folder that exists"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(workplace, arguments, message):
    before = sorted(p.name for p in (workplace / "runs").iterdir())
    done = studio(*arguments, cwd=workplace, check=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("error: ")
    assert sorted(p.name for p in (workplace / "runs").iterdir()) == before


def test_reward_test_on_a_file(workplace):
    """Rows of two prompts; the batch function sees each prompt's rows together."""
    (workplace / "two.py").write_text(
        "def near(completion, answer, unit):\n"
        "    print('seen', unit)\n"
        "    return 1.0 / (1 + abs(int(completion) - int(answer)))\n"
        "\n"
        "def first(completions, prompts):\n"
        "    assert len(set(prompts)) == 1\n"
        "    return [len(completions)] + [None] * (len(completions) - 1)\n"
    )
    rows = [
        {"prompt": "3 + 4", "completion": "7", "answer": 7, "unit": "m"},
        {"prompt": "3 + 4", "completion": "9", "answer": 7, "unit": "m"},
        {"prompt": "1 + 1", "completion": [{"role": "assistant", "content": "two"}],
         "answer": "2", "unit": "\ud800"},
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    (workplace / "rows.jsonl").write_text("\n".join(lines) + "\n\n")
    arguments = ("reward-test", "two.py", "--data", "rows.jsonl", "--weight", "first=0.5")
    found = json.loads(studio(*arguments, "--json", cwd=workplace, check=0).stdout)
    assert found["functions"] == ["near", "first"]
    assert found["tier"] == ("isolated" if sys.platform == "linux" else "limited")
    one, two, three = found["completions"]
    assert (one["outcome"], one["reward"], one["parts"]) == ("ok", 2.0, {"near": 1.0, "first": 2.0})
    assert (two["reward"], two["parts"]["first"]) == (pytest.approx(1 / 3), None)
    assert one["printed"] == "seen m" and one["error"] is None and 0 < one["seconds"] < 1
    assert (three["outcome"], three["reward"], three["text"]) == ("error", None, "two")
    assert three["error"]["line"] == 3 and "near: ValueError: invalid" in three["error"]["message"]
    shown = studio(*arguments, cwd=workplace, check=0).stdout
    assert "3 completions  mean 1.167, from 0.333 to 2.000  1 fault" in " ".join(shown.split("\n"))


def test_reward_test_on_a_run_gives_what_the_run_gave(workplace):
    stored = json.loads(studio("groups", "done", "--step", "2", "--json", cwd=workplace).stdout)
    expected = [one["reward"] for group in stored for one in group["completions"]]
    arguments = ("reward-test", "digits.py", "--run", "done", "--step", "2", "--json")
    found = json.loads(studio(*arguments, cwd=workplace, check=0).stdout)
    assert [one["reward"] for one in found["completions"]] == expected
    newest = json.loads(studio(*arguments[:4], "--json", cwd=workplace, check=0).stdout)
    last = json.loads(studio("groups", "done", "--step", "3", "--json", cwd=workplace).stdout)
    assert [one["text"] for one in newest["completions"]] == [
        one["text"] for group in last for one in group["completions"]
    ]


@pytest.mark.slow
def test_fresh_samples_are_what_reward_test_takes(workplace):
    arguments = ("sample", "done", "--problems", "3", "--group-size", "4", "--seed", "5")
    told = studio(*arguments, "--out", "fresh.jsonl", cwd=workplace, check=0).stdout
    assert told == "12 completions of 3 problems by step_000003 of done, in fresh.jsonl\n"
    printed = studio(*arguments, cwd=workplace, check=0)
    assert printed.stdout == (workplace / "fresh.jsonl").read_text()  # the same seed
    assert printed.stderr == "12 completions of 3 problems by step_000003 of done\n"
    assert printed.stdout != studio(*arguments[:-1], "6", cwd=workplace, check=0).stdout
    assert not list(workplace.glob(".fresh*"))
    test = ("reward-test", "digits.py", "--data", "fresh.jsonl", "--json")
    found = json.loads(studio(*test, cwd=workplace, check=0).stdout)["completions"]
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [one["text"] for one in found] == [row["completion"] for row in rows]
    assert [one["reward"] for one in found] == [
        sum(map(str.isdigit, row["completion"])) for row in rows
    ]


def test_a_hanging_reward_is_told_apart(workplace):
    (workplace / "hangs.py").write_text(
        "def f(completion):\n    while completion == 'b':\n        pass\n    return 1\n"
    )
    rows = [json.dumps({"prompt": "p", "completion": text}) for text in "abc"]
    (workplace / "abc.jsonl").write_text("\n".join(rows))
    arguments = ("reward-test", "hangs.py", "--data", "abc.jsonl", "--timeout", "0.5", "--json")
    found = json.loads(studio(*arguments, cwd=workplace, check=0).stdout)["completions"]
    assert [one["outcome"] for one in found] == ["ok", "timeout", "ok"]
    assert found[1]["error"]["line"] in (2, 3) and 0.5 <= found[1]["seconds"] < 2


def test_reward_test_warns_of_a_reward_that_cannot_teach(workplace):
    (workplace / "flat.py").write_text("def f(completion):\n    return 0.5\n")
    rows = [json.dumps({"prompt": "p", "completion": text, "answer": "a"}) for text in "abcdefgh"]
    (workplace / "eight.jsonl").write_text("\n".join(rows))
    arguments = ("reward-test", "flat.py", "--data", "eight.jsonl")
    (one,) = json.loads(studio(*arguments, "--json", cwd=workplace, check=0).stdout)["warnings"]
    assert one["kind"] == "constant" and one["message"].startswith("Every completion gets 0.5")
    assert "! Every completion gets 0.5" in studio(*arguments, cwd=workplace, check=0).stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows.jsonl: has no rows"),
        (
            '{"prompt": "p", "completion": "c"}\n{"prompt": "p"}',
            "rows.jsonl, line 2: needs an object",
        ),
        ("[1]", "line 1: needs an object with `prompt` and `completion`"),
        ("{nonsense", "line 1: is not JSON"),
        ("[" * 100_000, "line 1: is not JSON"),
        ('{"prompt": 3, "completion": "c"}', "line 1: `prompt` is neither a text nor a list"),
        (
            '{"prompt": "p", "completion": "c", "completion_ids": ["a"]}',
            "line 1: `completion_ids` is not a list of whole numbers",
        ),
        (b"\xff\xfe", "rows.jsonl: is not UTF-8"),
    ],
)
def test_bad_rows_are_named(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(message)):
        read_groups(path)


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reward_test, "MAX_LINE", 50)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "' + "x" * 100)
    with pytest.raises(ValueError, match="line 1: is longer than 50 characters"):
        read_groups(tmp_path / "rows.jsonl")


def test_a_reward_with_a_syntax_error_is_refused_with_its_line(workplace):
    (workplace / "broken.py").write_text("def f(completion):\n    return (\n")
    done = studio("apply-reward", "done", "broken.py", cwd=workplace, check=2)
    assert "line 2" in done.stderr
    assert list(find_run(workplace / "runs", "done").inbox.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_steered_from_other_processes(workplace):
    """pause, apply-reward, set, continue, stop, resume after SIGKILL, delete."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "grpo_core.cli"]
    train = [*command, "train", "r.yaml", "--name", "live", "--set", "num_steps=100000"]
    with open(workplace / "live.txt", "w") as output:
        process = subprocess.Popen(train, cwd=workplace, env=environment, stdout=output)
    _wait(lambda: (workplace / "runs" / "live" / "state.json").exists())
    run = find_run(workplace / "runs", "live")
    _wait(lambda: run.state().step >= 2)
    studio("pause", "live", cwd=workplace, check=0)
    _wait(lambda: run.status() == "paused")
    (workplace / "short.py").write_text("def short(completion):\n    return -len(completion)\n")
    studio("apply-reward", "live", "short.py", "--weight", "short=0.5", cwd=workplace, check=0)
    studio("set", "live", "optim.learning_rate=1e-6", cwd=workplace, check=0)
    assert "stop it first" in studio("delete", "live", "--yes", cwd=workplace, check=2).stderr
    studio("continue", "live", cwd=workplace, check=0)
    held = run.state().step
    _wait(lambda: run.state().step > held + 1)
    facts = json.loads(studio("show", "live", "--json", cwd=workplace, check=0).stdout)
    assert facts["metrics"]["train/learning_rate"] == 1e-6
    assert "reward/short/mean" in facts["metrics"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.status() == "crashed"
    resumed = subprocess.Popen(
        [*command, "resume", "live"], cwd=workplace, env=environment, stdout=subprocess.DEVNULL
    )
    _wait(lambda: run.status() == "running")
    studio("stop", "live", cwd=workplace, check=0)
    assert resumed.wait(60) == 0
    assert run.status() == "stopped"
    studio("delete", "live", "--yes", cwd=workplace, check=0)
    assert not run.path.exists()


def _wait(condition, seconds=60):
    limit = time.time() + seconds
    while not condition():
        assert time.time() < limit, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("given", "load", "expected"),
    [
        ({}, 3.0, {"GOMP_SPINCOUNT": "2000"}),
        ({}, 95.0, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "active"}, 95.0, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "7"}, 95.0, {"GOMP_SPINCOUNT": "7"}),
    ],
)
def test_threads_sleep_only_where_others_want_the_cores(monkeypatch, given, load, expected):
    monkeypatch.setattr(cli_options.os, "environ", environment := dict(given))
    monkeypatch.setattr(cli_options.psutil, "cpu_percent", lambda interval: load)
    cli_options.settle_threads()
    assert environment == expected
