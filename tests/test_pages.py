"""Every page with Streamlit's AppTest: without runs, with a recorded run, with damaged ones."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from browser.recorded import record_comparison, record_run, write_status
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from grpo_core.algorithm_config import AlgorithmConfig, CriticConfig
from grpo_core.algorithms import ALGORITHMS
from grpo_core.compatibility import APPLIES
from grpo_core.config import LoraConfig, ModelConfig, RunConfig
from grpo_core.recipe import load_recipe, section_of
from grpo_core.records import Event, Group, Problem, Rollout
from grpo_core.runs import Run, create_run
from grpo_core.sandbox_probe import Protection
from grpo_core.store import RunWriter
from studio import (
    algorithm_form,
    api,
    charts,
    compare_view,
    components,
    data,
    events,
    forms,
    jobs,
    lab,
    lab_numbers,
    scoring,
    widgets,
)

STUDIO = Path(data.__file__).parent
PAGES = {
    "runs": "app_pages/runs.py",
    "new_run": "app_pages/new_run.py",
    "live": "app_pages/live.py",
    "inspector": "app_pages/inspector.py",
    "reward_lab": "app_pages/reward_lab.py",
    "evaluate": "app_pages/evaluate.py",
    "compare": "app_pages/compare.py",
    "theory": "app_pages/theory.py",
}
STATES = ("running", "paused", "completed", "crashed", "failed", "stopped")
HOSTILE = "<img src=x onerror=alert(1)> ![x](http://evil.example/x.png) :red[hi] $x$"


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
    if page == "compare":
        assert "There is no run to compare yet." in texts(app)
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
    open_page(page, runs="only-created,no-tables,not-a-database,no-rows,gone")
    assert {row["name"] for row in data.overview()} == {
        "only-created", "no-tables", "not-a-database", "no-rows", "bundled-1"
    }  # fmt: skip


@pytest.mark.parametrize("page", ["live", "inspector", "reward_lab"])
def test_a_run_that_is_gone_is_said(recorded: Run, page: str) -> None:
    said = texts(open_page(page, run="*gone*"))
    assert r"There is no run \*gone\* any more; this is another one." in said


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
    assert given["run"] == "bundled-1" and given["others"] == []
    titles = [chart["title"] for chart in given["charts"]]
    assert {"Accuracy", "Reward", "Loss", "Entropy", "Completion length"} <= set(titles)
    written = set(data.read(recorded, lambda reader: reader.metric_names(), []))
    always = [chart for chart in given["charts"] if not chart.get("optional")]
    drawn = {series["name"] for chart in always for series in chart["series"]}
    assert drawn <= written, "every curve has a metric of that name"
    critics = {s["name"] for c in given["charts"] if c.get("optional") for s in c["series"]}
    assert {"critic/loss", "critic/explained_variance", "critic/value_mean"} <= critics


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


def knob_fields() -> dict[str, Any]:
    """Every knob of the recipe by its dotted path, the rewards aside."""
    found: dict[str, Any] = {}
    for name, field in RunConfig.model_fields.items():
        if name == "rewards":
            continue
        section = section_of(field)
        if section is None:
            found[name] = field
            continue
        for key, knob in section.model_fields.items():
            inner = section_of(knob)
            inside = (
                {f"{key}.{one}": value for one, value in inner.model_fields.items()}
                if inner
                else {key: knob}
            )
            found |= {f"{name}.{path}": value for path, value in inside.items()}
    return found


def knobs_on(app: AppTest) -> set[str]:
    kinds = ("number_input", "selectbox", "text_area", "text_input", "toggle")
    keys = [str(widget.key) for kind in kinds for widget in app.get(kind)]
    return {key.removeprefix("new/bundled/") for key in keys if key.startswith("new/bundled/")}


def choose(app: AppTest, **values: Any) -> AppTest:
    """Set knobs of the algorithm section by name, one after another."""
    for key, value in values.items():
        fields = (app.selectbox, app.number_input, app.toggle)
        name = f"new/bundled/{key.replace('__', '.')}"
        field = next(f for kind in fields for f in kind if f.key == name)
        field.set_value(value).run()
        assert not app.exception, [error.value for error in app.exception]
    return app


def test_form_has_every_knob_with_description_and_bounds(empty: Path) -> None:
    app = open_page("new_run")
    shown = " ".join(str(caption.value) for caption in app.caption)
    row = {**ALGORITHMS["deepseekmath"].settings}
    silent = {f"algorithm.{key}" for key, (applies, _) in APPLIES.items() if not applies(row)}
    silent.add("model.lora.alpha")
    assert silent == {
        "model.lora.alpha",
        "algorithm.sapo_positive", "algorithm.sapo_negative", "algorithm.reference_sync_every",
        "algorithm.reference_decay", "algorithm.overlong_penalty", "algorithm.overlong_buffer",
        "algorithm.attention_temperature", "algorithm.attention_min_samples",
    }  # fmt: skip
    for key, knob in knob_fields().items():
        expected = key not in silent and not key.startswith("critic.")
        assert (key in knobs_on(app)) == expected, key
        assert knob.description and (not expected or knob.description in shown), key
    assert ALGORITHMS["deepseekmath"].about in shown
    steps = app.number_input(key="new/bundled/num_steps")
    assert steps.min == 1
    rate = app.number_input(key="new/bundled/optim.learning_rate")
    assert (rate.min, rate.max) == (0, 1)


def test_form_shows_what_applies_and_nothing_else(empty: Path) -> None:
    app = open_page("new_run")
    seen = knobs_on(app)
    choose(app, algorithm__clipping="cispo")
    assert "algorithm.clip_high" in knobs_on(app) and "algorithm.clip_low" not in knobs_on(app)
    choose(app, algorithm__clipping=None, algorithm__name="sapo")
    assert "algorithm.clip_high" not in knobs_on(app)
    seen |= knobs_on(app)
    choose(app, algorithm__name="prefix_attention", algorithm__kl_reference="synced")
    assert "algorithm.attention_temperature" in knobs_on(app)
    seen |= knobs_on(app)
    choose(app, algorithm__name="dapo", algorithm__kl_reference="average")
    seen |= knobs_on(app)
    choose(app, algorithm__name="ppo")
    assert {f"critic.{key}" for key in CriticConfig.model_fields} <= knobs_on(app)
    seen |= knobs_on(app)
    choose(app, critic__model="own")
    assert "critic.value_coefficient" not in knobs_on(app)
    seen |= knobs_on(choose(app, model__lora__rank=8))
    assert seen == set(knob_fields()), "each knob has its place in some recipe"
    titles = algorithm_form.GROUPS
    placed = [key for keys in titles.values() for key in keys]
    assert len(placed) == len(set(placed)) and set(placed) <= set(AlgorithmConfig.model_fields)


def test_an_open_knob_says_what_it_comes_to(empty: Path) -> None:
    app = open_page("new_run")
    clip = app.number_input(key="new/bundled/algorithm.clip_high")
    assert (clip.value, clip.placeholder) == (None, "0.2 (as the row says)")
    dual = app.number_input(key="new/bundled/algorithm.dual_clip")
    assert (dual.value, dual.placeholder) == (None, "none")
    assert app.number_input(key="new/bundled/algorithm.kl_coefficient").value == 0.02, (
        "the recipe's"
    )
    choose(app, algorithm__name="gspo")
    clip = app.number_input(key="new/bundled/algorithm.clip_high")
    assert clip.placeholder == "0.0004 (as the row says)"
    assert app.selectbox(key="new/bundled/algorithm.ratio_level").placeholder == (
        "sequence (as the row says)"
    )
    assert app.number_input(key="new/bundled/algorithm.kl_coefficient").value == 0.02
    choose(app, algorithm__kl_coefficient=None)
    assert "--set algorithm.name=gspo --set algorithm.kl_coefficient=null" in overrides_of(app)


def test_a_hidden_knob_says_nothing(empty: Path, tmp_path: Path) -> None:
    app = open_page("new_run")
    choose(app, algorithm__clip_high=0.3)
    assert "algorithm.clip_high=0.3" in overrides_of(app)
    choose(app, algorithm__name="sapo")
    assert "clip_high" not in overrides_of(app)
    choose(app, algorithm__name="dapo")
    assert "algorithm.clip_high=0.3" in overrides_of(app), "and is not forgotten"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("algorithm: {name: ppo, clip_high: 0.3}\ncritic: {value_clip: 0.5}\n")
    app.selectbox(key="new_recipe").set_value("own file").run()
    app.text_input(key="new_recipe_path").set_value(str(recipe)).run()
    prefix = f"new/{recipe}"
    assert app.number_input(key=f"{prefix}/critic.value_clip").value == 0.5
    app.selectbox(key=f"{prefix}/algorithm.name").set_value("sapo").run()
    command = overrides_of(app)
    assert "algorithm.clip_high=null" in command and "critic=null" in command
    assert not next(b for b in app.button if b.label == "Start the run").disabled


def test_critic_of_a_recipe_that_has_none(empty: Path, tmp_path: Path) -> None:
    app = choose(open_page("new_run"), algorithm__name="ppo")
    assert overrides_of(app).endswith("--set algorithm.name=ppo")
    assert app.number_input(key="new/bundled/critic.value_clip").value == 0.2
    assert app.number_input(key="new/bundled/critic.value_coefficient").placeholder == "0.5"
    choose(app, critic__value_clip=None, critic__whiten=False, critic__model="own")
    said = "critic.model=own --set critic.value_clip=null --set critic.whiten=false"
    assert overrides_of(app).endswith(said)
    recipe = next(e.value for e in app.code if e.value.startswith("model:"))
    assert "value_clip: null" in recipe and "whiten: false" in recipe and "model: own" in recipe
    written = tmp_path / "written.yaml"
    written.write_text("algorithm: {name: deepseekmath}\ncritic: null\n")
    app.selectbox(key="new_recipe").set_value("own file").run()
    app.text_input(key="new_recipe_path").set_value(str(written)).run()
    app.selectbox(key=f"new/{written}/algorithm.name").set_value("ppo").run()
    app.selectbox(key=f"new/{written}/critic.model").set_value("own").run()
    assert "--set 'critic={}' --set critic.model=own" in overrides_of(app)
    assert not next(b for b in app.button if b.label == "Start the run").disabled


def test_a_section_inside_a_section_opens_with_its_first_knob(empty: Path) -> None:
    app = open_page("new_run")
    rank = app.number_input(key="new/bundled/model.lora.rank")
    assert (rank.label, rank.value, rank.placeholder) == ("LoRA rank", None, "none")
    assert (rank.min, rank.max) == (1, 1024)
    assert rank.help == "`model.lora.rank`: ≥ 1 and ≤ 1024"
    description = ModelConfig.model_fields["lora"].description
    assert any(str(caption.value).startswith(description) for caption in app.caption)
    assert "model.lora.alpha" not in knobs_on(app) and "lora" not in overrides_of(app)
    choose(app, model__lora__rank=16)
    alpha = app.number_input(key="new/bundled/model.lora.alpha")
    assert (alpha.label, alpha.value, alpha.help) == ("LoRA alpha", 32, "`model.lora.alpha`: ≥ 1")
    assert overrides_of(app).endswith("--set model.lora.rank=16")
    choose(app, model__lora__alpha=64)
    said = "--set model.lora.rank=16 --set model.lora.alpha=64"
    assert overrides_of(app).endswith(said)
    recipe = next(e.value for e in app.code if e.value.startswith("model:"))
    assert "rank: 16" in recipe and "alpha: 64" in recipe
    choose(app, model__lora__rank=None)
    assert "model.lora.alpha" not in knobs_on(app) and "lora" not in overrides_of(app)
    choose(app, model__lora__rank=16)
    assert overrides_of(app).endswith(said), "and is not forgotten"


@pytest.mark.parametrize("text", ["{rank: 4}", "{rank: 4, alpha: 8}", "{alpha: 8}", "{}"])
def test_adapters_of_a_recipe_can_be_taken_away(empty: Path, tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"model: {{lora: {text}}}\n")
    lora = load_recipe(recipe).model.lora or LoraConfig()
    app = open_page("new_run")
    app.selectbox(key="new_recipe").set_value("own file").run()
    app.text_input(key="new_recipe_path").set_value(str(recipe)).run()
    knobs = {key: f"new/{recipe}/model.lora.{key}" for key in ("rank", "alpha")}
    shown = {key: app.number_input(key=knob).value for key, knob in knobs.items()}
    assert shown == lora.model_dump() and "--set" not in overrides_of(app)
    app.number_input(key=knobs["rank"]).set_value(None).run()
    assert overrides_of(app).endswith("--set model.lora=null")
    assert not next(b for b in app.button if b.label == "Start the run").disabled
    written = next(e.value for e in app.code if e.value.startswith("model:"))
    assert "lora: null" in written
    app.number_input(key=knobs["rank"]).set_value(7).run()
    assert overrides_of(app).endswith("--set model.lora.rank=7")


def test_form_yaml_and_command_agree(empty: Path) -> None:
    app = open_page("new_run")
    app.number_input(key="new/bundled/num_steps").set_value(7)
    app.number_input(key="new/bundled/optim.learning_rate").set_value(0.0025)
    app.selectbox(key="new/bundled/algorithm.name").set_value("as_written").run()
    command = overrides_of(app)
    assert "--set num_steps=7" in command and "algorithm.name=as_written" in command
    recipe = next(e.value for e in app.code if e.value.startswith("model:"))
    assert "num_steps: 7" in recipe and "learning_rate: 0.0025" in recipe
    for key in ("advantage", "aggregation", "kl_place"):
        value = ALGORITHMS["as_written"].settings[key]
        assert f"{key}: {value}" in recipe, "the row's own settings follow its name"
    assert "kl_coefficient: 0.02" in recipe, "what the recipe says itself stays"
    words = command.split("--set ")[1:]
    path = next(iter(Path(jobs.__file__).parents[1].glob("assets/recipes/bundled.yaml")))
    config = load_recipe(path, [word.strip().strip("'") for word in words])
    assert (config.num_steps, config.optim.learning_rate) == (7, 0.0025)


def test_form_error_stands_beside_the_form_and_loses_nothing(empty: Path) -> None:
    app = open_page("new_run")
    app.number_input(key="new/bundled/num_steps").set_value(9)
    app.text_area(key="new/bundled/data.prompt_template").set_value("no place").run()
    assert "prompt_template must contain {question}" in texts(app)
    start = next(button for button in app.button if button.label == "Start the run")
    assert start.disabled
    app.text_area(key="new/bundled/data.prompt_template").set_value("{question}").run()
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


def test_the_lab_says_why_a_reward_cannot_teach(recorded: Run) -> None:
    app = press(lab_with("def f(completion):\n    return 0.5\n"), "Try it")
    assert [one.kind for one in app.session_state["lab_trial"].advice] == ["constant"]
    assert any("orange-badge" in one.value and "Nothing to" in one.value for one in app.markdown)
    assert any("Every completion gets 0.5" in one.value for one in app.text)
    app = press(lab_with("def f(completion):\n    return len(completion)\n"), "Try it")
    kinds = [one.kind for one in app.session_state["lab_trial"].advice]
    assert kinds == ["length", "gold"]


@pytest.mark.parametrize(
    ("found", "color"),
    [
        (Protection("isolated"), "green"),
        (Protection("limited", ("read your files", "use the network")), "orange"),
        (Protection("off"), "red"),
    ],
)
def test_the_lab_says_what_keeps_the_code_apart(
    recorded: Run, monkeypatch: pytest.MonkeyPatch, found: Protection, color: str
) -> None:
    widgets.protection.clear()
    monkeypatch.setattr(widgets, "probe", lambda: found)
    app = open_page("reward_lab", run="bundled-1", step="20")
    widgets.protection.clear()
    badges = [one.value for one in app.markdown if f"{found.tier.capitalize()}]" in one.value]
    assert len(badges) == 1 and f":{color}-badge[" in badges[0]


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


def groups_with(rewards: list[float | None], parts: list[tuple[float, float]]) -> list[Any]:
    rollouts = [
        Rollout([0] * num, [], "", "stop", reward=reward, parts={"a": a, "b": b})
        for num, (reward, (a, b)) in enumerate(zip(rewards, parts, strict=True), start=1)
    ]
    return [Group(Problem("0", "", ""), "", [], rollouts)]


def test_the_lab_shows_what_rewards_alone_tell() -> None:
    groups = groups_with([1.0, 0.0, 0.0], [(1.0, 0.0), (0.0, 0.0), (0.0, 0.0)])
    scores = lab_numbers.scores_of(groups, {"a": 1.0, "b": 0.5})
    assert scores.lengths_PG == [[1, 2, 3]]

    def shown(**given: Any) -> tuple[list[float | None], str]:
        algorithm = AlgorithmConfig(**given)
        return lab_numbers.assign(scores, algorithm)[0], lab_numbers.explain(algorithm)

    values, said = shown(name="prefix_attention")
    assert values == pytest.approx([1.0, -0.5, -0.5]) and "`loo`" in said, "R minus the others'"
    values, said = shown(name="ppo")
    assert values == [1.0, 0.0, 0.0] and "bare rewards" in said
    # the length-weighted mean is (1·1 + 2·0 + 3·0) / 6
    values, said = shown(advantage="opo")
    assert values == pytest.approx([5 / 6, -1 / 6, -1 / 6]) and "`opo`" in said
    assert "KL" not in said and "overlong" not in said
    assert "KL that the run takes off" in shown(name="rloo")[1]
    assert "KL that the run takes off" not in shown(name="rloo", kl_coefficient=0.0)[1]
    assert "overlong" in shown(name="dapo")[1]


def test_the_lab_normalises_each_reward_on_its_own() -> None:
    groups = groups_with([1.5, 0.0, None], [(1.0, 1.0), (0.0, 0.0), (9.0, 9.0)])
    scores = lab_numbers.scores_of(groups, {"a": 1.0, "b": 0.5})
    assert scores.parts_FPG == [[[1.0, 0.0, None]], [[1.0, 0.0, None]]], "faults do not count"
    algorithm = AlgorithmConfig(multi_objective_aggregation="normalize_then_sum")
    values = lab_numbers.assign(scores, algorithm)[0]
    # each part: ±0.5 / √0.5; their sum 1.5 · that, normalised once more: ±1 / √2
    assert values[:2] == pytest.approx([2**-0.5, -(2**-0.5)], abs=2e-4) and values[2] is None
    assert "own z-score" in lab_numbers.explain(algorithm)


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
    groups, is_cut = scoring.stored_groups(recorded, 5)
    assert not is_cut
    assert sum(len(group.rollouts) for group in groups) == 128
    assert all(len(r.ids) > 0 for g in groups for r in g.rollouts), "lengths are always there"
    forever = rewards.from_source("def f(completion):\n    while True: pass\n")
    scored = bench.score(forever, groups[:1], 5, 0.2)
    assert {r.outcome for g in scored.groups for r in g.rollouts} == {"timeout"}
    fine = rewards.from_source("def f(completion):\n    return 1.0\n")
    scored = bench.score(fine, groups[:1], 5, 2.0)
    assert {r.reward for g in scored.groups for r in g.rollouts} == {1.0}


# --- compare -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds each of two algorithms, made once."""
    folder = tmp_path_factory.mktemp("compared")
    record_comparison(folder, seeds=3, until=40)
    return folder


