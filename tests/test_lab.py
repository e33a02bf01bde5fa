"""The Reward lab beyond the stored step: other completions, versions, files of one's own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser.recorded import SHORT, record_run
from streamlit.testing.v1 import AppTest

from grpo_core import rewards, trust
from grpo_core.records import Event
from grpo_core.runs import Command, Run
from grpo_core.sandbox_probe import Protection
from grpo_core.store import RunWriter
from studio import (
    data,
    jobs,
    lab,
    lab_numbers,
    lab_sources,
    lab_versions,
    own_rewards,
    scoring,
    widgets,
)

STUDIO = Path(data.__file__).parent
PRETENDED = [sys.executable, str(Path(__file__).parent / "browser" / "trainer.py")]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Eight steps of a run whose reward changed at step 5."""
    before = data.runs_dir()
    data.set_runs_dir(tmp_path / "runs")
    yield record_run(tmp_path / "runs", "one", until=8, short_from=5, prompts=2)
    data.set_runs_dir(before)


def open_lab(text: str | None = None, **state: Any) -> AppTest:
    app = AppTest.from_file(str(STUDIO / "navigation.py"), default_timeout=30).run()
    app.switch_page("app_pages/reward_lab.py").run()
    if text is not None:
        state |= {"lab_text": text, "lab_weights": {}}
    for key, value in state.items():
        app.session_state[key] = value
    return finished(app.run())


def finished(app: AppTest) -> AppTest:
    assert not app.exception, [error.value for error in app.exception]
    return app


def press(app: AppTest, label: str) -> AppTest:
    return finished(next(one for one in app.button if one.label == label).click().run())


def texts(app: AppTest) -> str:
    kinds = ("text", "caption", "markdown", "code")
    return "\n".join(str(one.value) for kind in kinds for one in app.get(kind))


# --- numbers -------------------------------------------------------------------------------------


def test_histogram_of_few_values_has_one_bar_for_each() -> None:
    found = lab_numbers.histogram([0.0, 1.0, None, 0.0], [0.5, 1.0, 1.0])
    assert found["labels"] == found["ranges"] == ["0.000", "0.500", "1.000"]
    assert (found["old"], found["new"]) == ([2, 0, 1], [0, 1, 2])


def test_histogram_of_many_values_has_ranges_of_one_width() -> None:
    found = lab_numbers.histogram(None, [float(number) for number in range(25)])
    # from 0 to 24 in twelve ranges of 2, the last with both of its ends
    assert (found["old"], found["new"]) == (None, [2] * 11 + [3])
    assert found["labels"][:2] == ["0.000", "2.000"] and len(found["labels"]) == 13, "edges"
    assert found["ranges"][-1] == "22.0 to 24.0"
    assert lab_numbers.histogram([None], [None])["new"] == []


# --- where completions come from -----------------------------------------------------------------


def test_completions_by_hand_are_one_group(run: Run) -> None:
    text = "def longer(completion, answer, question):\n    return len(completion)\n"
    app = open_lab(text, lab_from=lab_sources.HAND)
    app.text_area(key="lab_completions").set_value("ab\nc\n---\n18\n ---\n").run()
    app = press(app, "Try it")
    trial = app.session_state["lab_trial"]
    assert trial.table["Completion"].tolist() == ["ab\nc", "18", ""], "in their order"
    assert trial.table["New reward"].tolist() == [4.0, 2.0, 0.0]
    # 4, 2, 0: mean 2, deviation 2
    assert trial.table["New adv."].tolist() == pytest.approx([1.0, 0.0, -1.0], abs=1e-3)
    assert not trial.compares and "Mean reward, old" not in [one.label for one in app.metric]
    app.text_input(key="lab_answer").set_value("19").run()
    assert app.session_state["lab_trial"] is trial and "completions scored" not in texts(app)


