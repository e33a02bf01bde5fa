"""The Evaluate page: every number it shows again from the databases, and what a click begins."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from grpo_core.config import RunConfig
from grpo_core.evaluation_files import as_csv, as_jsonl
from grpo_core.evaluation_job import evaluate_model
from grpo_core.evaluation_wish import Wish
from grpo_core.evaluations import list_evaluations
from grpo_core.intervals import wilson
from grpo_core.launch import start
from grpo_core.runs import Command
from studio import (
    data,
    evaluation_curve,
    evaluation_jobs,
    evaluation_tables,
    evaluation_versus,
    evaluation_view,
)
from studio.evaluation_jobs import Question
from studio.evaluation_view import Known

NUM, SAMPLES = 24, 2
WISH = Wish(limit=NUM, samples=SAMPLES, batch_size=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, evaluated as it began and as it ended."""
    folder = tmp_path_factory.mktemp("studio") / "runs"
    recipe = {
        "rollout": {"prompts_per_step": 8, "group_size": 4},
        "optim": {"learning_rate": 1e-3},
        "evaluation": {"every": 1, "num_problems": 40},
        "checkpoint": {"every": 1},
        "num_steps": 2,
    }
    start(folder, "try", RunConfig.model_validate(recipe))
    for target in ("try@0", "try@2"):
        evaluate_model(folder, target, WISH, lambda *_: None)
    return folder


@pytest.fixture
def shown(trained: Path) -> Iterator[Path]:
    """The studio shows these runs."""
    before = data.runs_dir()
    data.set_runs_dir(trained)
    yield trained
    data.set_runs_dir(before)


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(
        str(Path(data.__file__).parent / "app_pages" / "evaluate.py"), default_timeout=60
    )
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, [error.value for error in app.exception]
    return app


def payload(app: AppTest, key: str) -> dict[str, Any]:
    """What Python handed to the component that has `key` in its data."""
    found = [json.loads(one.proto.json) for one in app.get("bidi_component")]
    return next(one for one in found if key in one)


def texts(app: AppTest) -> str:
    return "\n".join(str(e.value) for kind in ("text", "caption", "code") for e in app.get(kind))


def right(folder: Path, name: str) -> dict[str, int]:
    """Whether the greedy completion of each problem is right, by question."""
    with sqlite3.connect(folder / name / "run.db") as db:
        return dict(
            db.execute(
                "SELECT q.question, r.correct FROM asked q JOIN rollouts r"
                " ON r.group_id = q.group_id WHERE r.idx = 0 ORDER BY r.id"
            ).fetchall()
        )


START, END = "eval-arithmetic-try-at-the-start-1", "eval-arithmetic-try-step-2-1"


def test_the_table_shows_what_is_stored(shown: Path) -> None:
    (section,) = payload(open_page(), "sections")["sections"]
    assert section["title"] == "arithmetic" and section["line"] is None
    assert [row["label"] for row in section["rows"]] == ["try step 2", "try at the start"]
    for row in section["rows"]:
        num = sum(right(shown, row["id"]).values())
        assert row["value"] == num / NUM
        assert [row["low"], row["high"]] == list(wilson(num, NUM))
        assert row["cells"][0]["text"] == f"{100 * num / NUM:.1f} %"
        assert row["cells"][4]["text"] == str(NUM) and row["status"] is None
        assert [action["kind"] for action in row["actions"]] == ["inspect", "delete"]


def test_two_evaluations_are_compared_problem_by_problem(shown: Path) -> None:
    app = open_page(evaluation=END, against=START)
    before, after = right(shown, START), right(shown, END)
    gained = [q for q in before if after[q] and not before[q]]
    lost = [q for q in before if before[q] and not after[q]]
    neither = [q for q in before if not before[q] and not after[q]]
    lists = payload(app, "lists")["lists"]
    assert [[row["question"] for row in one["rows"]] for one in lists] == [gained, lost, neither]
    assert len(gained) + len(lost) > 0, "two steps change something"
    points = f"{100 * (len(gained) - len(lost)) / NUM:+.1f}".replace("-", "−")
    said = texts(app)
    assert f"On the {NUM} problems that both were asked, try step 2 solves {len(gained)}" in said
    assert f"and loses {len(lost)}: {points} points greedily" in said
    assert "differs too" not in said
    row = next(row for one in lists for row in one["rows"])
    with sqlite3.connect(shown / START / "run.db") as db:
        members = db.execute(
            "SELECT id FROM groups WHERE step = ? ORDER BY id", (row["batches"][0],)
        ).fetchall()
    assert members[row["places"][0] - 1][0] == row["groups"][0], "a link opens this problem"


