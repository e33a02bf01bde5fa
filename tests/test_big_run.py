"""The runs that the pages are measured on hold what they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from benchmarks import big_run
from benchmarks.big_steps import Size, Steps

from grpo_core import advantages, rewards
from grpo_core.reader import RunReader
from grpo_core.records import Problem

SMALL = Size(steps=100, prompts=5, group=4, pool=40, seed=3)
PER_EPOCH = SMALL.pool // SMALL.prompts


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_big_run_is_a_run(runs_dir: Path) -> None:
    run = big_run.write_big(runs_dir, "big", SMALL)
    assert run.status() == "stopped"
    with RunReader(run.db_path) as reader:
        steps = reader.steps()
        assert [row["step"] for row in steps] == list(range(1, 101))
        assert reader.attempt() == 2 and [row["attempt"] for row in steps] == [1] * 50 + [2] * 50
        assert reader.metrics(attempt=1)["truncated_after_step"] == 50
        names = [name for name in reader.metric_names() if name != "eval/accuracy"]
        assert len(names) == 30 and all(len(reader.points(name)[0]) == 100 for name in names)
        assert [row["step"] for row in reader.evals()] == [20, 40, 60, 80, 100]
        # twelve versions: 12 * (step - 1) // 100 goes up eleven times
        marks = [step for step in range(2, 101) if 12 * (step - 1) // 100 != 12 * (step - 2) // 100]
        assert [mark["step"] for mark in reader.reward_marks()] == marks and len(marks) == 11
        for row in steps:
            assert rewards.load_version(run.rewards, row["reward_version"])
        kinds = [event["kind"] for event in reader.events()]
        # one at each end of twenty pauses, two beginnings, and none that the resume undid: 50 + 15
        # steps were written at first, three pauses (at 55, 60, 65) of them again
        assert kinds.count("status") == 2 * (20 + 3) + 2
        assert kinds.count("checkpoint") == 5 + 1


def test_problems_come_again_and_completions_add_up(runs_dir: Path) -> None:
    with RunReader(runs_dir / "big" / "run.db") as reader:
        groups = {step: reader.groups(step) for step in range(1, 101)}
        ids = [group["problem_id"] for step in groups.values() for group in step]
        assert len(ids) == 500 and all(11 <= ids.count(one) <= 14 for one in set(ids))
        assert len(set(ids)) == SMALL.pool
        rollouts = [one for step in groups.values() for group in step for one in group["rollouts"]]
        assert len(rollouts) == 2000
        assert 150 < sum(len(one["text"]) for one in rollouts) / 2000 < 250
        traced = reader.traced([one["id"] for one in rollouts])
        assert {step for step, found in groups.items() for group in found
                for one in group["rollouts"] if one["id"] in traced} == {50, 100}  # fmt: skip
        assert len(traced) == 2 * 4 * 4
        one = next(one for one in rollouts if one["id"] in traced)
        ids_of, trace = reader.trace(one["id"]) or ([], None)
        assert trace and len(ids_of) == one["num_tokens"] and "".join(trace.pieces) == one["text"]


def test_steps_depend_on_the_seed_and_their_number() -> None:
    one, other = Steps(SMALL), Steps(SMALL)
    assert one.groups(50) == other.groups(50) and one.stats(7, one.groups(7)).metrics == (
        other.stats(7, other.groups(7)).metrics
    )
    assert one.groups(50) != Steps(replace(SMALL, seed=4)).groups(50)
    assert Size.of(json.loads(json.dumps(asdict(SMALL)))) == SMALL


def test_rewards_and_advantages_are_those_of_a_trainer() -> None:
    steps = Steps(replace(SMALL, group=64, prompts=40))
    found = steps.groups(100)
    assert all(isinstance(group.problem, Problem) for group in found)
    given = [[one.reward for one in group.rollouts] for group in found]
    assert any(None in group for group in given), "some have no reward"
    for group, expected in zip(found, advantages.assign(given, "zscore"), strict=True):
        assert [one.advantage for one in group.rollouts] == pytest.approx(expected)
    weights = [function.weight for function in steps.functions(100)]
    assert weights == pytest.approx([1.0, 0.2 * (1 + 11 / 12), 0.1])
    one = next(one for one in found[0].rollouts if one.correct)
    assert one.reward == pytest.approx(1 - weights[1] * len(one.ids) / 200 + weights[2])


def test_a_wide_group(runs_dir: Path) -> None:
    run = big_run.write_wide(runs_dir, "wide", groups=1, group=3, tokens=50)
    with RunReader(run.db_path) as reader:
        assert [len(reader.groups(step)[0]["rollouts"]) for step in (1, 2)] == [8, 3]
        for one in reader.groups(2)[0]["rollouts"]:
            ids, trace = reader.trace(one["id"]) or ([], None)
            assert len(ids) == 50 and trace and len(trace.entropy) == 50


def test_a_run_grows_while_it_is_told_to(runs_dir: Path) -> None:
    big_run.write_big(runs_dir, "growing", replace(SMALL, steps=30))
    script = Path(big_run.__file__)
    process = subprocess.Popen(
        [sys.executable, str(script), "grow", str(runs_dir), "growing", "--every", "0.01"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    assert process.stdin and process.stdout
    assert process.stdout.readline() == "ready\n"
    run = big_run.find_run(runs_dir, "growing")
    assert run.status() == "running"
    process.stdin.write("go\n")
    process.stdin.flush()
    with RunReader(run.db_path) as reader:
        while (reader.last_step() or 0) < 33:
            assert process.poll() is None
            time.sleep(0.01)
        process.stdin.close()
        assert process.wait(20) == 0
        assert len(reader.points("train/loss")[0]) == reader.last_step()
    assert run.status() == "stopped"