@pytest.fixture
def six_runs(empty: Path, compared: Path) -> Path:
    shutil.copytree(compared, empty, dirs_exist_ok=True)
    return empty


def test_compare_begins_with_all_runs_that_compare(six_runs: Path) -> None:
    app = open_page("compare")
    chosen = app.multiselect(key="runs").value
    assert set(chosen) == {"grpo-0", "grpo-1", "grpo-2", "ppo-0", "ppo-1", "ppo-2"}
    view = payload(app)
    assert [line["label"] for line in view["lines"]] == ["deepseekmath", "ppo"]
    assert [line["seeds"] for line in view["lines"]] == ["3 seeds", "3 seeds"]
    assert view["lines"][0]["x"] == [0, 10, 20, 30, 40]
    assert view["note"].endswith("Bands: ± 1.96 standard errors.") and view["remarks"] == []
    assert [v["title"] for v in view["verdicts"]] == ["By iteration", "By time", "By memory"]
    assert view["verdicts"][0]["verdict"] == "deepseekmath learns faster"
    assert view["verdicts"][2]["verdict"] == "ppo needs 40 MB more"
    cells = [[cell["text"] for cell in row] for row in view["table"]["rows"]]
    assert [row[:2] for row in cells] == [["deepseekmath", "3"], ["ppo", "3"]]
    assert [row[7:] for row in cells] == [
        ["0 s", "0.74 GB", "—"],
        [cells[1][7], "0.78 GB", "14 MB"],
    ]


