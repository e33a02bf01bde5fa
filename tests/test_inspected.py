"""An evaluation in the Inspector: its routes, the selector, and what other pages make of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_pages import open_page, payload, texts

from grpo_core.evaluation_report import answered
from grpo_core.evaluation_store import EvaluationWriter
from grpo_core.evaluations import Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.runs import Run, RunState
from studio import api, data


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small evaluation of the bundled model, made once; tests work on copies."""
    from grpo_core.evaluation_job import evaluate_model
    from grpo_core.evaluation_wish import Wish

    wish = Wish(
        task="arithmetic", limit=12, samples=3, batch_size=4, max_new_tokens=32, name="asked"
    )
    return evaluate_model(tmp_path_factory.mktemp("asked"), "bundled:tiny", wish, _nothing).path


def _nothing(*_: Any) -> None:
    pass


@pytest.fixture
def evaluation(empty: Path, asked: Path) -> Evaluation:
    shutil.copytree(asked, empty / "asked")
    return Evaluation(empty / "asked")


@pytest.fixture
def client(empty: Path) -> TestClient:
    return TestClient(Starlette(routes=api.routes()))


def ask(client: TestClient, path: str, name: str = "asked") -> Any:
    answer = client.get(f"/api/runs/{name}/{path}")
    assert answer.status_code == 200, path
    return answer.json()


def change(evaluation: Evaluation, statement: str, *values: Any) -> None:
    writer = EvaluationWriter(evaluation.db_path)
    writer._db.execute(statement, values)
    writer.close()


def end(evaluation: Evaluation, status: Any, num: int, message: str = "", pid: int = 1) -> None:
    evaluation.write_state(RunState(status, pid, 0.0, 0.0, num, 12, status, message))


# --- routes --------------------------------------------------------------------------------------


def test_a_batch_and_its_problems(client: TestClient, evaluation: Evaluation) -> None:
    steps = ask(client, "steps")
    assert (steps["kind"], steps["first"], steps["last"]) == ("evaluation", 1, 3)
    said = "greedy and 3 samples at temperature 1"
    assert steps["about"]["facts"] == ["bundled:tiny", "arithmetic", said, "12 of 12 problems"]
    assert (steps["about"]["status"], steps["about"]["note"]) == ("completed", "")
    stored = answered(evaluation.db_path)
    shown = [group for batch in (1, 2, 3) for group in ask(client, f"step/{batch}")["groups"]]
    assert [group["id"] for group in shown] == [one.group_id for one in stored]
    for group, one in zip(shown, stored, strict=True):
        assert (group["greedy_right"], group["num_samples_right"]) == (one.is_right, one.num_right)
        assert (group["num"], group["num_samples"], group["flat"]) == (4, 3, False)
        assert group["num_correct"] == one.is_right + one.num_right
        every = [one.greedy, *one.sampled]
        assert group["num_unanswered"] == sum(each["extracted"] is None for each in every)
        assert group["num_undecided"] == 0
    assert 0 < sum(one.is_right for one in stored) < 12, "right and wrong ones, or it says little"
    ribbon = ask(client, "ribbon")
    batches = [[one.is_right for one in stored if one.batch == batch] for batch in (1, 2, 3)]
    assert ribbon == {"steps": [1, 2, 3], "values": [sum(batch) / 4 for batch in batches]}


def test_the_greedy_completion_stands_first_then_right_before_wrong(
    client: TestClient, evaluation: Evaluation
) -> None:
    changed = answered(evaluation.db_path)[4]
    change(
        evaluation, "UPDATE rollouts SET correct = 1 WHERE id = ?", changed.sampled[1]["rollout_id"]
    )
    change(evaluation, "UPDATE rollouts SET correct = 0 WHERE id = ?", changed.greedy["rollout_id"])
    for one in answered(evaluation.db_path):
        group = ask(client, f"group/{one.group_id}")
        assert group["kind"] == "evaluation" and group["answer"] == one.gold
        right = [each for each in one.sampled if each["correct"]]
        wrong = [each for each in one.sampled if not each["correct"]]
        expected = [one.greedy, *right, *wrong]
        assert [each["id"] for each in group["rollouts"]] == [e["rollout_id"] for e in expected]
        assert [each["rank"] for each in group["rollouts"]] == [1, 2, 3, 4]
        for shown, each in zip(group["rollouts"], expected, strict=True):
            names = ("kind", "extracted", "rule", "verdict")
            assert shown["judged"] == {name: each[name] for name in names}
            assert shown["correct"] == bool(each["correct"])
            assert (shown["advantage"], shown["why"], shown["traced"]) == (None, None, False)


