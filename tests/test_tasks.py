"""Problems: seeded draws, splits that never overlap, files of every wrong kind."""

import json
import os

import pytest

from grpo_core import arithmetic
from grpo_core.arithmetic import Expression
from grpo_core.config import DataConfig
from grpo_core.tasks import load_task, read_rows


def file_config(path, **more) -> DataConfig:
    return DataConfig(task="file", path=str(path), **more)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_values_of_expressions():
    assert Expression("sum", (47, 38, -20)).value == 65
    assert Expression("times", (7, 16)).value == 112
    assert (Expression("larger", (5, 9)).value, Expression("smaller", (5, 9)).value) == (9, 5)
    assert Expression("sum", (47, 38)).key == Expression("sum", (38, 47)).key


def test_training_and_held_out_expressions_never_overlap():
    streams = {s: arithmetic.questions(s, 0) for s in ("train", "dev", "eval")}
    keys = {s: {next(stream)[0].key for _ in range(4000)} for s, stream in streams.items()}
    assert not keys["train"] & keys["eval"] and not keys["train"] & keys["dev"]
    task = load_task(DataConfig(), 400)
    assert len({p.question for p in task.held_out}) == 400
    assert not {p.question for p in task.train} & {p.question for p in task.held_out}


def test_partial_sums_stay_between_1_and_199():
    for expression, _ in (next(s) for s in [arithmetic.questions("train", 3)] for _ in range(3000)):
        if expression.kind == "sum":
            sums = [sum(expression.terms[: i + 1]) for i in range(len(expression.terms))]
            assert min(sums) >= 1 and max(sums) <= 199


def test_draws_are_a_function_of_seed_and_step(tmp_path):
    rows = [{"question": f"q{i}", "answer": str(i)} for i in range(30)]
    task = load_task(file_config(write_jsonl(tmp_path / "d.jsonl", rows)), 10)
    assert len(task.train) == 20 and len(task.held_out) == 10
    drawn = [[p.id for p in task.draw(step, 8, seed=1)] for step in range(1, 6)]
    assert drawn == [[p.id for p in task.draw(step, 8, seed=1)] for step in range(1, 6)]
    assert drawn != [[p.id for p in task.draw(step, 8, seed=2)] for step in range(1, 6)]
    flat = [name for step in drawn for name in step]
    assert sorted(flat[:20]) == sorted(flat[20:40])  # two whole passes, in two orders
    assert flat[:20] != flat[20:40]


def test_gsm8k_answers_stand_after_the_marks(tmp_path):
    (tmp_path / "d").mkdir()
    rows = [{"question": "a?", "answer": "1+1=<<1+1=2>>2\n#### 1,234"}]
    write_jsonl(tmp_path / "d" / "train.jsonl", rows)
    write_jsonl(tmp_path / "d" / "test.jsonl", [{"question": "b?", "answer": "#### -5"}])
    task = load_task(DataConfig(task="gsm8k", path=str(tmp_path / "d")), 10)
    assert (task.train[0].answer, task.held_out[0].answer) == ("1234", "-5")
    assert task.train[0].row["solution"] == rows[0]["answer"]


def test_real_gsm8k_has_its_published_size(real_data):
    task = load_task(DataConfig(task="gsm8k", path=str(real_data / "gsm8k")), 2000)
    assert (len(task.train), len(task.held_out)) == (7473, 1319)
    assert all("," not in p.answer and p.answer.lstrip("-").isdigit() for p in task.held_out)