def test_compare_leaves_out_what_asks_another_question(six_runs: Path) -> None:
    config = RunConfig.model_validate({"evaluation": {"num_problems": 50}})
    record_run(six_runs, "newest", 2, "completed", config=config, prompts=2)
    app = open_page("compare")
    assert app.multiselect(key="runs").value == ["newest"]
    assert "One run alone" in payload(app)["remarks"][0]["text"]
    assert payload(app)["verdicts"] == []


@pytest.mark.parametrize("x", compare_view.X_AXES)
@pytest.mark.parametrize("y", compare_view.Y_AXES)
def test_compare_draws_every_curve_on_every_axis(six_runs: Path, x: str, y: str) -> None:
    app = open_page("compare")
    app.selectbox(key="compare_y").set_value(y)
    app.segmented_control(key="compare_x").set_value(x).run()
    assert not app.exception
    view = payload(app)
    assert view["x"] == compare_view.X_AXES[x] and view["y"]["title"] == y
    for line in view["lines"]:
        assert len(line["x"]) == len(line["mean"]) == len(line["low"]) == len(line["high"]) > 4
        trios = zip(line["low"], line["mean"], line["high"], strict=True)
        assert all(low <= mean <= high for low, mean, high in trios)


def test_compare_choice_stands_in_the_address(six_runs: Path) -> None:
    app = open_page("compare", runs="ppo-1,grpo-1,gone")
    assert app.multiselect(key="runs").value == ["ppo-1", "grpo-1"]
    assert app.query_params["runs"] == "ppo-1,grpo-1"
    view = payload(app)
    assert view["verdicts"][0]["verdict"] == "One seed each cannot tell"
    assert view["note"] == "Each line is one run; bands appear with two seeds or more."
    app.multiselect(key="runs").set_value([]).run()
    assert "Choose the runs to compare." in texts(app) and not app.get("bidi_component")


