"""The Data tab of New run: what a person sees of their data before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamlit.testing.v1 import AppTest
from test_pages import open_page, overrides_of, texts

from grpo_core.config import DataConfig
from grpo_core.data_config import TEMPLATES
from grpo_core.recipe import load_recipe, parse_config, to_yaml
from studio import data_look

HOSTILE = "<img src=x onerror=alert(1)> ![x](http://evil.example/x.png) :red[hi] $x$"


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def choose(app: AppTest, prefix: str = "new/bundled", **values: Any) -> AppTest:
    """Set knobs of the data section, one after another."""
    for key, value in values.items():
        kinds = (app.selectbox, app.number_input, app.text_area, app.text_input)
        name = f"{prefix}/data.{key}"
        next(f for kind in kinds for f in kind if f.key == name).set_value(value).run()
        assert not app.exception, [error.value for error in app.exception]
    return app


def start_button(app: AppTest) -> Any:
    return next(button for button in app.button if button.label == "Start the run")


def test_columns_are_chosen_from_those_that_are_there(empty: Path, tmp_path: Path) -> None:
    rows = [{"ask": f"{HOSTILE} {i}", "gold": i or None, "level": 3} for i in range(12)]
    path = write(tmp_path / "mine.jsonl", [*rows, rows[5]])
    app = choose(open_page("new_run"), task="file", path=str(path))
    question = app.selectbox(key="new/bundled/data.question_column")
    assert (question.value, question.options) == (None, ["ask", "gold", "level"])
    assert question.placeholder == "question (the task's own)"
    assert "no column 'question' (there: ask, gold, level)" in texts(app)
    assert start_button(app).disabled and "What the data come to" in texts(app)
    choose(app, question_column="ask", answer_column="gold", shots=2)
    assert overrides_of(app).endswith(
        "--set data.question_column=ask --set data.answer_column=gold --set data.shots=2"
    )
    assert not start_button(app).disabled
    said = texts(app)
    # 13 rows, one without an answer, one twice: 11 problems, 5 held out, 2 shown as examples
    assert "4 training problems, 5 held out. The 2 worked examples are taken out" in said
    assert "1 of 13 rows of train are left out (row 1: there is no reference answer)" in said
    assert "1 rows of train ask what one before them asks: left out" in said
    become = next(e.value for e in app.dataframe if "Left out because" in e.value)
    raw = next(e.value for e in app.dataframe if "gold" in e.value)
    assert become["Left out because"].tolist() == ["there is no reference answer", *[""] * 4]
    assert become["Reference answer"].tolist() == ["", "1", "2", "3", "4"]
    assert raw.columns.tolist() == ["ask", "gold", "level"] and raw["gold"][0] == ""
    assert all(len(cell) <= data_look.MAX_CELL for cell in raw["ask"])
    assert [e.label for e in app.expander if "worked" in e.label] == ["2 worked examples"]
    turns = [e.value for e in app.code]
    assert sum(turn.startswith("<answer>") for turn in turns) == 2
    assert sum(turn.startswith(HOSTILE) for turn in turns) == 3
    assert not any("evil.example" in str(e.value) for e in (*app.markdown, *app.caption))
    assert any(
        turn.startswith("grpo-studio prompts bundled --set data.task=file") for turn in turns
    )


def test_a_task_brings_its_own_columns_and_template(empty: Path, tmp_path: Path) -> None:
    app = open_page("new_run")
    question = "new/bundled/data.question_column"
    for task, column in (("math", "problem"), ("cmath", "question"), ("gsm8k", "question")):
        choose(app, task=task)
        assert app.selectbox(key=question).placeholder == f"{column} (the task's own)"
        template = app.text_area(key="new/bundled/data.prompt_template")
        assert (template.value, template.placeholder) == ("", TEMPLATES[task])
    assert overrides_of(app).endswith("--set data.task=gsm8k"), "what is the task's is not spelled"
    assert "A data set of the hub is read when the run starts, not here." in texts(app)
    assert TEMPLATES["gsm8k"] in [e.value for e in app.code] and not start_button(app).disabled
    choose(app, prompt_template="Say\n{question}")
    assert "Say\n{question}" in [e.value for e in app.code]
    recipe = next(e.value for e in app.code if e.value.startswith("model:"))
    assert yaml.safe_load(recipe)["data"]["prompt_template"] == "Say\n{question}"


def test_a_copied_run_takes_the_columns_of_another_task(empty: Path, tmp_path: Path) -> None:
    """A run's complete config.yaml spells out what was only its task's own."""
    data = {"task": "math", "path": str(tmp_path), "answer_column": "short"}
    copied = tmp_path / "config.yaml"
    copied.write_text(to_yaml(parse_config({"data": data})))
    app = open_page("new_run")
    app.selectbox(key="new_recipe").set_value("own file").run()
    app.text_input(key="new_recipe_path").set_value(str(copied)).run()
    prefix = f"new/{copied}"
    columns = [app.selectbox(key=f"{prefix}/data.{k}_column") for k in ("question", "answer")]
    assert [c.value for c in columns] == [None, "short"] and "--set" not in overrides_of(app)
    assert columns[0].placeholder == "problem (the task's own)"
    choose(app, prefix, task="cmath")
    assert app.selectbox(key=f"{prefix}/data.question_column").placeholder.startswith("question ")
    assert overrides_of(app).endswith("--set data.task=cmath")
    recipe = next(e.value for e in app.code if e.value.startswith("model:"))
    written = yaml.safe_load(recipe)["data"]
    assert (written["question_column"], written["answer_column"]) == ("question", "short")
    assert written["prompt_template"] == TEMPLATES["cmath"]
    choose(app, prefix, answer_column=None)
    assert "--set data.answer_column=null" in overrides_of(app)
    assert load_recipe(copied, ["data.task=cmath", "data.answer_column=null"]).data == (
        DataConfig(task="cmath", path=str(tmp_path))
    )


def test_a_large_file_is_looked_at_and_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"question": f"q{i}", "answer": f"{i}\n#### {i}"} for i in range(60)]
    path = write(tmp_path / "d.jsonl", rows)
    config = DataConfig(task="gsm8k", path=str(path), shots=1, system_prompt="Brief.")
    assert data_look.look(config, 10).said.startswith("49 training problems, 10 held out.")
    monkeypatch.setattr(data_look, "MAX_BYTES", 100)
    monkeypatch.setattr(data_look, "load_task", None)
    write(path, [*rows, {"question": "x" * 5000, "answer": "#### 1"}])  # a change is seen
    looked = data_look.look(config, 10)
    assert "counted when the run starts" in looked.said and "stand in for" in looked.said
    assert [turn["content"] for turn in looked.chat] == [
        "Brief.",
        TEMPLATES["gsm8k"].replace("{question}", "q1"),
        "1\n#### 1",
        TEMPLATES["gsm8k"].replace("{question}", "q0"),
    ]
    assert looked.become[3] == {
        "Row": "4", "Question": "q3", "Reference answer": "3", "Left out because": ""
    }  # fmt: skip


def test_a_look_reads_the_first_rows_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def endless(path: Path) -> Any:
        while True:
            read.append(1)
            yield {"q": "x" * 300_000, "a": "1"}

    from grpo_core import data_splits

    path = write(tmp_path / "d.jsonl", [{"q": "1"}])
    monkeypatch.setattr(data_splits, "iter_rows", endless)
    assert data_look.columns(DataConfig(task="file", path=str(path))) == ("q", "a")
    assert len(read) == 14, "14 rows of 300,000 characters are more than four million"


def test_a_missing_path_is_said_once_and_nothing_breaks(empty: Path, tmp_path: Path) -> None:
    app = choose(open_page("new_run"), task="file")
    assert "path is needed with task: file" in texts(app) and start_button(app).disabled
    choose(app, path=str(tmp_path / "none.jsonl"))
    assert "is not a file or folder that is there" in texts(app) and start_button(app).disabled
    choose(app, path="hub:a/b/c")
    assert "names no data set" in texts(app) and start_button(app).disabled
    choose(app, path="hub:a/b")
    assert not start_button(app).disabled