def test_completions_of_a_file(run: Run, tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": "a", "answer": "1", "level": 2},
        {"prompt": "p", "completion": "bb", "answer": "1", "level": 2},
        {"prompt": "q", "completion": "ccc", "answer": "2", "level": 5},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    text = "def f(completion, level):\n    return level * len(completion)\n"
    app = open_lab(text, lab_from=lab_sources.FILE)
    assert next(one for one in app.button if one.label == "Try it").disabled, "no file is named"
    app.text_input(key="lab_path").set_value(str(path)).run()
    trial = press(app, "Try it").session_state["lab_trial"]
    assert trial.table["New reward"].tolist() == [2.0, 4.0, 15.0]
    assert trial.table["Prompt"].tolist() == [1, 1, 2]
    app.text_input(key="lab_path").set_value(str(tmp_path / "none.jsonl")).run()
    assert "none.jsonl: cannot be read" in texts(press(app, "Try it"))


def test_fresh_samples_come_from_a_process_of_their_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TRAINER", PRETENDED)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    app = open_lab("def f(completion):\n    return len(completion)\n", lab_from=lab_sources.FRESH)
    assert "Nothing is sampled yet." in texts(app)
    app.number_input(key="lab_num_problems").set_value(3).run()
    app = press(app, "Sample")
    began = time.monotonic()
    while jobs.is_sampling(run):
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    app = press(finished(app.run()), "Try it")
    trial = app.session_state["lab_trial"]
    assert trial.table["Prompt"].tolist() == [1] * 4 + [2] * 4 + [3] * 4 and trial.faults == []


def test_sampling_that_fails_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TRAINER", [*PRETENDED, "no such command"])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    jobs.sample(run, 1, 1)
    while jobs.is_sampling(run):
        time.sleep(0.05)
    app = open_lab(lab_from=lab_sources.FRESH)
    assert "invalid choice" in texts(app)


def test_the_data_columns_are_known(run: Run) -> None:
    assert data.columns(run, 3) == ["question"]
    assert data.columns(run, 999) is None and data.columns(run, None) is None
    app = open_lab("def f(completion, anwser):\n    return 1.0\n")
    given = json.loads(app.get("bidi_component")[0].proto.json)
    (mark,) = given["problems"]
    assert (mark["line"], mark["severity"]) == (1, "error")
    assert "nothing is passed for anwser" in mark["message"] and "question" in mark["message"]
    assert {"completion", "question"} <= {word["label"] for word in given["words"]}


def test_a_file_is_read_as_far_as_a_trial_goes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "MAX_COMPLETIONS", 3)
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": str(number // 2), "completion": str(number)} for number in range(6)]
    path.write_text("\n".join(map(json.dumps, rows)))
    text = "def f(completion):\n    return 1\n"
    app = press(open_lab(text, lab_from=lab_sources.FILE, lab_path=str(path)), "Try it")
    assert len(app.session_state["lab_trial"].table) == 2, "whole groups"
    assert "2 completions scored" in texts(app) and "the first of more" in texts(app)
    os.mkfifo(tmp_path / "pipe")
    app.text_input(key="lab_path").set_value(str(tmp_path / "pipe")).run()
    assert "pipe: is not a file" in texts(press(app, "Try it"))


def test_a_trial_belongs_to_the_run_whose_algorithm_judges_it(run: Run) -> None:
    record_run(data.runs_dir(), "zwei", until=2, prompts=2)
    app = open_lab("def f(completion):\n    return 1\n", lab_from=lab_sources.HAND)
    app.selectbox(key="run").set_value("one").run()
    app = press(app, "Try it")
    assert "3 completions scored" in texts(app)
    app.selectbox(key="run").set_value("zwei").run()
    assert "3 completions scored" not in texts(finished(app))


def test_a_database_that_holds_nonsense_is_no_traceback(run: Run) -> None:
    writer = RunWriter(run.db_path)
    writer._db.execute("UPDATE groups SET row = 'nonsense'")
    writer.close()
    assert data.columns(run, 3) is None
    open_lab()


