"""An evaluation from the question to the report: every number again from the stored completions."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grpo_core import grading
from grpo_core.cli import app
from grpo_core.config import DataConfig, ModelConfig, RunConfig
from grpo_core.evaluation_data import data_for, key_of, limited, problems_of_run, problems_of_task
from grpo_core.evaluation_files import completions
from grpo_core.evaluation_job import evaluate_model, go_on
from grpo_core.evaluation_pairs import comparison, differences, paired
from grpo_core.evaluation_report import Answered, by_kind, report
from grpo_core.evaluation_store import EvaluationWriter
from grpo_core.evaluation_wish import Wish
from grpo_core.evaluations import Evaluation, list_evaluations
from grpo_core.launch import start
from grpo_core.records import Problem
from grpo_core.runs import Command, list_runs

WISH = Wish(task="arithmetic", limit=30, samples=4, batch_size=8, max_new_tokens=48)


def silent(*_: Any) -> None:
    """Hears of no batch."""


def stored(evaluation: Evaluation) -> list[tuple[Any, ...]]:
    """Every completion with its problem, as it lies in the database."""
    with sqlite3.connect(evaluation.db_path) as db:
        return db.execute(
            "SELECT g.step, g.problem_id, g.answer, r.idx, r.text, r.correct, r.finish,"
            " a.kind, a.extracted, a.rule FROM rollouts r JOIN groups g ON g.id = r.group_id"
            " JOIN answers a ON a.rollout_id = r.id ORDER BY r.id"
        ).fetchall()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The bundled model on 30 problems, one greedy and four sampled completions each."""
    return evaluate_model(tmp_path_factory.mktemp("runs"), "bundled:tiny", WISH, silent)


def test_the_figures_are_those_of_the_stored_completions(done: Evaluation) -> None:
    rows, found = stored(done), report(done)
    assert len(rows) == 30 * 5 and done.status() == "completed"
    for row in rows:  # judged once more, by the part of the judge that is in this process
        text, gold, correct = row[4], row[2], row[5]
        answer, rule = grading.extract(text)
        assert (answer, rule) == (row[8], row[9])
        assert bool(correct) == (answer is not None and grading.equivalent(answer, gold))
    greedy = [row for row in rows if row[7] == "greedy"]
    sampled = [row for row in rows if row[7] == "sampled"]
    assert found["greedy"]["num"] == 30
    assert found["greedy"]["num_correct"] == sum(row[5] for row in greedy) > 0
    assert found["greedy"]["accuracy"] == found["greedy"]["num_correct"] / 30
    assert found["greedy"]["truncated"] == sum(row[6] == "length" for row in greedy) / 30
    assert found["sampled"]["num_correct"] == sum(row[5] for row in sampled)
    by_problem = [[row[5] for row in sampled if row[1] == name] for name in {r[1] for r in rows}]
    at_1, at_2, at_4 = (row["value"] for row in found["sampled"]["pass"])
    assert at_1 == pytest.approx(sum(map(sum, by_problem)) / 120)
    assert at_4 == pytest.approx(sum(any(one) for one in by_problem) / 30)
    assert at_1 < at_2 < at_4
    assert [row["k"] for row in found["sampled"]["majority"]] == [2, 4]


def test_the_same_wish_is_not_asked_again(done: Evaluation) -> None:
    batches: list[Any] = []
    again = evaluate_model(
        done.path.parent, "bundled:tiny", WISH, lambda *said: batches.append(said)
    )
    assert again.name == done.name and not batches
    assert [one.name for one in list_evaluations(done.path.parent)] == [done.name]
    assert list_runs(done.path.parent) == [], "an evaluation is no run"


def test_every_completion_goes_out(done: Evaluation) -> None:
    rows = list(completions(done.db_path))
    assert [(row["completion"], row["gold"], row["kind"]) for row in rows] == [
        (row[4], row[2], row[7]) for row in stored(done)
    ]