def test_compare_says_what_does_not_compare(six_runs: Path, recorded: Run) -> None:
    other = RunConfig.model_validate({"model": {"path": "Qwen/Qwen2.5-0.5B"}})
    record_run(six_runs, "qwen", 12, "completed", config=other, prompts=2)
    create_run(six_runs, "just-created", "num_steps: 3\n")
    damaged = create_run(six_runs, "damaged", "[")
    damaged.db_path.write_text("this is not a database, but it is long enough " * 40)
    app = open_page("compare", runs="qwen,grpo-0,bundled-1,just-created,damaged")
    view = payload(app)
    said = [remark["text"] for remark in view["remarks"]]
    assert "These runs differ in model: the lines compare more than algorithms." in said
    assert "Without a number yet: just-created, damaged." in said
    assert view["verdicts"] == [], "nothing is claimed across models"
    assert view["remarks"][0]["tone"] == "warn"
    app = open_page("compare", runs="just-created,damaged")
    assert "None of these runs has a number yet." in texts(app)


def test_a_changed_run_is_named(six_runs: Path, recorded: Run) -> None:
    view = payload(open_page("compare", runs="bundled-1,ppo-1"))
    said = [remark["text"] for remark in view["remarks"]]
    assert "Settings or rewards were changed while training: bundled-1." in said