def test_a_long_list_is_cut_and_its_number_is_not(
    shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = payload(open_page(evaluation=END, against=START), "lists")["lists"]
    monkeypatch.setattr(evaluation_versus, "MAX_PAIRS", 1)
    cut = payload(open_page(evaluation=END, against=START), "lists")["lists"]
    assert [one["num"] for one in cut] == [len(one["rows"]) for one in whole]
    assert [one["rows"] for one in cut] == [one["rows"][:1] for one in whole]
    assert max(one["num"] for one in cut) > 1


def test_the_other_way_round_what_was_gained_is_lost(shown: Path) -> None:
    there = payload(open_page(evaluation=END, against=START), "lists")["lists"]
    back = payload(open_page(evaluation=START, against=END), "lists")["lists"]
    assert [len(one["rows"]) for one in there] == [len(back[i]["rows"]) for i in (1, 0, 2)]


def test_the_curve_shows_counts_with_intervals(shown: Path) -> None:
    run = data.get_run("try")
    assert run is not None
    evals = data.read(run, lambda reader: reader.evals(), [])
    known = [evaluation_view.read(one) for one in list_evaluations(shown)]
    figure = evaluation_curve.figure(
        evals, [k for k in known if isinstance(k, Known)], ["#112233", "#445566"]
    )
    band, line, points = figure.data
    assert list(line.x) == [0, 1, 2] and list(points.x) == [0, 2]
    assert list(line.y) == [row["num_correct"] / 40 for row in evals]
    low, high = wilson(evals[0]["num_correct"], 40)
    assert (band.y[0], band.y[-1]) == (high, low)
    num = sum(right(shown, START).values())
    assert points.y[0] == num / NUM
    assert points.y[0] - points.error_y.arrayminus[0] == pytest.approx(wilson(num, NUM)[0])


def test_small_tables_by_hand() -> None:
    found = {
        "greedy": {
            "rules": {"answer_tag": {"num": 8, "correct": 2}},
            "truncated": 0.25, "unanswered": 0.0, "undecided": 1, "length_mean": 12.34,
        },
        "sampled": None,
    }  # fmt: skip
    assert evaluation_tables.rules(found) == [
        {"Found by": "answer tag", "Completions": "8", "Right": "25.0 %"}
    ]
    assert [row["Greedy"] for row in evaluation_tables.endings(found)] == [
        "25.0 %", "0.0 %", "1", "12.3",
    ]  # fmt: skip
    sampled = {
        "pass": [
            {"k": 1, "value": 0.5, "interval": [0.25, 0.75]},
            {"k": 2, "value": 1, "interval": [0.5, 1]},
        ],
        "majority": [{"k": 2, "value": 0.5, "interval": [0.2, 0.8]}],
    }
    assert evaluation_tables.several(sampled) == [
        {"k": 1, "pass@k": "50.0 % (25.0 to 75.0)", "maj@k": "—"},
        {"k": 2, "pass@k": "100.0 % (50.0 to 100.0)", "maj@k": "50.0 % (20.0 to 80.0)"},
    ]


@pytest.mark.parametrize(("task", "percent"), [("gsm8k", 88.2), ("math", 51.7), ("cmath", 88.8)])
def test_what_others_report_is_marked_as_theirs(shown: Path, task: str, percent: float) -> None:
    known = evaluation_view.read(list_evaluations(shown)[0])
    assert isinstance(known, Known)
    other = known.settings.model_copy(
        update={"data": known.settings.data.model_copy(update={"task": task})}
    )
    (section,) = evaluation_view.sections([Known(known.evaluation, other, known.found)], [])
    assert section["line"]["value"] == pytest.approx(percent / 100)
    label = section["line"]["label"]
    assert label.startswith("Reported by others, not measured here: DeepSeekMath-RL 7B")
    assert f"{percent} %" in label and "arXiv 2402.03300" in label


def test_an_empty_studio_says_what_to_do(tmp_path: Path, shown: Path) -> None:
    data.set_runs_dir(tmp_path / "none")
    app = open_page()
    assert "No model has been evaluated yet." in texts(app)
    assert app.expander[0].proto.expanded
    assert app.button[0].disabled, "there is nobody to ask"


def test_damaged_evaluations_do_not_hide_the_others(shown: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(shown, copy)
    (copy / START / "run.db").write_bytes(b"no database at all" * 100)
    (copy / "eval-broken").mkdir()
    (copy / "eval-broken" / "evaluation.yaml").write_text("model: [")
    data.set_runs_dir(copy)
    app = open_page()
    (section,) = payload(app, "sections")["sections"]
    assert [row["id"] for row in section["rows"]] == [END]
    said = texts(app)
    assert START in said and "eval-broken" in said and "cannot be read" in said
    assert [b.label for b in app.button if b.key and b.key.startswith("delete")] == ["Delete"] * 2


# --- the form ------------------------------------------------------------------------------------


def test_the_form_is_a_command(shown: Path) -> None:
    app = open_page()
    assert "grpo-studio evaluate try@0 try@2 --runs-dir" in texts(app), "before and after"
    app.multiselect(key="ask_models").set_value(["try@2"])
    app.text_input(key="ask_other").set_value("/my/model")
    app.selectbox(key="ask_task").set_value("file")
    app.number_input(key="ask_limit").set_value(20)
    app.number_input(key="ask_samples").set_value(4)
    app.number_input(key="ask_temperature").set_value(0.7)
    app.run()
    app.text_input(key="ask_path").set_value("my data.jsonl")
    app.run()
    assert (
        "grpo-studio evaluate try@2 /my/model --task file --data 'my data.jsonl' --limit 20 "
        "--samples 4 --temperature 0.7 --runs-dir"
    ) in texts(app)


def wait_for(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.mark.slow
def test_a_click_begins_once_and_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    question = Question(
        ("bundled:tiny",), ("--task", "arithmetic", "--limit", "6", "--max-new-tokens", "8")
    )
    evaluation_jobs.ask(tmp_path, question)
    evaluation_jobs.ask(tmp_path, question)
    assert evaluation_jobs.loading([]) == ["bundled:tiny"], "the second click does nothing"
    evaluation = wait_for(lambda: next(iter(list_evaluations(tmp_path)), None))
    wait_for(lambda: evaluation.status() == "completed")
    wait_for(lambda: not evaluation_jobs.loading([]))
    assert evaluation_jobs.refusals() == []
    evaluation_jobs.ask(tmp_path, Question(("nobody",)))
    (said,) = wait_for(evaluation_jobs.refusals)
    assert said.startswith("nobody: nobody: neither a run in")
    assert evaluation_jobs.refusals() == [], "it is said once"
    assert len(list_evaluations(tmp_path)) == 1


# --- files ---------------------------------------------------------------------------------------


def test_the_files_hold_every_completion(shown: Path) -> None:
    path = shown / END / "run.db"
    rows = [json.loads(line) for line in as_jsonl(path).splitlines()]
    assert len(rows) == NUM * (1 + SAMPLES)
    assert {r["question"]: int(r["correct"]) for r in rows if r["kind"] == "greedy"} == right(
        shown, END
    )
    table = list(csv.DictReader(io.StringIO(as_csv(path).decode("utf-8-sig"))))
    assert [row["completion"] for row in table] == [row["completion"] for row in rows]


def test_a_table_carries_out_no_formula_of_a_model(shown: Path, tmp_path: Path) -> None:
    shutil.copy(shown / END / "run.db", tmp_path / "run.db")
    said = ["=1+1", "+cmd", "-5", "-x", "@sum", "plain"]
    with sqlite3.connect(tmp_path / "run.db") as db:
        for number, text in enumerate(said):
            db.execute("UPDATE rollouts SET text = ? WHERE id = ?", (text, number + 1))
    text = as_csv(tmp_path / "run.db").decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))[: len(said)]
    assert [row["completion"] for row in table] == ["'=1+1", "'+cmd", "-5", "'-x", "'@sum", "plain"]
    rows = [json.loads(line) for line in as_jsonl(tmp_path / "run.db").splitlines()]
    assert [row["completion"] for row in rows[: len(said)]] == said, "as it was"


# --- on its way ----------------------------------------------------------------------------------


def test_one_on_its_way_shows_how_far_it_is(shown: Path, tmp_path: Path) -> None:
    """Stopped after the second of three batches: 16 of 24, and what can be done."""
    folder = tmp_path / "runs"
    shutil.copytree(shown / "try", folder / "try")

    def stop(state: Any, _seconds: float) -> None:
        if state.step == 16:
            list_evaluations(folder)[0].send(Command("stop"))

    evaluate_model(folder, "try@2", WISH, stop)
    data.set_runs_dir(folder)
    (section,) = payload(open_page(), "sections")["sections"]
    (row,) = section["rows"]
    assert row["cells"][4]["text"] == "16 of 24"
    assert row["status"]["name"] == "stopped" and row["status"]["share"] == pytest.approx(2 / 3)
    assert [action["kind"] for action in row["actions"]] == ["inspect", "go_on", "delete"]


def test_durations_in_words() -> None:
    said = [evaluation_view.duration(s) for s in (0.4, 59.4, 61, 3540, 3660, 7300)]
    assert said == ["0 s", "59 s", "1 min", "59 min", "1 h 01 min", "2 h 02 min"]
