"""Every page with Streamlit's AppTest: without runs, with a recorded run, with damaged ones."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.recorded import record_run, write_status
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from grpo_core.config import ALGORITHMS, RunConfig, Section
from grpo_core.recipe import load_recipe
from grpo_core.records import Event
from grpo_core.runs import Run, create_run
from grpo_core.store import RunWriter
from studio import api, charts, components, curves, data, events, forms, jobs, lab, scoring

STUDIO = Path(data.__file__).parent
PAGES = {
    "runs": "app_pages/runs.py",
    "new_run": "app_pages/new_run.py",
    "live": "app_pages/live.py",
    "inspector": "app_pages/inspector.py",
    "reward_lab": "app_pages/reward_lab.py",
}
STATES = ("running", "paused", "completed", "crashed", "failed", "stopped")
HOSTILE = "<img src=x onerror=alert(1)> ![x](http://evil.example/x.png) :red[hi] $x$"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run, made once; tests work on copies."""
    folder = tmp_path_factory.mktemp("recorded")
    record_run(folder, "bundled-1", until=24, short_from=12)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    before = data.runs_dir()
    data.set_runs_dir(tmp_path)
    yield tmp_path
    data.set_runs_dir(before)


@pytest.fixture
def recorded(empty: Path, template: Path) -> Run:
    """A run that is being trained, as far as its files say."""
    shutil.copytree(template / "bundled-1", empty / "bundled-1")
    run = Run(empty / "bundled-1")
    write_status(run, "running", 24, 120)
    return run


def open_page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(STUDIO / "navigation.py"), default_timeout=30)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    if name != "runs":
        app.switch_page(PAGES[name]).run()
    assert not app.exception, [error.value for error in app.exception]
    return app


def payload(app: AppTest, index: int = 0) -> dict[str, Any]:
    """What Python handed to a component."""
    return dict(json.loads(app.get("bidi_component")[index].proto.json))


def texts(app: AppTest) -> str:
    kinds = ("text", "caption", "markdown", "code", "title")
    return "\n".join(str(e.value) for kind in kinds for e in app.get(kind))


# --- every page in every state -------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_without_runs(empty: Path, page: str) -> None:
    app = open_page(page)
    if page in ("live", "inspector", "reward_lab"):
        assert "There is no run to show yet." in texts(app)
    if page == "runs":
        labels = [button.label for button in app.button]
        assert labels == ["Start the bundled run"], "one primary button, nothing else"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("state", STATES)
def test_with_a_run(recorded: Run, page: str, state: str) -> None:
    write_status(recorded, state, 24, 120, HOSTILE)  # type: ignore[arg-type]
    open_page(page)


@pytest.mark.parametrize("page", PAGES)
def test_with_damaged_runs(recorded: Run, page: str) -> None:
    parent = recorded.path.parent
    create_run(parent, "only-created", "model: {path: x}\n")
    no_tables = create_run(parent, "no-tables", "")
    no_tables.db_path.touch()
    not_a_database = create_run(parent, "not-a-database", "[")
    not_a_database.db_path.write_text("this is not a database, but it is long enough " * 40)
    not_a_database.state_path.write_text("{")
    empty_db = create_run(parent, "no-rows", "num_steps: 3\n")
    RunWriter(empty_db.db_path).close()
    for name in ("only-created", "no-tables", "not-a-database", "no-rows", "bundled-1", "gone"):
        open_page(page, run=name, step="3")
    assert {row["name"] for row in data.overview()} == {
        "only-created", "no-tables", "not-a-database", "no-rows", "bundled-1"
    }  # fmt: skip


# --- runs and live -------------------------------------------------------------------------------


def test_overview_shows_what_the_table_needs(recorded: Run) -> None:
    (row,) = data.overview()
    assert row["name"] == "bundled-1" and row["status"] == "running"
    assert (row["step"], row["num_steps"]) == (24, 120)
    assert row["accuracy"] > 0.3 and len(row["sparkline"]) == 24
    write_status(recorded, "crashed", 24, 120)
    assert data.overview()[0]["status"] == "crashed"