def test_what_was_typed_since_the_script_ran_is_kept_when_another_text_is_loaded(run: Run) -> None:
    app = open_lab()
    revision = app.session_state["lab_revision"]
    typed = {"text": "def typed(completion):\n    return 1\n", "revision": revision}

    def script(typed: dict) -> None:
        import streamlit as st

        from studio import lab_text

        st.session_state["lab_editor"] = {"draft": typed}
        now = {"lab_text": "x", "lab_loaded": "x", "lab_revision": typed["revision"]}
        for key, value in now.items():
            st.session_state[key] = value
        lab_text.put(lab_text.Draft("another"))

    alone = AppTest.from_function(script, args=(typed,)).run()
    assert alone.session_state["lab_before"].text == typed["text"]
    assert alone.session_state["lab_text"] == "another"


# --- what a trial shows --------------------------------------------------------------------------


def test_a_fault_shows_its_line_and_the_completion(run: Run) -> None:
    text = "def f(completion):\n    print('seen', completion)\n    return 1 / len(completion)\n"
    app = open_lab(text, lab_from=lab_sources.HAND)
    app.text_area(key="lab_completions").set_value("four\n---\n\n---\nfour").run()
    app = press(app, "Try it")
    (fault,) = app.session_state["lab_trial"].faults
    assert (fault.line, fault.count, fault.completion) == (3, 1, "")
    said = texts(app)
    assert "f, line 3: ZeroDivisionError" in said and "1 completion left out" in said
    table = app.session_state["lab_trial"].table
    assert table["Outcome"].tolist() == ["error", "ok", "ok"], "what failed comes first"
    assert table["Printed"].tolist() == ["seen", "seen four", "seen four"]
    assert "2 of 3 completions scored" in said
    assert (table["ms"] > 0).all()


def test_what_cannot_be_scored_does_not_look_good(run: Run) -> None:
    app = press(open_lab("def f(completion):\n    return None\n"), "Try it")
    trial = app.session_state["lab_trial"]
    assert (trial.flat_before.of, trial.flat_after) == (2, (0, 0))
    metrics = {one.label: one.value for one in app.metric}
    assert metrics["Mean reward, new"] == "—" and metrics["Flat groups"].endswith("→ —")
    assert "0 of 16 completions scored" in texts(app)
    assert [advice.kind for advice in trial.advice] == ["silent"]


def test_a_trial_of_an_earlier_text_or_weight_says_so(run: Run) -> None:
    stale = "The numbers on the right are of an earlier text or weight"
    app = press(open_lab("def f(completion):\n    return len(completion)\n"), "Try it")
    assert stale not in texts(app)
    app.number_input(key="lab_weight_f").set_value(2.0).run()
    assert stale in texts(finished(app))
    assert stale not in texts(press(app, "Try it"))
    app.session_state["lab_text"] = "def f(completion):\n    return (\n"
    assert stale in texts(finished(app.run()))
    assert [one.key for one in app.number_input if "weight" in one.key] == ["lab_weight_f"], "stay"