# --- data, routes, words -------------------------------------------------------------------------


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
        ("oom", {"message": "the GPU's memory was full", "micro_batch_tokens": 512},
         "the GPU's memory was full"),
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


def test_memory_that_ran_out_is_a_warning() -> None:
    """The same completions go through again, so nothing is lost."""
    stored = {"id": 3, "time": 1.0, "step": 7, "kind": "oom", "detail": {"message": "was full"}}
    shown = events.describe(stored)
    assert shown and (shown["title"], shown["tone"]) == ("Out of memory", "warn")


@pytest.fixture
def client(recorded: Run) -> TestClient:
    return TestClient(Starlette(routes=api.routes()))


def test_routes_answer_and_refuse(client: TestClient) -> None:
    assert [run["name"] for run in client.get("/api/runs").json()["runs"]] == ["bundled-1"]
    state = client.get("/api/runs/bundled-1/metrics").json()
    assert len(state["series"]["train/loss"][0]) == 24
    later = f"since={state['cursor']}&attempt={state['attempt']}&source={state['source']}"
    again = client.get(f"/api/runs/bundled-1/metrics?{later}")
    assert again.json()["series"] == {} and again.headers["cache-control"] == "no-store"
    window = "name=train/loss&name=nothing&low=5&high=7"
    assert client.get(f"/api/runs/bundled-1/window?{window}").json()["series"] == {
        "train/loss": [[5, 6, 7], state["series"]["train/loss"][1][4:7]], "nothing": [[], []],
    }  # fmt: skip
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
        ("/api/assets/LICENSES.txt", 404),
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