def test_delete_asks_first(recorded: Run) -> None:
    app = open_page("runs")
    app.session_state["runs_deleting"] = "bundled-1"
    app.run()
    assert "bundled-1" in texts(app) and recorded.path.exists()
    write_status(recorded, "stopped", 24, 120)
    next(button for button in app.button if button.label == "Delete it").click().run()
    assert not recorded.path.exists()
    assert not app.exception


def test_delete_of_a_live_run_is_refused_in_words(recorded: Run) -> None:
    app = open_page("runs")
    app.session_state["runs_deleting"] = "bundled-1"
    app.run()
    next(button for button in app.button if button.label == "Delete it").click().run()
    assert recorded.path.exists() and "stop it first" in texts(app)


def test_live_component_gets_run_and_charts(recorded: Run) -> None:
    app = open_page("live", run="bundled-1")
    given = payload(app)
    assert given["url"] == "/api/runs/bundled-1"
    titles = [chart["title"] for chart in given["charts"]]
    assert {"Accuracy", "Reward", "Loss", "Entropy", "Completion length"} <= set(titles)
    drawn = {series["name"] for chart in given["charts"] for series in chart["series"]}
    written = set(data.read(recorded, lambda reader: reader.metric_names(), []))
    assert drawn <= written, "every curve has a metric of that name"


def test_a_failed_run_shows_what_the_trainer_wrote(recorded: Run) -> None:
    recorded.log_path.write_text("step 24\n" + HOSTILE)
    write_status(recorded, "failed", 24, 120, "out of disk")
    assert HOSTILE in app_code(open_page("live"))


def app_code(app: AppTest) -> str:
    return "\n".join(element.value for element in app.code)


def test_start_from_the_runs_page(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, jobs.Start]] = []

    def start(runs_dir: Path, request: str, wanted: jobs.Start) -> Run:
        asked.append((request, wanted))
        raise ValueError(HOSTILE)

    monkeypatch.setattr(jobs, "start", start)
    app = open_page("runs")
    app.button[0].click().run()
    assert not app.exception
    assert HOSTILE in [element.value for element in app.text], "a refusal is shown as plain text"
    assert asked[0][1] == jobs.Start("bundled", "")
    app.button[0].click().run()
    assert asked[1][0] != asked[0][0], "after a refusal the next click is a new request"


# --- new run -------------------------------------------------------------------------------------


def overrides_of(app: AppTest) -> str:
    return next(e.value for e in app.code if e.value.startswith("grpo-studio train"))


def test_form_has_every_knob_with_description_and_bounds(empty: Path) -> None:
    app = open_page("new_run")
    shown = " ".join(str(caption.value) for caption in app.caption)
    kinds = ("number_input", "selectbox", "text_input")
    keys = {str(widget.key) for kind in kinds for widget in app.get(kind)}
    for name, field in RunConfig.model_fields.items():
        section = field.annotation
        inner = (
            {f"{name}.{key}": knob for key, knob in section.model_fields.items()}
            if isinstance(section, type) and issubclass(section, Section)
            else {name: field}
        )
        for key, knob in inner.items():
            if key == "rewards":
                continue
            assert f"new/bundled/{key}" in keys, f"{key} has no widget"
            assert knob.description and knob.description in shown, f"{key} is not explained"
    steps = app.number_input(key="new/bundled/num_steps")
    assert steps.min == 1
    rate = app.number_input(key="new/bundled/optim.learning_rate")
    assert (rate.min, rate.max) == (0, 1)


def test_form_yaml_and_command_agree(empty: Path) -> None:
    app = open_page("new_run")
    app.number_input(key="new/bundled/num_steps").set_value(7)
    app.number_input(key="new/bundled/optim.learning_rate").set_value(0.0025)
    app.selectbox(key="new/bundled/algorithm.name").set_value("as_written").run()
    command = overrides_of(app)
    assert "--set num_steps=7" in command and "algorithm.name=as_written" in command
    recipe = next(e.value for e in app.code if e.value.startswith("model:"))
    assert "num_steps: 7" in recipe and "learning_rate: 0.0025" in recipe
    for key, value in ALGORITHMS["as_written"].items():
        assert f"{key}: {value}" in recipe, "the row's own settings follow its name"
    words = command.split("--set ")[1:]
    path = next(iter(Path(jobs.__file__).parents[1].glob("assets/recipes/bundled.yaml")))
    config = load_recipe(path, [word.strip().strip("'") for word in words])
    assert (config.num_steps, config.optim.learning_rate) == (7, 0.0025)