@pytest.mark.slow
def test_a_killed_evaluation_repeats_nothing_and_ends_the_same(
    done: Evaluation, tmp_path: Path
) -> None:
    """Killed by the system (SIGKILL) after its first batches, then the same command again."""
    options = [
        "--task", "arithmetic", "--limit", "30", "--samples", "4", "--batch-size", "8",
        "--max-new-tokens", "48", "--runs-dir", str(tmp_path), "--json",
    ]  # fmt: skip
    command = [sys.executable, "-m", "grpo_core.cli", "evaluate", "bundled:tiny", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    path = tmp_path / done.name / "run.db"
    deadline = time.monotonic() + 60
    while num_batches(path) < 1 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = num_batches(path)
    assert 1 <= before < 4, "it was killed on its way"
    killed = Evaluation(path.parent)
    assert killed.status() == "crashed"
    first = stored(killed)
    said = subprocess.run(command, capture_output=True, check=True).stdout
    assert stored(killed)[: len(first)] == first
    assert stored(killed) == stored(done)
    with sqlite3.connect(path) as db:
        attempts = dict(db.execute("SELECT attempt, count(*) FROM steps GROUP BY 1").fetchall())
    assert attempts == {1: before, 2: 4 - before}
    ours = report(done)
    theirs = json.loads(said)
    for one in (ours, theirs):
        one.pop("seconds")
    assert theirs == ours


def num_batches(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM steps").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_a_disk_that_refuses_is_a_sentence_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = Wish(task="arithmetic", limit=12, batch_size=4, max_new_tokens=8)
    whole = EvaluationWriter.write_batch

    def full(writer: EvaluationWriter, batch: int, *rest: Any) -> None:
        if batch == 3:
            raise sqlite3.OperationalError("database or disk is full")
        whole(writer, batch, *rest)

    monkeypatch.setattr(EvaluationWriter, "write_batch", full)
    with pytest.raises(ValueError, match=r"run.db cannot be .*: database or disk is full; the sam"):
        evaluate_model(tmp_path, "bundled:tiny", wish, silent)
    (evaluation,) = list_evaluations(tmp_path)
    assert evaluation.status() == "failed" and report(evaluation)["num_done"] == 8
    monkeypatch.undo()
    assert evaluate_model(tmp_path, "bundled:tiny", wish, silent).status() == "completed"
    assert len(list_evaluations(tmp_path)) == 1 and report(evaluation)["num_done"] == 12


def test_nobody_answers_twice_at_the_same_time(tmp_path: Path) -> None:
    wish = Wish(task="arithmetic", limit=8, batch_size=4, max_new_tokens=8)
    heard: list[str] = []

    def again(_state: Any, _seconds: float) -> None:
        with pytest.raises(ValueError, match="is running already, in another process"):
            evaluate_model(tmp_path, "bundled:tiny", wish, silent)
        heard.append("refused")

    evaluate_model(tmp_path, "bundled:tiny", wish, again)
    assert heard == ["refused", "refused"]


def test_it_stops_between_two_batches_and_goes_on(tmp_path: Path) -> None:
    heard: list[int] = []

    def stop(state: Any, _seconds: float) -> None:
        heard.append(state.step)
        if state.step == 8:
            list_evaluations(tmp_path)[0].send(Command("stop"))

    wish = Wish(task="arithmetic", limit=20, batch_size=4, max_new_tokens=8)
    evaluation = evaluate_model(tmp_path, "bundled:tiny", wish, stop)
    assert (heard, evaluation.status()) == ([4, 8], "stopped")
    assert report(evaluation)["num_done"] == 8
    assert go_on(evaluation, stop).status() == "completed"
    assert heard == [4, 8, 12, 16, 20]


# --- a run and its checkpoints -------------------------------------------------------------------

RECIPE: dict[str, Any] = {
    "model": {"path": "bundled:tiny"},
    "rollout": {"prompts_per_step": 8, "group_size": 4, "max_new_tokens": 64},
    "optim": {"learning_rate": 1e-3},
    "evaluation": {"every": 2, "num_problems": 40, "batch_size": 40},
    "checkpoint": {"every": 1, "keep": 2},
    "num_steps": 2,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with two of two steps: `whole` and, with adapters, `lora`."""
    folder = tmp_path_factory.mktemp("trained")
    start(folder, "whole", RunConfig.model_validate(RECIPE))
    lora = {**RECIPE, "model": {"path": "bundled:tiny", "lora": {"rank": 4}}}
    start(folder, "lora", RunConfig.model_validate(lora))
    return folder


@pytest.mark.parametrize("name", ["whole", "lora"])
@pytest.mark.parametrize("step", [0, 2])
def test_a_checkpoint_is_as_good_as_the_run_said(runs: Path, name: str, step: int) -> None:
    evaluation = evaluate_model(runs, f"{name}@{step}", Wish(batch_size=40), silent)
    with sqlite3.connect(runs / name / "run.db") as db:
        expected = db.execute(
            "SELECT num_correct, num_problems, length_mean FROM evals WHERE step = ?", (step,)
        ).fetchone()
    greedy = report(evaluation)["greedy"]
    assert (greedy["num_correct"], greedy["num"], greedy["length_mean"]) == expected


def test_without_a_step_it_is_the_newest_checkpoint(runs: Path) -> None:
    settings = evaluate_model(runs, "whole", Wish(limit=5), silent).settings()
    assert (settings.run, settings.step) == ("whole", 2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", "neither a run in .* \\(there: lora, whole\\), nor RUN@STEP"),
        ("whole@7", "whole: has no checkpoint of step 7; there are: 2, 1"),
        ("no/model", "no/model: is no folder here and cannot be had from the hub"),
        ("bundled:other", "there is no bundled model 'other'"),
    ],
)
def test_an_unknown_model_is_said_in_a_sentence(runs: Path, target: str, message: str) -> None:
    before = {one.name for one in list_evaluations(runs)}
    with pytest.raises(ValueError, match=message):
        evaluate_model(runs, target, Wish(task="arithmetic"), silent)
    assert {one.name for one in list_evaluations(runs)} == before


def test_a_model_needs_a_task(runs: Path) -> None:
    with pytest.raises(ValueError, match="--task: say which task"):
        evaluate_model(runs, "bundled:tiny", Wish(), silent)
    with pytest.raises(ValueError, match="path is needed with task: file"):
        evaluate_model(runs, "bundled:tiny", Wish(task="file"), silent)


def test_what_was_left_open_is_not_what_somebody_chose(tmp_path: Path) -> None:
    wish = Wish(task="arithmetic", limit=4)
    short = evaluate_model(tmp_path, "bundled:tiny", replace(wish, max_new_tokens=4), silent)
    free = evaluate_model(tmp_path, "bundled:tiny", wish, silent)
    assert free.name != short.name
    assert 200 < free.settings().max_new_tokens < 256, "as much as has room"
    assert evaluate_model(tmp_path, "bundled:tiny", wish, silent).name == free.name


def test_a_damaged_one_does_not_stand_in_the_way(done: Evaluation, tmp_path: Path) -> None:
    shutil.copytree(done.path, tmp_path / "whole")
    shutil.copytree(done.path, tmp_path / "damaged")
    (tmp_path / "damaged" / "run.db").write_bytes(b"no database" * 1000)
    state = json.loads((tmp_path / "damaged" / "state.json").read_text())
    (tmp_path / "damaged" / "state.json").write_text(json.dumps(state | {"status": "stopped"}))
    assert evaluate_model(tmp_path, "bundled:tiny", WISH, silent).name == "whole"
    shutil.rmtree(tmp_path / "whole")
    again = evaluate_model(tmp_path, "bundled:tiny", WISH, silent)
    assert again.name not in ("whole", "damaged") and report(again)["num_done"] == 30


def test_a_folder_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("grpo_core.evaluations.write_atomically", full)
    with pytest.raises(ValueError, match="No space left on device"):
        evaluate_model(tmp_path, "bundled:tiny", WISH, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_the_same_name_is_another(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs / "whole", folder / "whole")
    first = evaluate_model(folder, "whole@0", Wish(limit=3), silent)
    with sqlite3.connect(folder / "whole" / "run.db") as db:
        db.execute("UPDATE attempts SET time = time + 60")
    assert evaluate_model(folder, "whole@0", Wish(limit=3), silent).name != first.name


def test_prompts_that_do_not_fit_say_what_would(tmp_path: Path) -> None:
    wish = Wish(task="arithmetic", limit=4, max_new_tokens=5000)
    with pytest.raises(ValueError, match=r"--max-new-tokens 2\d\d or less fits"):
        evaluate_model(tmp_path, "bundled:tiny", wish, silent)
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"question": "1+" * 400, "answer": "1"}))
    with pytest.raises(ValueError, match=r"context of 256 is too short; ask a model with more"):
        evaluate_model(tmp_path, "bundled:tiny", Wish(task="file", data=str(file)), silent)


def test_a_changed_file_begins_a_new_evaluation(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(6)]
    file.write_text("\n".join(map(json.dumps, rows)))
    wish = Wish(task="file", data=str(file), batch_size=2, max_new_tokens=8)

    def interrupt(state: Any, _seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_model(tmp_path / "runs", "bundled:tiny", wish, interrupt)
    (first,) = list_evaluations(tmp_path / "runs")
    assert first.status() == "stopped" and report(first)["num_done"] == 2
    file.write_text("\n".join(map(json.dumps, [*rows, {"question": "2+2=", "answer": "4"}])))
    with pytest.raises(ValueError, match="its problems have changed since it began"):
        go_on(first, silent)
    second = evaluate_model(tmp_path / "runs", "bundled:tiny", wish, silent)
    assert second.name != first.name and report(second)["num_done"] == 7


def test_a_gold_that_is_missing_is_left_out_and_said(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    rows = [{"question": "1+1=", "answer": "2"}, {"question": "1+2="}, {"question": "1+3="}]
    file.write_text("\n".join(map(json.dumps, rows)))
    wish = Wish(task="file", data=str(file), max_new_tokens=8)
    found = report(evaluate_model(tmp_path / "runs", "bundled:tiny", wish, silent))
    assert found["num_done"] == 1
    assert found["notices"] == [
        "2 of 3 rows of test are left out (row 2: there is no column 'answer' (there: question); "
        "set data.question_column and data.answer_column; row 3: there is no column 'answer' "
        "(there: question); set data.question_column and data.answer_column)"
    ]


# --- the problems --------------------------------------------------------------------------------


def test_a_smaller_limit_is_a_part_of_a_larger_one_whatever_the_order() -> None:
    problems = [Problem(f"test-{n}", f"what is {n}?", str(n)) for n in range(100)]
    large, small = limited(problems, 30), limited(problems, 10)
    assert (len(large), len(small)) == (30, 10) and {p.id for p in small} < {p.id for p in large}
    assert limited(problems[::-1], 10) == small == large[:10], "a stopped one is a sample too"
    assert small != problems[:10]
    assert limited(problems, None) == limited(problems, 100) != problems


def test_what_a_run_was_trained_on_is_said(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(10)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fresh = [{"question": "50+1=", "answer": "51"}, {"question": " 3+1= ", "answer": "4"}]
    (tmp_path / "test.jsonl").write_text(json.dumps(rows[0] | {"question": "90+9="}))
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, fresh)))
    config = RunConfig.model_validate({"data": {"task": "file", "path": str(tmp_path)}})
    data = data_for(config, "file", str(tmp_path / "other.jsonl"))
    asked = problems_of_task(data, None, config)
    assert len(asked.problems) == 2
    assert asked.notes == [
        "1 of the 2 questions are among those that the run was trained on: on these it is not "
        "tested, it is asked again"
    ]
    assert [p.question for p in problems_of_run(config, None).problems] == ["90+9="]


def test_a_runs_own_splits_and_rows_say_nothing_of_another_file(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows[:30])))
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows[30:35])))
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, rows[20:])))
    config = RunConfig.model_validate(
        {"data": {"task": "file", "path": str(tmp_path), "eval_split": "test", "max_rows": 30}}
    )
    data = data_for(config, None, str(tmp_path / "other.jsonl"))
    assert len(problems_of_task(data, None, config).problems) == 20
    asked = problems_of_task(data, 6, config)
    known = sum(int(p.question.split("+")[0]) < 30 for p in asked.problems)
    assert 0 < known < 6
    assert asked.notes[0].startswith(f"{known} of the 6 questions are among those")


def test_a_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asked.jsonl").write_text(json.dumps({"question": "1+1=", "answer": "2"}))
    monkeypatch.chdir(tmp_path)
    wish = Wish(task="file", data="asked.jsonl", max_new_tokens=8)
    evaluation = evaluate_model(tmp_path / "runs", "bundled:tiny", wish, silent)
    assert evaluation.settings().data.path == str(tmp_path / "asked.jsonl")
    assert data_for(None, "gsm8k", "hub:a/b").path == "hub:a/b"


def test_a_generator_gives_every_model_the_same_problems() -> None:
    few = RunConfig.model_validate({"evaluation": {"num_problems": 40}})
    many = RunConfig.model_validate({"evaluation": {"num_problems": 4000}})
    asked = [problems_of_run(few, 50), problems_of_run(many, 50)]
    asked.append(problems_of_task(DataConfig(), 50, None))
    assert len({one.digest for one in asked}) == 1


def test_a_folder_of_test_problems_alone_is_asked_and_shots_need_training_ones(
    tmp_path: Path,
) -> None:
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(6)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows[:2])))
    data = DataConfig(task="file", path=str(tmp_path))
    assert len(problems_of_task(data, None, None).problems) == 2
    few = data.model_copy(update={"shots": 2})
    with pytest.raises(ValueError, match=r"data.shots: 2 examples are taken .* there are 0"):
        problems_of_task(few, None, None)
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = problems_of_task(few, None, None)
    shown = {question for question, _ in asked.problems[0].examples}
    assert len(shown) == 2 and not shown & {"0+1=", "1+1="}, "none that is asked"
    config = RunConfig.model_validate({"data": few.model_dump()})
    other = few.model_copy(update={"path": str(tmp_path / "test.jsonl")})
    own = problems_of_run(config, None).problems[0].examples
    assert problems_of_task(other, None, config).problems[0].examples == own, "as it was trained"


def test_without_a_test_split_only_what_the_run_held_out_is_asked(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(100)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig.model_validate(
        {
            "data": {"task": "file", "path": str(tmp_path / "all.jsonl")},
            "evaluation": {"num_problems": 7},
        }
    )
    assert len(problems_of_run(config, None).problems) == 7


# --- reports and comparisons ---------------------------------------------------------------------


def one(key: str, right: bool, sampled: list[bool] | None = None, **row: Any) -> Answered:
    """A problem with its greedy completion, made up."""

    def said(correct: bool) -> dict[str, Any]:
        return {"correct": correct, "rule": "boxed", "extracted": "1", "num_tokens": 5}

    samples = [said(correct) for correct in sampled or []]
    return Answered(key, 0, 1, "?" * len(key), "1", row, said(right), samples)


def test_by_kind_by_hand() -> None:
    problems = [
        *(one(f"a{n}", n < 1, level="Level 1", id=n) for n in range(4)),
        *(one(f"b{n}", n < 3, level="Level 2", id=n + 10) for n in range(6)),
    ]
    found = dict(by_kind(problems))
    assert list(found) == ["level"], "an id is different for all, all lengths are the same"
    assert [(r["value"], r["num"], r["num_correct"]) for r in found["level"]] == [
        ("Level 1", 4, 1), ("Level 2", 6, 3),
    ]  # fmt: skip


def test_bands_of_a_length_are_whole() -> None:
    """Eight problems in four bands; equal lengths stay together."""
    lengths = [1, 1, 1, 2, 3, 4, 5, 6]
    found = dict(by_kind([one("x" * length, True) for length in lengths]))
    bands = [(r["value"], r["num"]) for r in found["characters of the question"]]
    assert bands == [("1", 3), ("2", 1), ("3 to 4", 2), ("5 to 6", 2)]


def test_steps_of_a_gsm8k_solution() -> None:
    short, long = "2+2=4\n#### 4", "1\n\n2\n3\n#### 3"
    problems = [one("a", True, solution=short), one("b", False, solution=long)]
    found = dict(by_kind(problems))
    assert [(r["value"], r["num_correct"]) for r in found["steps of the solution"]] == [
        ("1", 1), ("3", 0),
    ]  # fmt: skip


def test_a_comparison_by_hand() -> None:
    first = [one("a", True), one("b", True), one("c", False), one("d", False), one("e", True)]
    second = [one("c", True), one("b", False), one("a", True), one("d", True), one("z", True)]
    both = paired(first, second)
    found = comparison(both)
    assert [p.first.key for p in both.gained] == ["c", "d"]
    assert [p.first.key for p in both.lost] == ["b"]
    assert (found["num"], found["num_first"], found["num_second"]) == (4, 5, 5)
    assert (found["both_right"], found["gained"], found["lost"]) == (1, 2, 1)
    assert found["difference"] == 0.25 and found["p_value"] == 1.0
    assert found["interval"][0] < 0.25 < found["interval"][1]
    assert found["sampled"] is None


def test_a_comparison_of_samples_by_hand() -> None:
    first = [one("a", True, [True, False]), one("b", True, [False, False])]
    second = [one("a", True, [True, True]), one("b", True, [True, False])]
    found = comparison(paired(first, second))["sampled"]
    assert found["difference"] == 0.5


def test_keys_do_not_depend_on_white_space_and_do_on_the_answer() -> None:
    keys = [key_of(Problem("1", *said)) for said in [("a  b", "1"), (" a b ", "1"), ("a b", "2")]]
    assert keys[0] == keys[1] != keys[2]


def test_what_was_not_asked_alike_is_said(done: Evaluation) -> None:
    settings = done.settings()
    other = settings.model_copy(
        update={"samples": 8, "data": DataConfig(prompt_template="Q: {question}")}
    )
    assert differences(settings, settings) == []
    assert differences(settings, other) == ["samples (4 and 8)", "prompt_template"]


# --- the command ---------------------------------------------------------------------------------


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grpo_core.cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_compares_and_writes(runs: Path, tmp_path: Path) -> None:
    ran = cli("whole@0", "whole", "--runs-dir", runs, "--batch-size", 40, "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    first, second = (one["greedy"]["num_correct"] for one in said["evaluations"])
    (both,) = said["comparisons"]
    assert both["num"] == 40 and both["gained"] - both["lost"] == second - first
    assert both["asked_differently"] == []
    out = tmp_path / "all.csv"
    ran = cli("whole@0", "--runs-dir", runs, "--batch-size", 40, "--out", out)
    assert ran.returncode == 0 and f"{first} of 40 problems are solved greedily" in ran.stdout
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 and sum(row["correct"] == "True" for row in rows) == first


def test_evaluations_are_listed_stopped_and_deleted_as_runs_are(
    done: Evaluation, tmp_path: Path
) -> None:
    shutil.copytree(done.path, tmp_path / "mine")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "evaluation.yaml").write_text("model: [")
    given = ["--runs-dir", str(tmp_path)]
    runner = CliRunner()
    listed = runner.invoke(app, ["evaluations", *given, "--json"])
    assert [row["name"] for row in json.loads(listed.stdout)] == ["mine"]
    assert "broken: cannot be read" in listed.stderr
    assert "30/30" in runner.invoke(app, ["evaluations", *given]).stdout
    stopped = runner.invoke(app, ["stop", "mine", *given])
    assert "mine: is completed; there is nothing to stop" in str(stopped.exception)
    lost = runner.invoke(app, ["delete", "nothing", "--yes", *given])
    assert "no such run or evaluation in" in str(lost.exception)
    assert "(there: broken, mine)" in str(lost.exception)
    assert runner.invoke(app, ["delete", "mine", "--yes", *given]).exit_code == 0
    assert not (tmp_path / "mine").exists() and done.path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--name", "x"], "--name and --out are for one model at a time"),
        (["bundled:tiny", "--task", "gsm8k", "--out", "x.txt"], "ends in .csv or .jsonl"),
        (["bundled:tiny", "--task", "gsm8k", "--out", "/nowhere/x.csv"], "in a folder that is"),
    ],
)
def test_bad_input_is_a_sentence(tmp_path: Path, arguments: list[str], message: str) -> None:
    ran = cli(*arguments, "--runs-dir", tmp_path)
    assert ran.returncode == 2 and message in ran.stderr and "Traceback" not in ran.stderr


def test_all_models_are_known_before_the_first_is_asked(runs: Path) -> None:
    before = len(list_evaluations(runs))
    given = ["--runs-dir", str(runs), "--limit", "7"]
    for more, message in (("nobody", "neither a run in"), ("bundled:tiny", "--task: say which")):
        ran = CliRunner().invoke(app, ["evaluate", "whole@0", more, *given])
        assert message in str(ran.exception)
    assert len(list_evaluations(runs)) == before


def test_an_evaluation_has_settings_of_its_own(done: Evaluation) -> None:
    given = ["--runs-dir", str(done.path.parent), "--samples", "16"]
    ran = CliRunner().invoke(app, ["evaluate", done.name, *given])
    assert "settings of its own; leave the options away" in str(ran.exception)


def test_a_model_config_is_not_trained(tmp_path: Path) -> None:
    """No reference and no copy: an evaluation holds the model once."""
    import torch

    from grpo_core.evaluation_target import target_of_model

    policy = target_of_model(ModelConfig(path="bundled:tiny")).load(torch.device("cpu"))
    assert policy.reference is None and policy.masters == {}