def test_half_characters_are_shown_as_such(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a\\ud800", "completion": "c\\ud800", "answer": "\\udfff"}\n')
    text = "def f(completion):\n    print(completion)\n    raise ValueError(completion)\n"
    app = open_lab(text, lab_from=lab_sources.FILE, lab_path=str(path))
    row = press(app, "Try it").session_state["lab_trial"].table.iloc[0]
    assert (
        row["Completion"] == "c\ufffd" and "c\ufffd" in row["Fault"] and "\ufffd" in row["Printed"]
    )


def test_lengths_by_hand_are_four_characters_a_token(run: Run) -> None:
    text = "def f(completion, completion_ids):\n    return len(completion_ids)\n"
    app = open_lab(text, lab_from=lab_sources.HAND)
    app.text_area(key="lab_completions").set_value("x" * 200 + "\n---\nab").run()
    app = press(app, "Try it")
    assert app.session_state["lab_trial"].table["New reward"].tolist() == [50.0, 0.0]
    assert "by hand a token is taken for four characters" in texts(app)


def test_parts_add_up(run: Run) -> None:
    text = "def a(completion):\n    return 2\n\ndef b(completion):\n    return len(completion)\n"
    app = open_lab(text, lab_from=lab_sources.HAND)
    app.number_input(key="lab_weight_b").set_value(-0.5).run()
    row = press(app, "Try it").session_state["lab_trial"].table.iloc[1]
    assert row["Completion"] == "17" and row["New reward"] == 1.0
    assert row["Parts"] == [
        {"Part": "a", "Value": 2.0, "Weight": 1.0, "Adds": 2.0},
        {"Part": "b", "Value": 2.0, "Weight": -0.5, "Adds": -1.0},
    ]


# --- versions ------------------------------------------------------------------------------------


def test_versions_the_newest_first(run: Run) -> None:
    found = lab_versions.history(run)
    assert [(one.step, one.names) for one in found] == [
        (5, ("accuracy", "short")),
        (1, ("accuracy",)),
    ]
    assert lab_versions.before(run) == found[1]


def test_the_difference_shows_weights_and_lines() -> None:
    one = rewards.from_source("def f(completion):\n    return 1\n", {"f": 0.5})
    two = rewards.from_source("def f(completion):\n    return 2\n")
    assert lab_versions.difference(*map(lab_versions.listing, (one, two))).splitlines() == [
        "@@ -1,4 +1,4 @@",
        "-# f: weight 0.5, gets text",
        "+# f: weight 1, gets text",
        " ",
        " def f(completion):",
        "-    return 1",
        "+    return 2",
    ]
    assert lab_versions.difference("a", "a") == ""


def test_a_version_opens_and_comes_back(run: Run) -> None:
    app = open_lab()
    assert "The editor holds this very reward." in texts(app)
    box = next(one for one in app.selectbox if one.label == "Version")
    box.set_value(f"1_{lab_versions.history(run)[1].id}").run()
    assert "-# accuracy" not in texts(app) and "+# short: weight 0.2, gets text" in texts(app)
    app = press(app, "Open in the editor")
    assert "def short" not in app.session_state["lab_text"]
    app = press(app, "Go back to it")
    ((command, _),) = list(run.take_commands())
    assert command is not None and command.kind == "set_rewards"
    assert [one["name"] for one in command.args["functions"]] == ["accuracy"]
    assert "The trainer takes it up before its next step." in texts(app)


def test_undo_sends_what_was_before(run: Run) -> None:
    news = {"run": "one", "step": 5, "refused": ""}
    press(open_lab(lab_news=news), "Undo")
    ((command, _),) = list(run.take_commands())
    assert command is not None
    assert [one["name"] for one in command.args["functions"]] == ["accuracy"]


def test_a_newer_version_is_what_the_box_then_shows(run: Run) -> None:
    app = open_lab()
    first = lab_versions.history(run)[1]
    box = next(one for one in app.selectbox if one.label == "Version")
    box.set_value(f"1_{first.id}").run()
    writer = RunWriter(run.db_path)
    writer.write_event(9, Event("reward_version", {"version": first.id, "names": ["accuracy"]}))
    writer.close()
    app = finished(app.run())
    box = next(one for one in app.selectbox if one.label == "Version")
    assert box.value == f"9_{first.id}" and len(box.options) == 3
    assert next(one for one in app.button if one.label == "Go back to it").disabled


def test_what_is_in_force_is_named_whoever_gave_it(run: Run) -> None:
    app = open_lab(lab_news={"run": "one", "step": 3, "refused": ""})
    assert "in force from step 5" in texts(app) and "accuracy, short" in texts(app)


def test_a_damaged_version_is_a_sentence(run: Run) -> None:
    version = lab_versions.history(run)[0].id
    (run.rewards / version / "rewards.json").write_text("[]")
    assert f"reward version {version}: cannot be read" in texts(open_lab())


# --- rewards that were not written here ----------------------------------------------------------


def test_rewards_from_elsewhere_are_shown_and_not_run_before_consent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    protection = Protection("limited", ("read your files",))
    monkeypatch.setattr(widgets, "protection", lambda: protection)
    app = open_lab()  # it was recorded without a mark
    assert "def short" in app.session_state["lab_text"] and "Not written here" in texts(app)
    assert all(str(run.rewards / one.id) in texts(app) for one in lab_versions.history(run))
    assert texts(app).count("# short: weight 0.2, gets text") > 1, "its text is there to read"
    for label in ("Try it", "Apply to the run"):
        assert next(one for one in app.button if one.label == label).disabled
    app.session_state["lab_trying"] = True  # as Ctrl-Enter in the editor does
    assert "lab_trial" not in finished(app.run()).session_state
    app.text_input(key="lab_consent_one").set_value("two").run()
    assert "Not written here" in texts(app) and trust.unmarked(run)
    app.text_input(key="lab_consent_one").set_value("one").run()
    assert "Not written here" not in texts(finished(app)) and not trust.unmarked(run)
    assert len(press(app, "Try it").session_state["lab_trial"].table) == 16
    press(app, "Apply to the run")
    ((command, _),) = list(run.take_commands())
    assert command is not None
    assert trust.is_ours(rewards.from_dicts(command.args["functions"]), command.args["mark"])


def test_consent_covers_what_was_on_the_page_and_nothing_that_came_since(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widgets, "protection", lambda: Protection("limited", ("x",)))
    app = open_lab()
    evil = rewards.from_source("def evil(completion):\n    return 1\n")
    run.send(Command("set_rewards", {"functions": rewards.to_dicts(evil)}))
    app.text_input(key="lab_consent_one").set_value("one").run()
    (left,) = trust.unmarked(run)
    assert [one.name for one in left.functions] == ["evil"]
    assert "def evil" in texts(finished(app)), "now it is shown"
    assert next(one for one in app.button if one.label == "Try it").disabled
    app.text_input(key="lab_consent_one").set_value("one").run()
    assert trust.unmarked(run) == []


def test_a_text_from_a_run_that_is_not_trusted_stays_so_beside_another_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = record_run(data.runs_dir(), "zwei", until=2, prompts=2)
    trust.consent(other, trust.unmarked(other))
    monkeypatch.setattr(widgets, "protection", lambda: Protection("limited", ("x",)))
    app = open_lab()
    app.selectbox(key="run").set_value("one").run()
    app.session_state["lab_text"] += "# mine now\n"
    app.run()
    app.selectbox(key="run").set_value("zwei").run()
    assert "# mine now" in app.session_state["lab_text"]
    assert "Not written here" in texts(finished(app))
    assert next(one for one in app.button if one.label == "Try it").disabled
    app.text_input(key="lab_file").set_value("stolen").run()
    assert "say first that you trust it" in texts(press(app, "Save"))
    assert own_rewards.names() == []
    app.selectbox(key="lab_source").set_value("brevity").run()
    assert "Not written here" not in texts(finished(app)), "that one ships"
    app.selectbox(key="lab_source").set_value("the text from before").run()
    assert "Not written here" in texts(finished(app))


# --- texts that are not quite the run's reward ---------------------------------------------------


def functions_of(*files: str, form: str = "text") -> list[rewards.RewardFunction]:
    return [
        one
        for index, text in enumerate(files)
        for one in rewards.from_source(text, filename=f"{index}.py", completion_format=form)
    ]


def test_what_one_text_cannot_be() -> None:
    one = "K = 1\ndef a(completion):\n    return K\n"
    two = "K = 2\ndef b(completion):\n    return K\n"
    future = "from __future__ import annotations\ndef c(completion):\n    return 1\n"
    assert lab.why_not_one_text(functions_of(one)) == ""
    assert lab.why_not_one_text(functions_of(one, SHORT)) == ""
    assert lab.why_not_one_text(functions_of(one, two)) == "its files each have their own K"
    assert "__future__" in lab.why_not_one_text(functions_of(one, future))
    mixed = [*functions_of(one), *functions_of(SHORT, form="messages")]
    assert "some messages" in lab.why_not_one_text(mixed)


def test_such_a_text_is_not_tried_or_applied_before_it_is_changed(run: Run) -> None:
    clash = functions_of("K = 1\ndef a(completion):\n    return K\n",
                         "K = 2\ndef b(completion):\n    return K\n")  # fmt: skip
    version = rewards.save_version(run.rewards, clash)
    writer = RunWriter(run.db_path)
    writer._db.execute("UPDATE steps SET reward_version = ?", (version,))
    writer.close()
    app = open_lab()
    assert "its files each have their own K" in texts(app)
    assert next(one for one in app.button if one.label == "Apply to the run").disabled
    app.session_state["lab_text"] = app.session_state["lab_text"].replace("K = 2", "L = 2")
    app = finished(app.run())
    assert not next(one for one in app.button if one.label == "Apply to the run").disabled


def test_rewards_that_a_text_brings_in_are_chosen(run: Run) -> None:
    text = (
        "import math\nfrom functools import partial\n\ndef _f(by, completions, **columns):\n"
        "    return [by * len(one) for one in completions]\n\ntwice = partial(_f, 2)\n"
    )
    app = open_lab(text, lab_from=lab_sources.HAND)
    assert next(one for one in app.button if one.label == "Try it").disabled
    (choice,) = app.multiselect
    assert choice.options == ["partial", "twice"]
    app = finished(choice.set_value(["twice"]).run())
    app.number_input(key="lab_weight_twice").set_value(0.5).run()
    app.text_area(key="lab_completions").set_value("abc\n---\nd").run()
    assert press(app, "Try it").session_state["lab_trial"].table["New reward"].tolist() == [
        3.0,
        1.0,
    ]


# --- files of one's own --------------------------------------------------------------------------


def test_a_reward_is_saved_and_opened_again(run: Run) -> None:
    app = open_lab(SHORT)
    app.text_input(key="lab_file").set_value("mine").run()
    app = press(app, "Save")
    path = data.runs_dir().parent / "rewards" / "mine.py"
    assert path.read_text() == SHORT and str(path) in texts(app)
    assert own_rewards.names() == ["mine.py"]
    app = open_lab()
    app.selectbox(key="lab_source").set_value("mine.py").run()
    assert app.session_state["lab_text"] == SHORT
    assert app.text_input(key="lab_file").value == "mine"
    app.session_state["lab_text"] = SHORT + "# more\n"
    app.number_input(key="lab_weight_short").set_value(0.5).run()
    app = press(app, "Save")
    assert path.read_text() == SHORT + "# more\n"
    line = f"- {{path: {path}, function: short, weight: 0.5, completion_format: text}}"
    assert yaml.safe_load(line)[0]["weight"] == 0.5 and f"rewards:\n{line}" in texts(app)


def test_a_text_that_was_worked_on_is_never_lost(run: Run) -> None:
    app = open_lab("def mine(completion):\n    return 3\n")
    app.number_input(key="lab_weight_mine").set_value(0.25).run()
    start = "lab_source"
    assert "the text from before" not in app.selectbox(key=start).options
    app = finished(app.selectbox(key=start).set_value("brevity").run())
    assert "def brevity" in app.session_state["lab_text"]
    assert app.selectbox(key=start).value is None, "the same can be chosen again"
    app = finished(app.selectbox(key=start).set_value("the text from before").run())
    assert "def mine" in app.session_state["lab_text"]
    assert app.number_input(key="lab_weight_mine").value == 0.25


def test_fields_keep_what_they_hold_while_another_page_is_open(run: Run) -> None:
    app = open_lab("def f(completion):\n    return completion[0]['content'] == '17'\n")
    app.segmented_control(key="lab_format").set_value("messages").run()
    app.text_input(key="lab_file").set_value("mine").run()
    app.segmented_control(key="lab_from").set_value(lab_sources.HAND).run()
    app.text_area(key="lab_completions").set_value("17\n---\n5").run()
    app.switch_page("app_pages/runs.py").run()
    app.switch_page("app_pages/reward_lab.py").run()
    assert app.segmented_control(key="lab_format").value == "messages"
    assert app.text_input(key="lab_file").value == "mine"
    assert app.text_area(key="lab_completions").value == "17\n---\n5"
    assert press(app, "Try it").session_state["lab_trial"].table["New reward"].tolist() == [
        1.0,
        0.0,
    ]
    app.segmented_control(key="lab_from").set_value(lab_sources.STEP).run()
    app.segmented_control(key="lab_from").set_value(lab_sources.HAND).run()
    assert app.text_area(key="lab_completions").value == "17\n---\n5"


def test_a_second_reward_beside_the_first(run: Run) -> None:
    app = open_lab("def mine(completion):\n    return 3\n")
    app.number_input(key="lab_weight_mine").set_value(0.25).run()
    app.checkbox(key="lab_add").check().run()
    app = finished(app.selectbox(key="lab_source").set_value("brevity").run())
    text = app.session_state["lab_text"]
    assert rewards.find_functions(text) == ["mine", "brevity"]
    weights = {one.key: one.value for one in app.number_input}
    assert weights["lab_weight_mine"] == 0.25 and weights["lab_weight_brevity"] == 1.0
    assert press(app, "Try it").session_state["lab_trial"].faults == []


def test_saving_never_writes_over_what_was_not_opened(run: Run) -> None:
    own_rewards.save("mine", SHORT, None)
    assert own_rewards.save("mine.py", SHORT, None) == "mine.py", "the same text is no conflict"
    with pytest.raises(ValueError, match="holds another text than the one you opened"):
        own_rewards.save("mine", "x = 1\n", None)
    assert own_rewards.read("mine.py") == SHORT
    app = open_lab("def g(completion):\n    return 2\n")
    app.text_input(key="lab_file").set_value("mine").run()
    assert "holds another text" in texts(press(app, "Save"))
    assert "def g" in app.session_state["lab_text"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 61, "a b", "é", "a\nb"])