@pytest.mark.parametrize(("value", "form", "text"), [
    (0.1234, "percent", "12.3 %"), (None, "number", "—"), (float("nan"), "number", "—"),
    (0.85714, "number", "0.857"), (0.0, "number", "0.000"), (0.00042, "number", "0.00042"),
    (12.345, "number", "12.3"), (12345.6, "number", "12,346"), (2061.7, "rate", "2,062"),
    (15.94, "count", "15.9"), (1.5, "signed", "+1.50"), (-2.0, "signed", "-2.00"),
])  # fmt: skip
def test_numbers(value: float | None, form: str, text: str) -> None:
    assert charts.number(value, form) == text


@pytest.mark.parametrize(("gb", "text"), [
    (None, "—"), (12.34, "12.3 GB"), (0.784, "0.78 GB"), (0.0136, "14 MB"), (0.0012, "1.2 MB"),
    (0.0000021, "2 kB"),
    (0.0, "0 MB"),
])  # fmt: skip
def test_memory(gb: float | None, text: str) -> None:
    assert charts.memory(gb) == text


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
    text, weights, form = lab.as_text(lab.current_functions(recorded))
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
            place = f"{file}:{node.lineno}: st.{called.attr}"
            assert constant or file.name == "theory_markdown.py", f"{place}: the text is not fixed"


def test_only_the_theory_page_shows_markdown_from_files() -> None:
    """Shipped ones: what it shows of a run is numbers, see `test_theory_page.py`."""
    for file in STUDIO.rglob("*.py"):
        if "theory_markdown" in file.read_text(encoding="utf-8"):
            assert file.name.startswith("theory_"), file


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
