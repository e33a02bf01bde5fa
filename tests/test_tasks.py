"""Problems: seeded draws, splits that never overlap, files of every wrong kind."""

import json
import os

import pytest

from grpo_core import arithmetic
from grpo_core.arithmetic import Expression
from grpo_core.config import DataConfig
from grpo_core.prompts import plain, turns, worked
from grpo_core.records import Problem
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
        ("d.jsonl", b'{"question": "\xff"}\n', "`iconv -f WINDOWS-1252 -t UTF-8 d.jsonl > "),
        ("d.csv", "question,answer\na,1\n".encode("utf-16"), "`iconv -f UTF-16 -t UTF-8 d.csv"),
        ("d.csv", "question,answer\na,1\n".encode("utf-16-le"), "is not UTF-8 (it looks like UTF"),
        ("d.csv", b'question,answer\na,1\n"b,2\nc,3\n', "quote that opens in line 3 is never cl"),
        ("d.csv", b'question,answer\na,1\n"' + b"b" * 200_000, "that opens in line 3 is never cl"),
        ("d.jsonl", b'{"question": ["a"], "answer": "1"}\n', "'question' holds a list, not text"),
        ("d.jsonl", b"[" * 200_000, "line 1 is not JSON"),
        (
            "d.jsonl",
            b'{"q": "a", "answer": "1"}\n',
            "there is no column 'question' (there: q, answer)",
        ),
        ("d.jsonl", b'{"question": "a", "answer": null}\n', "row 1: there is no reference answer"),
        ("d.jsonl", b"x" * 10_000_001, "line 1 is longer than 10,000,000 characters"),
        ("d.csv", b"question,answer\na,1,2\n", "line 2 has more cells than the header"),
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


def test_rows_that_cannot_be_read_are_left_out_and_the_others_stay(tmp_path):
    long = "x" * 140_000
    lines = [
        "question,answer",
        "a,1",
        "b,2,3",
        f"{long},4",
        f'"two\nlines {long}, ""5""\nand, more",5',
        '"c, ""too""",6',
        "",
        "d",
        '"e"x,7',
        "f,8",
    ]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    rows = read_rows(tmp_path / "d.csv")
    limit = "field larger than field limit (131072)"
    assert rows == [
        {"question": "a", "answer": "1"},
        "line 3 has more cells than the header",
        f"line 4: {limit}",
        f"line 5: {limit}",
        {"question": 'c, "too"', "answer": "6"},
        {"question": "d", "answer": None},
        "line 11: ',' expected after '\"'",
        {"question": "f", "answer": "8"},
    ]
    task = load_task(file_config(tmp_path / "d.csv"), 1)
    assert {p.question for p in (*task.train, *task.held_out)} == {"a", 'c, "too"', "f"}
    assert task.notes == (
        "5 of 8 rows of train are left out (row 2: line 3 has more cells than the header; "
        f"row 3: line 4: {limit}; row 4: line 5: {limit} …)",
    )


def test_a_line_without_an_end_costs_bounded_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "d.jsonl"
    with path.open("w") as file:
        file.write('{"question": "a", "answer": "1"}\n')
        for _ in range(60):
            file.write("x" * 1_000_000)
        file.write('\n\n{"question": "b", "answer": "2"}\nnonsense\n')
    tracemalloc.start()
    rows = read_rows(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row if isinstance(row, str) else row["answer"] for row in rows] == [
        *("1", "line 2 is longer than 10,000,000 characters", "2", "line 5 is not JSON"),
    ]
    assert peak < 45_000_000  # a line is at most 10 million; the file is 60 million