def test_what_got_no_verdict_is_counted(client: TestClient, evaluation: Evaluation) -> None:
    one = answered(evaluation.db_path)[5]
    id = one.sampled[0]["rollout_id"]
    change(evaluation, "UPDATE answers SET verdict = 'timeout' WHERE rollout_id = ?", id)
    undecided = {g["id"]: g["num_undecided"] for g in ask(client, "step/2")["groups"]}
    assert undecided == {5: 0, 6: 1, 7: 0, 8: 0} and one.group_id == 6
    shown = {each["id"]: each for each in ask(client, "group/6")["rollouts"]}
    assert shown[id]["judged"]["verdict"] == "timeout"


def test_texts_are_found(client: TestClient, evaluation: Evaluation) -> None:
    change(evaluation, "UPDATE rollouts SET text = 'a Needle' WHERE id IN (3, 30)")
    hits = ask(client, "find?text=needle&before=3&steps=10")["hits"]
    assert [(hit["id"], hit["step"]) for hit in hits] == [(30, 2), (3, 1)]


@pytest.mark.parametrize(
    ("path", "status"),
    [("group/99", 404), ("strips/1", 200), ("tokens/1", 404), ("formula/1?at=0", 404),
     ("next?kind=drop&step=1", 200), ("next?kind=signal&step=1", 200), ("step/99", 200),
     ("metrics", 404), ("window?name=reward/mean", 404), ("here", 404)],
)  # fmt: skip
def test_what_an_evaluation_has_not(
    client: TestClient, evaluation: Evaluation, path: str, status: int
) -> None:
    assert client.get(f"/api/runs/asked/{path}").status_code == status


def test_a_run_has_no_ribbon_of_answers(client: TestClient, recorded: Run) -> None:
    assert client.get("/api/runs/bundled-1/ribbon").status_code == 404


GONE = 2**22 - 7
"""A process that is not there."""