def test_csv_and_parquet_give_the_same_problems(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"q": "1, or 2?", "a": "1"}, {"q": 'say "x"', "a": "x"}]
    columns = {"question_column": "q", "answer_column": "a"}
    (tmp_path / "d.csv").write_text('q,a\n"1, or 2?",1\n"say ""x""",x\n')
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert read_rows(tmp_path / "d.csv") == read_rows(tmp_path / "d.parquet") == rows
    a, b = (load_task(file_config(tmp_path / f"d.{s}", **columns), 1) for s in ("csv", "parquet"))
    assert a == b


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", b'{"question": "a", "answer": "1"}\n{broken\n', "line 2 is not JSON"),
        ("d.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("d.jsonl", b"", "has no rows"),
        ("d.jsonl", b'{"question": "\xff"}\n', "is not UTF-8"),
        ("d.jsonl", b"[" * 200_000, "line 1 is not JSON"),
        (
            "d.jsonl",
            b'{"q": "a", "answer": "1"}\n',
            "there is no column 'question' (there: q, answer)",
        ),
        ("d.jsonl", b'{"question": "a", "answer": null}\n', "row 1: there is no reference answer"),
        ("d.jsonl", b"x" * 10_000_001, "line 1 is longer than 10,000,000 characters"),
        ("d.csv", b"question,answer\na,1,2\n", "row 2 has more cells than the header"),
        ("d.parquet", b"PAR1 but no", "is not a readable Parquet file"),
        ("d.txt", b"hello", "expected a .jsonl, .csv or .parquet file"),
        ("d.jsonl", b'{"question": "a", "answer": "1"}\n', "problems are left"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_task(file_config(tmp_path / name), 10)
    assert message in str(caught.value)


def test_what_cannot_be_used_is_left_out_and_said(tmp_path):
    rows = [
        {"problem": "1 + 1?", "solution": r"\boxed{2}", "level": "Level 1"},
        {"problem": "empty", "solution": r"\boxed{}"},
        {"problem": None, "solution": r"\boxed{2}"},
        {"problem": "  1 +  1? ", "solution": r"\boxed{2}"},
        {"problem": "no gold", "solution": float("nan")},
        {"problem": "2 + 2?", "solution": "It is $\\boxed 4$."},
        {"problem": "WHAT is 3?", "solution": r"\boxed{1}, no: \boxed{\frac{6}{2}}"},
    ]
    test = [{"problem": "What is  3?", "solution": r"\boxed{3}"}]
    (tmp_path / "d").mkdir()
    write_jsonl(tmp_path / "d" / "train.jsonl", rows)
    write_jsonl(tmp_path / "d" / "test.jsonl", test)
    task = load_task(DataConfig(task="math", path=str(tmp_path / "d")), 10)
    assert [(p.id, p.answer) for p in task.train] == [("train-1", "2"), ("train-6", "4")]
    assert [p.answer for p in task.held_out] == ["3"]
    assert task.train[0].row["level"] == "Level 1" and task.train[0].row["solution"]
    assert task.notes == (
        "3 of 7 rows of train are left out (row 2: the solution's box is empty; row 3: 'problem' "
        "is empty; row 5: there is no reference answer)",
        "1 rows of train ask what one before them asks: left out",
        "1 training questions are held-out ones as well and are left out of training",
    )


def test_real_cmath_has_its_published_size(real_data, tmp_path):
    path, held_out = (str(real_data / "cmath" / f"{name}.jsonl") for name in ("validation", "test"))
    task = load_task(DataConfig(task="cmath", path=path, eval_path=held_out), 2000)
    said = " ".join(task.notes)
    assert (len(task.train), len(task.held_out)) == (597, 1097), said
    assert task.held_out[0].row.keys() >= {"grade", "reasoning_step", "num_digits"}


@pytest.mark.parametrize("name", ["math", "cmath", "file"])
def test_a_task_that_needs_a_file_says_so(name):
    with pytest.raises(ValueError, match=f"path is needed with task: {name}"):
        DataConfig(task=name)


def test_columns_are_the_tasks_own_unless_others_are_named():
    def of(**given):
        config = DataConfig(path="x", **given)
        return f"{config.question_column} {config.answer_column}"

    assert of(task="math") == "problem solution" and of(task="cmath") == "question golden"
    assert of(task="gsm8k") == of(task="file") == "question answer"
    assert of(task="math", question_column="q") == "q solution"


def test_a_missing_file_and_a_pipe_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "d.jsonl")
    for path in (tmp_path / "d.jsonl", tmp_path / "none.jsonl", "/dev/zero"):
        with pytest.raises(ValueError, match="is not a file"):
            load_task(file_config(path), 10)