def test_only_the_rows_that_are_wanted_are_read(tmp_path, monkeypatch):
    import datasets
    from datasets import Dataset, DatasetDict

    read = []

    class Rows:
        def with_format(self, kind):
            assert kind == "arrow", "no image is decoded, nothing is copied"
            return self

        def iter(self, size):
            while True:  # a hub data set without end
                read.append(size)
                rows = [{"q": f"{len(read)}/{i}", "a": str(i)} for i in range(size)]
                yield Dataset.from_list(rows).with_format("arrow")[:]

    asked = []
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *given: asked.append(given) or {"train": Rows()}
    )
    columns = {"question_column": "q", "answer_column": "a"}
    config = DataConfig(task="file", path="hub:a/b:c", max_rows=300, **columns)
    task = load_task(config, 100)
    assert asked == [("a/b", "c")] and read == [256, 256]
    assert (len(task.train), len(task.held_out)) == (200, 100)

    rows = [{"q": f"q{i}", "a": str(i)} for i in range(600)]
    both = DatasetDict({"dev": Dataset.from_list(rows[:2]), "test": Dataset.from_list(rows[2:])})
    both.save_to_disk(tmp_path / "saved")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: both)
    hub = load_task(DataConfig(task="file", path="hub:d", **columns), 500)
    saved = load_task(file_config(tmp_path / "saved", **columns), 500)
    assert hub.train == saved.train and hub.held_out == saved.held_out
    assert [p.answer for p in saved.held_out] == [str(i) for i in range(2, 502)]
    assert saved.notes == ("saved has no split 'train'; 'dev' is trained on",)
    both["test"].save_to_disk(tmp_path / "one")
    one = load_task(file_config(tmp_path / "one", **columns), 500)
    assert (len(one.train), len(one.held_out)) == (299, 299)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "check the network, or set data.path"),
        (
            ValueError("Config name is missing.\nPlease pick one among: ['main', 'soc']"),
            "a/b has several subsets; write hub:a/b:SUBSET with one of 'main', 'soc'",
        ),
        (ValueError("BuilderConfig 'x' not found. Available: ['main']"), "with one of 'main'"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "is never run"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(monkeypatch, error, said):
    import datasets

    def refuse(*_):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError) as caught:
        load_task(DataConfig(task="file", path="hub:a/b"), 10)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_network_the_hub_says_so(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(ValueError, match=r"openai/gsm8k could not be loaded.*check the network"):
        load_task(DataConfig(task="gsm8k"), 10)


def test_splits_are_found_in_folders_or_named(tmp_path):
    rows = [{"question": f"q{i}", "golden": str(i)} for i in range(6)]
    folder = tmp_path / "cmath"
    (folder / "data").mkdir(parents=True)
    write_jsonl(folder / "validation.jsonl", rows[:2])
    write_jsonl(folder / "test-00000-of-00002.jsonl", rows[2:3])
    write_jsonl(folder / "data" / "test-00001-of-00002.jsonl", rows[3:5])

    def answers(**more):
        task = load_task(DataConfig(task="cmath", path=str(folder), **more), 10)
        return [sorted(p.answer for p in part) for part in (task.train, task.held_out)], task.notes

    both, notes = answers()
    assert both == [["0", "1"], ["2", "3", "4"]]
    assert notes == ("cmath has no split 'train'; 'validation' is trained on",)
    assert answers(train_split="test", eval_split="validation")[0] == [["2", "3", "4"], ["0", "1"]]
    elsewhere = write_jsonl(tmp_path / "more.jsonl", rows[5:])
    assert answers(eval_path=str(elsewhere))[0] == [["0", "1"], ["5"]]
    write_jsonl(folder / "train.jsonl", rows[5:])
    assert answers() == ([["5"], ["2", "3", "4"]], ())
    for file in folder.rglob("test*"):
        file.unlink()
    assert answers() == (
        [["5"], ["0", "1"]],
        ("cmath has no split 'test'; 'validation' is held out",),
    )
    for wrong, said in (
        ({"train_split": "trian"}, "data.train_split: there is no split 'trian'; cmath has"),
        ({"eval_split": "x"}, "data.eval_split: there is no split 'x'"),
        ({"eval_path": str(elsewhere), "eval_split": "test"}, "is one file and has no splits"),
        ({"eval_path": str(folder / "none")}, "hub:OWNER/NAME for a data set of the hub"),
    ):
        with pytest.raises(ValueError, match=said):
            answers(**wrong)
    (folder / "train.jsonl").unlink()
    with pytest.raises(ValueError, match=r"has the splits 'validation'; set data\.train_split"):
        answers()


def test_cells_that_hold_nothing_are_nothing(tmp_path):
    rows = [{"question": q, "answer": a, "level": float("nan")} for q, a in (("a", 1), ("b", 2))]
    rows += [
        {"question": float("nan"), "answer": "3"},
        {"question": "c", "answer": float("nan")},
        {"question": "a ", "answer": 5},
    ]
    task = load_task(file_config(write_jsonl(tmp_path / "d.jsonl", rows)), 1)
    problems = [*task.train, *task.held_out]
    assert {(p.answer, p.row["level"]) for p in problems} == {("1", None), ("2", None)}
    assert task.notes == (
        "2 of 5 rows of train are left out (row 3: 'question' is empty; "
        "row 4: there is no reference answer)",
        "1 rows of train ask what one before them asks, 1 of them with another answer: left out",
    )


# --- worked examples -----------------------------------------------------------------------------


def test_examples_are_training_problems_that_are_not_trained_on(tmp_path):
    rows = [{"question": f"q{i}", "answer": str(i)} for i in range(30)]
    path = write_jsonl(tmp_path / "d.jsonl", rows)
    without = load_task(file_config(path), 10)
    task = load_task(file_config(path, shots=3), 10)
    (examples,) = {p.examples for p in (*task.train, *task.held_out)}
    shown = {question for question, _ in examples}
    assert task.held_out[0].question == without.held_out[0].question
    assert not shown & {p.question for p in (*task.train, *task.held_out)}
    assert shown | {p.question for p in task.train} == {p.question for p in without.train}
    assert len(task.train) == 17 and len(shown) == 3
    assert all(said == f"<answer>{asked[1:]}</answer>" for asked, said in examples)
    assert load_task(file_config(path, shots=3), 10).train == task.train
    assert task.train[0].examples is task.held_out[0].examples, "one tuple for all"
    with pytest.raises(ValueError, match=r"data\.shots: 32 .* there are 20; lower data\.shots to"):
        load_task(file_config(path, shots=32), 10)


def test_a_worked_example_ends_as_the_judge_reads_it(real_data, tmp_path):
    from grpo_core.grading import extract, grade

    cmath = str(real_data / "cmath")
    for task, path, rule in (("gsm8k", "gsm8k", "hashes"), ("cmath", cmath, "phrase")):
        config = DataConfig(task=task, path=str(real_data / path), shots=1)
        problems = [*load_task(config, 2000).train, *load_task(config, 2000).held_out]
        shown = [worked(task, p) for p in problems]
        assert all(grade(text, p.answer) for text, p in zip(shown, problems, strict=True))
        assert {extract(text)[1] for text in shown} == {rule}
        assert not any("<<" in text for text in shown)
    problem = Problem("1", "q", "2", {"solution": "1 + 1 = <<1+1=2>>2\n#### 2"})
    assert worked("gsm8k", problem) == "1 + 1 = 2\n#### 2"
    assert worked("math", Problem("1", "q", "2", {"solution": r"So $\boxed{2}$. "})) == (
        r"So $\boxed{2}$."
    )
    assert grade(worked("file", Problem("1", "q", "1, 2. And 3")), "1, 2. And 3")


def test_turns_and_plain_text_of_a_prompt():
    data = DataConfig(prompt_template="Q: {question}!", system_prompt="Be brief.")
    chat = turns(data, "c", [("a", "1"), ("b", "2")])
    assert [(turn["role"], turn["content"]) for turn in chat] == [
        ("system", "Be brief."),
        ("user", "Q: a!"),
        ("assistant", "1"),
        ("user", "Q: b!"),
        ("assistant", "2"),
        ("user", "Q: c!"),
    ]
    assert plain(chat) == (
        "Be brief.\n\nQuestion: Q: a!\nAnswer: 1\n\nQuestion: Q: b!\nAnswer: 2\n\n"
        "Question: Q: c!\nAnswer:"
    )
    assert plain(turns(data, "c")) == "Be brief.\n\nQ: c!"
    assert plain(turns(DataConfig(), "c")) == "c"


def test_a_task_has_a_template_of_its_own_unless_one_is_given():
    def of(**given):
        return DataConfig(path="x", **given).prompt_template

    assert of(task="gsm8k").endswith("after ####.") and of(task="file") == "{question}"
    assert "\\boxed{}" in of(task="math") and "答案是" in of(task="cmath")
    assert of(task="gsm8k", prompt_template="{question}") == "{question}"
    assert of(task="math", prompt_template=None) == of(task="math"), "left open"
    assert DataConfig().prompt_template == "{question}"