def test_names_of_files(run: Run, name: str) -> None:
    with pytest.raises(ValueError, match="name the file with letters") as refused:
        own_rewards.save(name, SHORT, None)
    assert ".py" not in str(refused.value) and ("no name" in str(refused.value)) is (name == "")
    with pytest.raises(ValueError, match="name the file with letters"):
        own_rewards.read(name + ".py")


def test_files_that_cannot_be_read_or_written(run: Run) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        own_rewards.read("none.py")
    own_rewards.save("mine", SHORT, None)
    (own_rewards.folder() / "mine.py").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not UTF-8"):
        own_rewards.read("mine.py")
    (own_rewards.folder() / "large.py").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ValueError, match="is larger than"):
        own_rewards.read("large.py")
    with pytest.raises(ValueError, match="half of a character"):
        own_rewards.save("half", "\ud800", None)
    os.mkfifo(own_rewards.folder() / "pipe.py")
    assert own_rewards.names() == ["large.py", "mine.py"]


def test_the_text_of_a_set_of_functions_tries_unchanged(run: Run) -> None:
    text, weights, form = lab.as_text(lab.current_functions(run))
    assert weights == {"accuracy": 1.0, "short": 0.2} and form == "text"
    functions = rewards.from_source(text, weights)
    assert [(one.name, one.weight) for one in functions] == [("accuracy", 1.0), ("short", 0.2)]