def test_form_error_stands_beside_the_form_and_loses_nothing(empty: Path) -> None:
    app = open_page("new_run")
    app.number_input(key="new/bundled/num_steps").set_value(9)
    app.text_input(key="new/bundled/data.prompt_template").set_value("no place").run()
    assert "prompt_template must contain {question}" in texts(app)
    start = next(button for button in app.button if button.label == "Start the run")
    assert start.disabled
    app.text_input(key="new/bundled/data.prompt_template").set_value("{question}").run()
    assert app.number_input(key="new/bundled/num_steps").value == 9
    assert not next(b for b in app.button if b.label == "Start the run").disabled
    for name, said in (("a/b", "is not a path"), (HOSTILE, "is not a path")):
        app.text_input(key="new_name").set_value(name).run()
        assert said in texts(app) and not app.exception


def test_form_starts_exactly_what_it_shows(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[jobs.Start] = []

    def start(runs_dir: Path, request: str, wanted: jobs.Start) -> Run:
        asked.append(wanted)
        raise ValueError("the model folder has no tokenizer")

    monkeypatch.setattr(jobs, "start", start)
    app = open_page("new_run")
    app.number_input(key="new/bundled/seed").set_value(5)
    app.text_input(key="new_name").set_value("mine").run()
    command = overrides_of(app)
    next(button for button in app.button if button.label == "Start the run").click().run()
    assert asked == [jobs.Start("bundled", "mine", ("seed=5",))]
    assert command == jobs.command_line(asked[0], empty)
    assert "no tokenizer" in texts(app)
    assert app.number_input(key="new/bundled/seed").value == 5, "nothing typed is lost"


@pytest.mark.parametrize("value", [1e-5, 0.0, True, None, "a: b", "a\nb", "", [1, "x"], "1e3"])
def test_words_read_back_as_the_value(value: Any) -> None:
    import yaml

    word = forms.to_word(value)
    assert "\n" not in word and yaml.safe_load(word) == value


# --- inspector -----------------------------------------------------------------------------------


def test_inspector_orders_best_to_worst(recorded: Run) -> None:
    app = open_page("inspector", run="bundled-1", step="20")
    given = payload(app)
    values = [rollout["reward"] for rollout in given["rollouts"]]
    assert values == sorted(values, reverse=True) and len(values) == 8
    assert set(given["rollouts"][0]["parts"]) == {"accuracy", "short"}
    assert all(rollout["traced"] for rollout in given["rollouts"]), "the first groups keep tokens"
    stored = data.read(recorded, lambda reader: reader.groups(20), [])
    assert given["prompt"] == stored[0]["prompt"], "with a length reward, every group has signal"


def test_inspector_flags_groups_without_signal(recorded: Run) -> None:
    app = open_page("inspector", run="bundled-1", step="24")
    table = app.dataframe[0].value
    groups = data.read(recorded, lambda reader: reader.group_summaries(24), [])
    flat = [group["reward_min"] == group["reward_max"] for group in groups]
    assert list(table["Signal"] == "none") == flat


@pytest.mark.parametrize(
    ("asked", "shown"), [("7", 7), ("999", 24), ("0", 1), ("x", 24), (None, 24)]
)
def test_inspector_step_from_the_address(recorded: Run, asked: str | None, shown: int) -> None:
    app = open_page("inspector", run="bundled-1", **({"step": asked} if asked else {}))
    assert app.number_input(key="step").value == shown


def test_masked_completions_come_last_with_their_reason(recorded: Run) -> None:
    module = ast.parse((STUDIO / "app_pages/inspector.py").read_text())
    assert any(getattr(node, "name", "") == "order" for node in module.body)
    app = open_page("inspector", run="bundled-1", step="3")
    writer = RunWriter(recorded.db_path)
    writer._db.execute(
        "UPDATE rollouts SET reward = NULL, advantage = NULL, outcome = 'timeout', error = 'slow'"
        " WHERE idx = 0 AND group_id IN (SELECT id FROM groups WHERE step = 3)"
    )
    writer.close()
    app.run()
    last = payload(app)["rollouts"][-1]
    assert (last["reward"], last["outcome"], last["error"]) == (None, "timeout", "slow")


# --- reward lab ----------------------------------------------------------------------------------


def lab_with(text: str) -> AppTest:
    app = open_page("reward_lab", run="bundled-1", step="20")
    app.session_state["lab_text"] = text
    app.session_state["lab_weights"] = {}
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, [error.value for error in app.exception]
    return app


def test_lab_begins_with_the_runs_reward(recorded: Run) -> None:
    app = open_page("reward_lab", run="bundled-1", step="20")
    given = payload(app)
    assert "def accuracy" in given["code"] and "def short" in given["code"]
    weights = {widget.key: widget.value for widget in app.number_input}
    assert weights["lab_weight_accuracy"] == 1.0 and weights["lab_weight_short"] == 0.2


def test_trying_the_reward_unchanged_gives_the_stored_numbers(recorded: Run) -> None:
    app = press(open_page("reward_lab", run="bundled-1", step="20"), "Try it")
    table = app.session_state["lab_trial"].table
    assert len(table) == 128
    assert (table["Old reward"] - table["New reward"]).abs().max() < 1e-9
    assert (table["Old adv."] - table["New adv."]).abs().max() < 1e-9


def test_trying_another_reward_compares_and_sorts(recorded: Run) -> None:
    app = press(lab_with("def longer(completion):\n    return len(completion)\n"), "Try it")
    trial = app.session_state["lab_trial"]
    assert (trial.table["New reward"] == trial.table["Completion"].str.len()).all()
    change = (trial.table["New adv."] - trial.table["Old adv."]).abs()
    assert change.is_monotonic_decreasing and change.iloc[0] > 0
    assert trial.seconds < 5 and not trial.faults


def test_faults_name_their_line_and_mark_it(recorded: Run) -> None:
    text = "def bad(completion):\n    print('seen', len(completion))\n    return 1 / 0\n"
    app = press(lab_with(text), "Try it")
    trial = app.session_state["lab_trial"]
    assert [(fault.line, fault.count) for fault in trial.faults] == [(3, 128)]
    assert "ZeroDivisionError" in texts(app)
    marks = payload(app)["problems"]
    assert [mark["line"] for mark in marks] == [3]
    assert trial.table["New reward"].isna().all() and "seen" in trial.table["Printed"][0]


@pytest.mark.parametrize(("text", "line"), [
    ("def f(completion):\n    return (\n", 2), ("x = = 1", 1), ("", None), ("x = 1\n", None),
    ("\0", 1), ("(" * 2000, 1),
])  # fmt: skip
def test_text_that_is_no_reward(recorded: Run, text: str, line: int | None) -> None:
    app = lab_with(text)
    assert next(b for b in app.button if b.label == "Try it").disabled
    assert next(b for b in app.button if b.label == "Apply to the run").disabled
    marks = payload(app)["problems"]
    assert [mark["line"] for mark in marks] == ([line] if line else [])


def test_weight_zero_leaves_a_function_out(recorded: Run) -> None:
    text = "def a(completion):\n    return 1\n\ndef b(completion):\n    return 2\n"
    app = lab_with(text)
    app.number_input(key="lab_weight_b").set_value(0.0).run()
    press(app, "Try it")
    assert (app.session_state["lab_trial"].table["New reward"] == 1.0).all()
    app.number_input(key="lab_weight_a").set_value(0.0).run()
    assert "all weights are 0" in texts(app)


def test_apply_sends_the_functions_and_waits_for_the_trainer(recorded: Run) -> None:
    app = press(lab_with("def f(completion):\n    return 2.0\n"), "Apply to the run")
    ((command, file),) = list(recorded.take_commands())
    assert command is not None and command.kind == "set_rewards"
    (function,) = command.args["functions"]
    assert (function["name"], function["weight"]) == ("f", 1.0)
    assert "The trainer takes it up before its next step." in texts(app)
    writer = RunWriter(recorded.db_path)
    detail = {"version": "abc", "names": ["f"], "command_id": command.id}
    writer.write_event(25, Event("reward_version", detail))
    writer.close()
    file.unlink()
    app.run()
    assert "in force from step 25" in texts(app)


def test_apply_that_the_trainer_refuses(recorded: Run) -> None:
    app = press(lab_with("def f(completion):\n    return 2.0\n"), "Apply to the run")
    ((command, _),) = list(recorded.take_commands())
    assert command is not None
    writer = RunWriter(recorded.db_path)
    refusal = {"message": HOSTILE, "command_id": command.id}
    writer.write_event(25, Event("notice", refusal))
    writer.close()
    app.run()
    assert HOSTILE in [element.value for element in app.text]


def test_apply_on_a_disk_that_refuses(recorded: Run) -> None:
    shutil.rmtree(recorded.inbox)
    recorded.inbox.write_text("in the way")
    app = press(lab_with("def f(completion):\n    return 2.0\n"), "Apply to the run")
    assert str(recorded.inbox) in texts(app) and "lab_pending" not in app.session_state


def test_bench_is_one_thread_that_survives_failures(recorded: Run) -> None:
    from grpo_core import rewards

    bench = scoring.bench()
    assert bench is scoring.bench()
    groups = scoring.stored_groups(recorded, 5)
    assert sum(len(group.rollouts) for group in groups) == 128
    assert all(len(r.ids) > 0 for g in groups for r in g.rollouts), "lengths are always there"
    forever = rewards.from_source("def f(completion):\n    while True: pass\n")
    scored = bench.score(forever, groups[:1], 5, 0.2)
    assert {r.outcome for g in scored.groups for r in g.rollouts} == {"timeout"}
    fine = rewards.from_source("def f(completion):\n    return 1.0\n")
    scored = bench.score(fine, groups[:1], 5, 2.0)
    assert {r.reward for g in scored.groups for r in g.rollouts} == {1.0}


# --- data, routes, words -------------------------------------------------------------------------


def test_curves_are_sent_once_and_then_what_is_new(recorded: Run) -> None:
    first = curves.since(recorded, 0, 0)
    assert first["series"]["train/loss"][0] == list(range(1, 25))
    quiet = curves.since(recorded, first["cursor"], first["attempt"])
    assert quiet["series"] == {} and quiet["drop_after"] is None
    writer = RunWriter(recorded.db_path, truncate_after=20)
    writer.close()
    resumed = curves.since(recorded, first["cursor"], first["attempt"])
    assert resumed["drop_after"] == 20 and resumed["attempt"] == first["attempt"] + 1


def test_thinning_keeps_spikes_order_and_the_last_point() -> None:
    steps = list(range(50_000))
    values = [0.0] * 50_000
    values[31_415], values[27_182] = 9.0, -9.0
    values[-1] = 0.5
    thin_steps, thin_values = charts.thin(steps, values, 2000)
    assert len(thin_steps) <= 2000 and thin_steps == sorted(thin_steps)
    assert {9.0, -9.0} <= set(thin_values)
    assert (thin_steps[-1], thin_values[-1]) == (49_999, 0.5)
    assert charts.thin([1, 2], [3.0, 4.0], 2000) == ([1, 2], [3.0, 4.0])


def test_live_state_has_marks_and_events(recorded: Run) -> None:
    state = api.live_state(recorded, 0, 0)
    versions = {row["step"]: row["number"] for row in state["marks"]}
    assert versions == {12: 2}
    assert state["run"]["status"] == "running"
    kinds = {event["kind"] for event in state["events"]}
    assert "reward_version" in kinds and "evaluation" not in kinds
    text = json.dumps(api._finite({"a": [float("nan"), 1.0], "b": float("inf")}))
    assert json.loads(text) == {"a": [None, 1.0], "b": None}


@pytest.mark.parametrize(
    ("kind", "detail", "text"),
    [
        (
            "reward_fault",
            {"function": "f", "message": HOSTILE, "file": "f.py", "line": 3, "count": 2,
             "traceback": "x", "completion": "y"},
            f"f: {HOSTILE} (f.py, line 3) · 2 completions left out",
        ),
        ("reward_version", {"version": "abc", "names": ["a", "b"]}, "a, b from this step on"),
        ("setting", {"overrides": ["seed=1"], "command_id": "x"}, "seed=1"),
        ("status", {"status": "paused", "command_id": "x"}, "paused"),
        ("checkpoint", {"path": "step_000020"}, "step_000020"),
        ("notice", {"message": "the disk is full", "command_id": "x"}, "the disk is full"),
        ("logprob_drift", {"mean_abs_nats": 0.12345, "bound": 0.1},
         "mean_abs_nats 0.1235 · bound 0.1"),
        ("unheard_of", {}, ""),
    ],
)  # fmt: skip
def test_events_become_one_sentence(kind: str, detail: dict[str, Any], text: str) -> None:
    stored = {"id": 3, "time": 1.0, "step": 7, "kind": kind, "detail": detail}
    shown = events.describe(stored)
    assert shown and shown["text"] == text
    assert events.describe({**stored, "kind": "evaluation"}) is None
    assert len(events.describe({**stored, "detail": {"message": "x" * 9999}})["text"]) < 500  # type: ignore[index]


@pytest.fixture
def client(recorded: Run) -> TestClient:
    return TestClient(Starlette(routes=api.routes()))


def test_routes_answer_and_refuse(client: TestClient) -> None:
    assert [run["name"] for run in client.get("/api/runs").json()["runs"]] == ["bundled-1"]
    state = client.get("/api/runs/bundled-1/metrics").json()
    assert len(state["series"]["train/loss"][0]) == 24
    later = f"since={state['cursor']}&attempt={state['attempt']}"
    again = client.get(f"/api/runs/bundled-1/metrics?{later}")
    assert again.json()["series"] == {} and again.headers["cache-control"] == "no-store"
    window = "name=train/loss&name=nothing&low=5&high=7"
    assert client.get(f"/api/runs/bundled-1/window?{window}").json()["series"] == {
        "train/loss": [[5, 6, 7], state["series"]["train/loss"][1][4:7]], "nothing": [[], []],
    }  # fmt: skip
    groups = client.get("/api/runs/bundled-1/groups/3").json()["groups"]
    assert len(groups) == 16 and len(groups[0]["rollouts"]) == 8
    first = groups[0]["rollouts"][0]
    tokens = client.get(f"/api/runs/bundled-1/tokens/{first['id']}").json()
    assert len(tokens["pieces"]) == len(tokens["logp"]) == first["num_tokens"]
    script = client.get("/api/assets/live.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs/gone/metrics", 404), ("/api/runs/..%2f..%2fetc/metrics", 404),
        ("/api/runs/%00/metrics", 404), ("/api/runs/.studio/metrics", 404),
        ("/api/runs/bundled-1/metrics?since=-1", 400),
        ("/api/runs/bundled-1/metrics?since=x", 400),
        ("/api/runs/bundled-1/metrics?since=" + "9" * 40, 400),
        ("/api/runs/bundled-1/window?low=x", 400), ("/api/runs/bundled-1/window?low=nan", 200),
        ("/api/runs/bundled-1/tokens/999999", 404), ("/api/runs/bundled-1/groups/x", 404),
        ("/api/runs/bundled-1/groups/99999", 200), ("/api/assets/LICENSES.txt", 404),
        ("/api/assets/..%2f__init__.py", 404), ("/api/nothing", 404),
    ],
)  # fmt: skip
def test_routes_with_bad_input(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_routes_only_read(client: TestClient, method: str) -> None:
    for path in ("/api/runs", "/api/runs/bundled-1/metrics", "/api/assets/live.js"):
        assert client.request(method, path).status_code == 405


def test_a_run_that_is_deleted_while_it_is_watched(client: TestClient, recorded: Run) -> None:
    shutil.rmtree(recorded.path)
    assert client.get("/api/runs/bundled-1/metrics").status_code == 404
    assert client.get("/api/runs").json() == {"runs": []}


def test_very_long_texts_are_cut_for_the_page(recorded: Run) -> None:
    writer = RunWriter(recorded.db_path)
    writer._db.execute("UPDATE rollouts SET text = ?", ("x" * 100_000,))
    writer.close()
    given = payload(open_page("inspector", run="bundled-1", step="3"))
    assert len(given["rollouts"][0]["text"]) < 21_000
    assert given["rollouts"][0]["text"].endswith("80,000 more characters")


@pytest.mark.parametrize(("value", "form", "text"), [
    (0.1234, "percent", "12.3 %"), (None, "number", "—"), (float("nan"), "number", "—"),
    (0.85714, "number", "0.857"), (0.0, "number", "0.000"), (0.00042, "number", "0.00042"),
    (12.345, "number", "12.3"), (12345.6, "number", "12,346"), (2061.7, "rate", "2,062"),
    (15.94, "count", "15.9"), (1.5, "signed", "+1.50"), (-2.0, "signed", "-2.00"),
])  # fmt: skip
def test_numbers(value: float | None, form: str, text: str) -> None:
    assert charts.number(value, form) == text


def test_ago() -> None:
    assert [charts.ago(1000.0, 1000.0 + s) for s in (5, 120, 7200, 400_000)] == [
        "5 s ago", "2 min ago", "2 h ago", "5 days ago"
    ]  # fmt: skip


def test_components_are_there_with_their_licences() -> None:
    for name in components.NAMES:
        content = components.asset(f"{name}.js")
        assert content and b"sourceMappingURL" not in content
    for other in ("../__init__.py", "LICENSES.txt", "", "live.js/../runs.js"):
        assert components.asset(other) is None
    licences = (components.BUILT / "LICENSES.txt").read_text()
    assert "uplot" in licences and "@codemirror/view" in licences


def test_components_are_built_from_these_sources() -> None:
    """`npm ci && npm run build` in studio/components/frontend after any change there."""
    frontend = components.BUILT.parent / "frontend"
    files = [*sorted((frontend / "src").iterdir()), frontend / "package-lock.json"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert digest == (components.BUILT / "sources.sha256").read_text().strip()


def test_the_lab_merges_files(recorded: Run) -> None:
    text, weights, form = lab.current_reward(recorded)
    assert weights == {"accuracy": 1.0, "short": 0.2} and form == "text"
    compile(text, "reward.py", "exec")


# --- rules ---------------------------------------------------------------------------------------


def test_model_text_never_reaches_markdown_or_html() -> None:
    """No HTML at all, and Markdown, errors and the like only with constant texts."""
    shows_markdown = {
        "markdown", "html", "error", "warning", "info", "success", "write", "toast", "exception",
        "header", "subheader", "title", "latex",
    }  # fmt: skip
    for file in sorted(STUDIO.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            names = {keyword.arg for keyword in node.keywords}
            assert not names & {"unsafe_allow_html", "unsafe_allow_javascript"}, file
            called = node.func
            if not (isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)):
                continue
            if called.value.id != "st" or called.attr not in shows_markdown:
                continue
            assert called.attr not in ("html", "exception"), f"{file}:{node.lineno}"
            constant = all(isinstance(argument, ast.Constant) for argument in node.args)
            assert constant, f"{file}:{node.lineno}: st.{called.attr} with a text that is not fixed"


def test_dialogs_are_never_opened_by_a_timer() -> None:
    """An open dialog goes dead at the next tick of a fragment that opened it."""
    for file in (STUDIO / "app_pages").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            if "run_every" in decorators:
                body = ast.unparse(node)
                assert "dialog" not in body and "confirm_delete" not in body, node.name


def test_only_jobs_starts_processes() -> None:
    for file in sorted(STUDIO.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if file.name != "jobs.py":
            assert "subprocess" not in text and "os.system" not in text, file


def test_the_studio_never_imports_torch() -> None:
    code = (
        "import sys, studio.app, studio.jobs, studio.lab, studio.forms, studio.widgets\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'datasets', 'grpo_core.trainer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