@pytest.mark.parametrize(
    ("status", "message", "num", "note"),
    [
        ("stopped", "", 4, "It was stopped after 4 problems. It can go on from there."),
        ("stopped", "", 0, "It was stopped before its first batch was answered."),
        ("failed", "no <b>room</b>", 4, "It failed after 4 problems: no <b>room</b>."),
        ("running", "", 4, "It ended without a word after 4 problems: killed"),
    ],
)
def test_one_that_ended_early_says_so(
    client: TestClient, evaluation: Evaluation, status: str, message: str, num: int, note: str
) -> None:
    change(evaluation, "DELETE FROM groups WHERE step > ?", num // 4)
    end(evaluation, status, num, message, pid=GONE)
    steps = ask(client, "steps")
    assert steps["last"] == (1 if num else None)
    assert steps["about"]["note"].startswith(note)
    assert f"{num} of 12 problems" in steps["about"]["facts"]


def test_one_that_has_only_begun(client: TestClient, evaluation: Evaluation) -> None:
    evaluation.db_path.unlink()
    evaluation.state_path.unlink()
    steps = ask(client, "steps")
    assert (steps["kind"], steps["first"], steps["about"]["status"]) == (
        "evaluation", None, "starting",
    )  # fmt: skip
    assert steps["about"]["note"].startswith("No batch is answered yet")
    evaluation.config_path.write_text("model: [")
    assert ask(client, "steps")["about"]["facts"] == ["Its settings cannot be read"]
    open_page("inspector", run="asked")


def test_a_damaged_evaluation_says_so(client: TestClient, evaluation: Evaluation) -> None:
    change(evaluation, "UPDATE answers SET rule = x'00ff' WHERE rollout_id = 1")
    said = "This evaluation's database cannot be read: what the judge said of a completion is no"
    assert ask(client, "group/1")["problem"].startswith(said)
    change(evaluation, "DELETE FROM answers WHERE rollout_id = 9")
    assert "of a completion is missing" in ask(client, "group/3")["problem"]
    change(evaluation, "DELETE FROM answers WHERE rollout_id < 9")
    assert "of a problem is missing" in ask(client, "step/1")["problem"]
    change(evaluation, "DROP TABLE answers")
    assert "no such table: answers" in ask(client, "step/1")["problem"]
    evaluation.db_path.write_text("this is not a database, but it is long enough " * 40)
    steps = ask(client, "steps")
    assert steps["kind"] == "evaluation" and "file is not a database" in steps["problem"]
    open_page("inspector", run="asked")


# --- the page ------------------------------------------------------------------------------------


def choose(app: Any, name: str) -> None:
    app.selectbox(key="run").set_value(name).run()
    assert not app.exception


def go(app: Any, page: str) -> str:
    """Another page over the bar on top, which clears the address; the run that it shows."""
    app.query_params.clear()
    app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception, [error.value for error in app.exception]
    assert "There is no run" not in texts(app)
    return str(app.selectbox(key="run").value)


def test_a_link_opens_a_problem(recorded: Run, evaluation: Evaluation) -> None:
    app = open_page("inspector", run="asked", step="2", prompt="3")
    given = payload(app)
    assert (given["run"], given["url"]) == ("asked", "/api/runs/asked")
    assert given["goto"]["view"] == {"step": 2, "prompt": 3} and given["below"] == {}
    assert app.selectbox(key="run").options == ["bundled-1", "asked (evaluation)"]
    view = {"run": "asked", "group": 7, "step": 2, "prompt": 3, "completion": 1}
    app.session_state["inspector"] = {"view": view}
    app.run()
    assert not app.exception and not app.expander, "nothing was rewarded, nothing learnt"
    (link,) = app.get("page_link")
    assert link.proto.label == "Evaluate", "and no way to the curves of what has none"


def test_an_evaluation_opens_where_it_begins(recorded: Run, evaluation: Evaluation) -> None:
    app = open_page("inspector", run="bundled-1", step="7")
    choose(app, "asked")
    assert payload(app)["goto"]["view"] == {"step": 1}
    assert app.session_state["step"] == 7, "a batch is no step of a run"
    choose(app, "bundled-1")
    assert payload(app)["goto"]["view"] == {"step": 7}


def test_the_only_thing_there_is(evaluation: Evaluation) -> None:
    app = open_page("inspector")
    assert payload(app)["run"] == "asked"
    app.query_params.clear()
    app.switch_page("app_pages/live.py").run()
    assert not app.exception and "There is no run to show yet." in texts(app)


@pytest.mark.parametrize("page", ["live", "reward_lab"])
def test_other_pages_show_the_run_from_before(
    recorded: Run, evaluation: Evaluation, copied: Callable[[str], Run], page: str
) -> None:
    copied("another")
    app = open_page("inspector", run="bundled-1", step="7")
    choose(app, "asked")
    assert go(app, page) == "bundled-1", "the run from before, not the newest"
    assert go(app, "inspector") == "asked", "where one was"
    assert go(app, page) == "bundled-1"
    choose(app, "another")
    assert go(app, "inspector") == "another", "somebody chose another run meanwhile"
    choose(app, "asked")
    choose(app, "bundled-1")
    assert go(app, page) == "bundled-1" and go(app, "inspector") == "bundled-1"


@pytest.fixture
def copied(recorded: Run, empty: Path) -> Callable[[str], Run]:
    def copy(name: str) -> Run:
        return Run(Path(shutil.copytree(recorded.path, empty / name)))

    return copy


def test_a_link_of_a_run_is_for_the_run(recorded: Run, evaluation: Evaluation) -> None:
    app = open_page("inspector", run="asked")
    assert go(app, "live") == "bundled-1"
    app.query_params["run"] = "bundled-1"  # Live's own link to the Inspector
    app.switch_page("app_pages/inspector.py").run()
    assert payload(app)["run"] == "bundled-1"


def test_another_page_opens_it(recorded: Run, evaluation: Evaluation) -> None:
    app = open_page("runs")
    app.session_state["run"] = "asked"
    app.switch_page("app_pages/inspector.py").run()
    assert payload(app)["run"] == "asked"


def test_a_link_to_the_curves_of_an_evaluation(recorded: Run, evaluation: Evaluation) -> None:
    app = open_page("live", run="asked")
    assert payload(app)["run"] == "bundled-1"
    assert "is an evaluation: open it in the Inspector. This is a run." in texts(app)
    gone = texts(open_page("live", run="gone-1"))
    assert "There is no run" in gone and "any more; this is another one." in gone


def test_only_evaluations_that_have_a_name_are_offered(evaluation: Evaluation, empty: Path) -> None:
    shutil.copytree(evaluation.path, empty / "<b>no name")
    assert data.evaluation_names() == ["asked"]
    found = data.get_stored("asked")
    assert isinstance(found, Evaluation) and data.get_run("asked") is None
    assert data.get_stored("<b>no name") is None and data.get_stored("../x") is None
    with GroupReader(found.db_path) as reader:
        assert reader.num_groups() == 12
