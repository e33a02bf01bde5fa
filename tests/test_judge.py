"""The judge: answers of data sets against themselves, mathematics, and what takes for ever."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_grading import DATA
from typer.testing import CliRunner

from grpo_core import cli
from grpo_core.gold import gold_of
from grpo_core.grading import extract
from grpo_core.judge import Judge, mark
from grpo_core.recorded import Recorded, judged, read_recorded, report
from grpo_core.records import Group, Problem, Rollout
from grpo_core.symbolic import equal
from grpo_core.verdict import decide


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(5.0, is_ordered=False) as made:
        yield made


# --- the answers of the data sets against themselves ---------------------------------------------

ENGLISH = (
    "#### {}", "so \\boxed{{{}}}.", "<answer>{}</answer>", "The answer is {}.",
    "the answer is: ${}.", "In all there are {} of them",
)  # fmt: skip
CHINESE = (
    "答案是{}。", "答案：{}", "所以一共是{}。", "\\boxed{{{}}}", "<answer>{}</answer>", "#### {}",
)  # fmt: skip


def rows_of(*names: str) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        path = DATA / name
        if not path.is_file():
            pytest.skip(f"{path} is not there; GRPO_DATA names the folder with the data sets")
        rows += [json.loads(line) for line in path.open(encoding="utf-8")]
    return rows


@pytest.mark.slow
def test_gsm8k_against_itself(judge: Judge) -> None:
    rows = rows_of("gsm8k/train.jsonl", "gsm8k/test.jsonl")
    assert len(rows) == 8792
    golds = [gold_of("gsm8k", row["answer"]) for row in rows]
    for form in ENGLISH:
        said = judge.grade([(form.format(gold), gold) for gold in golds])
        assert sum(one.correct for one in said) == 8792, form
        written = [(form.format(f"{int(gold):,}"), gold) for gold in golds]
        assert all(one.correct for one in judge.grade(written)), form
        for other in (lambda n: n + 1, lambda n: n - 1, lambda n: -n or 1, lambda n: 10 * n or 1):
            wrong = [(form.format(other(int(gold))), gold) for gold in golds]
            assert not any(one.correct for one in judge.grade(wrong)), form
    written = [(row["answer"], gold) for row, gold in zip(rows, golds, strict=True)]
    assert all(one.correct for one in judge.grade(written))


@pytest.mark.slow
def test_cmath_against_itself(judge: Judge) -> None:
    rows = rows_of("cmath/validation.jsonl", "cmath/test.jsonl")
    assert len(rows) == 1698
    golds = [gold_of("cmath", row["golden"]) for row in rows]
    for form in CHINESE:
        assert all(one.correct for one in judge.grade([(form.format(g), g) for g in golds])), form
        others = [form.format(f"1{g}") for g in golds], [form.format(f"-{g}") for g in golds]
        for texts in others:
            wrong = [(text, g) for text, g in zip(texts, golds, strict=True) if g.strip("0.")]
            assert not any(one.correct for one in judge.grade(wrong)), form
        whole = [int(gold) for gold in golds if gold.isdecimal()]
        assert len(whole) > 1400
        for off in (-1, 1, 10):
            wrong = [(form.format(number + off), str(number)) for number in whole]
            assert not any(one.correct for one in judge.grade(wrong)), (form, off)


# --- the kinds of answers in MATH ----------------------------------------------------------------

MATH = [
    # integers, decimals, signs, commas, currency, percentages, units
    ("18", "18", True), ("-18", "18", False), (r"1{,}234", "1234", True),
    ("1,234.50", "1234.5", True),
    (r"\$5.50", "5.5", True), (r"36\%", "36", True), (r"0.36", r"36\%", False),
    (r"12\text{ cm}", "12", True), (r"12 \mathrm{~cm}^2", "12", True), (r"90^\circ", "90", True),
    (r"45^{\circ}", r"45^\circ", True), ("１８", "18", True), ("−7", "-7", True),
    ("19 apples", "18", False),
    # fractions
    (r"\frac{2}{6}", r"\frac13", True), (r"\dfrac{3}{4}", "0.75", True), (r"\frac34", "3/4", True),
    (r"3\frac{1}{2}", r"\frac{7}{2}", True), (r"-\frac{1}{2}", r"\frac{-1}{2}", True),
    (r"\frac{1}{3}", "0.33", False), (r"\frac{3}{2}", r"\frac{2}{3}", False),
    # roots, powers, constants
    (r"\sqrt{8}", r"2\sqrt{2}", True), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}", True),
    (r"2^{10}", "1024", True), (r"4\pi", r"\pi \cdot 4", True), (r"2\pi", "6.28", False),
    (r"\sqrt[3]{27}", "3", True), (r"e^2", r"e^{2}", True), (r"\log_2 8", "3", True),
    (r"3 + 4i", "4i+3", True), ("3 - 4i", "3+4i", False),
    # expressions and equations
    ("x^2+2x+1", "(x+1)^2", True), (r"\frac{x}{2}+1", r"\frac{x+2}{2}", True), ("2x", "x2", True),
    ("x^2-1", "x^2+1", False), ("x=5", "5", True), ("y=2x+3", "y = 3 + 2x", True),
    ("y=2x+3", "y=2x-3", False), ("(x-2)(x+3)", "(x+3)(x-2)", True),
    # intervals
    ("[0,1)", "[0, 1)", True), ("[0,1)", "(0,1)", False), (r"(-\infty, 3]", r"(-\infty,3]", True),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)", True),
    (r"x \in [1,2]", "[1,2]", True),
    # sets, lists, points
    (r"\{1,2,3\}", r"\{3,1,2\}", True), (r"\{1,2\}", r"\{1,3\}", False), ("1, 2", "2,1", True),
    ("(1,2)", "(1, 2)", True), ("(2,1)", "(1,2)", False), ("1,2,3", "1,2", False),
    (r"\left(\frac{1}{2}, 3\right)", "(0.5, 3)", True),
    # matrices and vectors

    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1 & 2 \\ 3&4\end{pmatrix}", True),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", False),
    (r"\begin{pmatrix}-1\\2\end{pmatrix}", r"\begin{pmatrix}-1\\2\end{pmatrix}", True),
    # words
    (r"\text{Evelyn}", "Evelyn", True), ("evelyn", r"\text{Evelyn}", True),
    (r"\text{Anna}", "Evelyn", False),
    (r"\text{(B)}", "(B)", True), ("even", r"\text{odd}", False),
    (r"\text{Saturday}", "saturday.", True),
    # bases, times, ratios
    (r"1001_2", r"1001_{2}", True), ("10:30", "10:30", True), ("3:4", "3:5", False),
    ("undefined", r"\text{undefined}", True),
]  # fmt: skip


def test_every_kind_of_answer_of_math(judge: Judge) -> None:
    assert len(MATH) >= 60
    said = judge.grade([(rf"So it is \boxed{{{given}}}.", gold) for given, gold, _ in MATH])
    wrong = [
        (given, gold, same, one)
        for (given, gold, same), one in zip(MATH, said, strict=True)
        if one.correct is not same or one.outcome != "ok"
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        (r"First \boxed{3}, at last \boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}"),
        (r"so it is $\boxed 2$.", "2"),
        (r"\boxed{\text{(C)}}", r"\text{(C)}"),
        (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ],
)
def test_the_gold_of_math_stands_in_the_last_box(solution: str, gold: str) -> None:
    assert gold_of("math", solution) == gold


@pytest.mark.parametrize(
    ("task", "written", "why"),
    [
        ("math", r"it is \boxed{}", "box is empty"), ("math", "it is 5", "no \\boxed"),
        ("gsm8k", "it is 5", "no '####"), ("gsm8k", "#### ", "no '####"),
        ("cmath", None, "there is no"),
        ("file", " ", "is empty"), ("file", float("nan"), "there is no"),
    ],
)  # fmt: skip
def test_a_gold_that_is_not_there_is_not_guessed(task: str, written: Any, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        gold_of(task, written)
    assert why in str(caught.value)


# --- what takes for ever -------------------------------------------------------------------------


@pytest.mark.slow
def test_an_endless_answer_costs_its_deadline_and_nobody_elses_verdict() -> None:
    endless = r"\boxed{9^{9^{9^9}} + \sqrt{2}}"
    pairs = [(endless, r"\sqrt{2}")] * 7 + [(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")] * 50
    with Judge(0.5) as judge:
        said = judge.grade(pairs)
    assert {one.outcome for one in said[:7]} <= {"timeout", "crash", "error"}
    assert not any(one.correct for one in said[:7])
    assert all(one.correct and one.outcome == "ok" for one in said[7:])


RIGHT = [
    *((text, "16") for text in (
        "8*2=16", r"8\times2=16", "(16)", "{16}", r"\left(16\right)", "[16]", "$$16$$", "=16",
        "x=y=16", "$8*2=$16", "32/2", r"\frac{32}{2}", "16 cm", "16.0",
    )),
    ("$x=5$", "5"), ("x=5", "5"), ("5 centimeters", "5 cm"), ("5", "5 m"), ("18 pens", "18 apples"),
    ("evelyn", r"\text{Evelyn}"), ("1001_2", "1001_{2}"), ("10:30", "10:30"), ("1又1/2", "3/2"),
]  # fmt: skip
WRONG = [
    # arithmetic left undone: the question said again
    *((text, "16") for text in (
        "8*2", "8 + 8", r"8 \cdot 2", r"\left(4+4\right) \times 2", "8 × 2 =", r"{8}\times{2}",
        r"8\,\cdot\,2", "8*2^1", "8*2!", r"\dfrac{8*2}{1}", r"\{8+8\}", r"8\cdot 2 \text{}",
    )),
    ("2*3^2", "18"), ("19", "18"), ("Paris", "18"), ("x" * 600, "18"),
    # words are no products of variables, dates no differences
    ("hello", "olleh"), ("listen", "silent"), ("ACGT", "TGCA"), ("no", "on"), ("Anna", "Evelyn"),
    ("10:30 am", "10:30 pm"), ("2020-01-02", "2020-02-01"), ("2017", "2020-01-02"),
    ("1001_3", "1001_2"), ("1001", "1001_2"), ("C, A, B", "A, B, C"),
    # names, brackets, units
    ("x=3", "y=3"), (r"\{1,2\}", "(1,2)"), ("12 June", "12 July"), ("3 am", "3 pm"),
    ("5 m", "5 cm"), ("5 miles", "5 km"), ("5 tenths", "5"), ("5 dozen", "5"),
]  # fmt: skip
ALGEBRA = [
    (r"\sqrt{324}", "18"), ("2^{10}", "1024"), (r"1.8\times10^{1}", "18"), (r"\log_2 8", "3"),
    ("(x+1)^2", "x^2+2x+1"), ("[0,1)", "[0, 1)"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "expected"), [(RIGHT, True), (WRONG, False)], ids=["right", "wrong"]
)
def test_what_takes_no_algebra(pairs: list[tuple[str, str]], expected: bool) -> None:
    assert [pair for pair in pairs if decide(*pair) is not expected] == []
    assert [pair for pair in pairs if equal(*pair) is not expected] == [], (
        "the reward says the same"
    )


def test_what_takes_algebra_is_left_to_the_worker(judge: Judge) -> None:
    assert {decide(given, gold) for given, gold in ALGEBRA} <= {None, True}
    said = judge.grade([(f"<answer>{given}</answer>", gold) for given, gold in ALGEBRA])
    assert all(one.correct for one in said), [one for one in said if not one.correct]


def test_lists_keep_their_order_where_it_counts() -> None:
    assert decide("3, 1, 2", "1, 2, 3", is_ordered=True) is False
    assert decide("1,2 ,3.0", "1, 2, 3", is_ordered=True) is True
    assert decide("3, 1, 2", "1, 2, 3") is None, "solutions of an equation have no order"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is negative 5.", "-5"), ("The answer is minus 5", "-5"),
        ("10 minus 5 is 5", "5"),
        ("The answer is 3-5", "3-5"), ("答案是 3:2", "3:2"), ("答案是1又1/2", "1又1/2"),
        ("答案是-5", "-5"), ("甲-5乙", "5"), ("所以一共是-5个", "-5"),
    ],
)  # fmt: skip
def test_signs_ranges_and_ratios_are_read_as_they_are(text: str, answer: str) -> None:
    assert extract(text)[0] == answer


@pytest.mark.slow
def test_while_training_a_row_of_endless_answers_ends_the_batch() -> None:
    texts = [rf"\boxed{{9^{{9^{{9^9}}}} + \sqrt{{{i}}}}}" for i in range(12)] + [
        r"\boxed{2\sqrt{2}}"
    ]
    rollouts = [Rollout([1], [], text, "stop") for text in texts]
    began = time.monotonic()
    with Judge(0.5, patience_s=1.5) as judge:
        undecided = mark([Group(Problem("p", "?", r"\sqrt{8}"), "", [], rollouts)], judge)
        took = time.monotonic() - began
        again = [Rollout([1], [], texts[-1], "stop")]
        mark([Group(Problem("p", "?", r"\sqrt{8}"), "", [], again)], judge)
    assert not any(one.correct for one in rollouts[:12])
    assert took < 6, "a step does not wait for all of them"
    assert undecided == 13 - sum(one.correct for one in rollouts)
    assert again[0].correct is True, "the next batch is judged as ever"


def test_without_a_reference_answer_nothing_is_right(judge: Judge) -> None:
    some = [
        Group(Problem("p", "?", gold), "", [], [Rollout([1], [], "", "stop")]) for gold in ("", "1")
    ]
    some[1].rollouts[0].text = "1"
    mark(some, judge)
    assert [group.rollouts[0].correct for group in some] == [False, True]


# --- files ---------------------------------------------------------------------------------------


def lines(path: Path, *rows: Any) -> Path:
    raw = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(raw) + b"\n")
    return path


def test_one_bad_row_does_not_lose_the_others(tmp_path: Path, judge: Judge) -> None:
    good = {"question": "?", "answer": "x\n#### 18", "completion": "it is 18"}
    path = lines(
        tmp_path / "c.jsonl", good, b"{broken", b"", {**good, "completion": None}, b"[1]",
        {**good, "answer": "18"}, b'{"completion": "\xff"}', {**good, "completion": "19"},
        b'{"question": "?", "answer": NaN, "completion": "1"}', {**good, "completion": ""},
        {**good, "completion": [{"role": "assistant", "content": "#### 18"}]},
    )  # fmt: skip
    found = report("gsm8k", list(judged(read_recorded(path, "gsm8k"), judge)))
    assert (found["total"], found["correct"], found["ungradable"]) == (10, 2, 6)
    assert [row["correct"] for row in found["rows"]] == [
        True, None, None, None, None, None, False, None, False, True,
    ]  # fmt: skip
    assert [row["where"] for row in found["rows"]] == [f"line {i}" for i in (1, 2, *range(4, 12))]
    whys = [row["why"] for row in found["rows"] if row["correct"] is None]
    assert [why.partition(";")[0] for why in whys] == [
        "the line is not JSON", "there is no completion", "the line is not a JSON object",
        "the solution has no '#### <answer>'", "the line is not UTF-8",
        "there is no reference answer",
    ]  # fmt: skip
    assert found["accuracy"] == 0.5
    assert found["rules"] == {
        "last_number": {"num": 1, "correct": 1}, "bare_number": {"num": 1, "correct": 0},
        "none": {"num": 1, "correct": 0}, "hashes": {"num": 1, "correct": 1},
    }  # fmt: skip


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("grpo_core.recorded.MAX_LINE", 100)
    row = {"answer": "18", "completion": "18"}
    path = lines(tmp_path / "c.jsonl", row, {**row, "completion": "x" * 1000}, row)
    assert [bool(one.why) for one in read_recorded(path, "file")] == [False, True, False]


def test_a_bad_row_of_csv_loses_itself_alone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("grpo_core.recorded.MAX_LINE", 300_000)
    many = "y\n" * 200_000
    text = (
        "\ufeffanswer,completion\r\n18,it is 18\r\n18,18,19\r\n\r\n"
        f"18,{'x' * 200_000} 18\r\n18,{'x' * 400_000}\r\n"
        f'18,"{many}"\r\n18,"two\nlines, 18"\r\n18,"a"b\r\n18\r\n'
    ).encode()
    (tmp_path / "c.csv").write_bytes(text + b'18,\xff 18\r\n18,18\r\n18,"open\r\n18,18\r\n')
    limit = csv.field_size_limit()
    found = read_recorded(tmp_path / "c.csv", "file")
    assert csv.field_size_limit() == limit == 131_072
    after = 200_007  # the long cell has 200,000 lines of its own
    assert [(one.where, one.why) for one in found] == [
        ("line 2", ""),
        ("line 3", "the row has 3 cells, the header has 2"),
        ("line 5", ""),
        ("line 6", "a cell is longer than 300,000 characters"),
        ("line 7", "a cell is longer than 300,000 characters"),
        (f"line {after + 1}", ""),
        (f"line {after + 3}", "the row is not CSV: ',' expected after '\"'"),
        (f"line {after + 4}", "there is no completion"),
        (f"line {after + 5}", "the row is not UTF-8"),
        (f"line {after + 6}", ""),
        (f"line {after + 7}", "the row is not CSV: unexpected end of data"),
    ]
    assert found[5].text == "two\nlines, 18" and found[2].text.endswith("x 18")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("c.csv", b"", "c.csv: has no rows"),
        ("c.csv", "answer,completion\n1,1\n".encode("utf-16"), "is not UTF-8; save it as UTF-8"),
        ("c.csv", b"answer,said\n1,1\n", "no row has a column 'completion' (there: answer, said)"),
        ("c.parquet", b"PAR1", "c.parquet is not a readable Parquet file"),
        ("c.jsonl", b"", "has no rows"),
        ("c.jsonl", b'{"question": "a", "answer": "1"}\n', "no row has a column 'completion'"),
        ("c.jsonl", b'{"completion": "a", "q": 1}\n', "no row has a column 'answer' (there: comp"),
        ("c.txt", b"hello", "expected a .jsonl"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_recorded(tmp_path / name, "file")
    assert why in str(caught.value) and "data.path" not in str(caught.value)
    with pytest.raises(ValueError, match="is not a file"):
        read_recorded(tmp_path / "none.jsonl", "file")


def test_the_command_says_the_same_in_words_and_in_json(tmp_path: Path) -> None:
    rows = [
        {"problem": "?", "solution": r"\boxed{\sqrt{8}}", "completion": r"\boxed{2\sqrt{2}}"},
        {"problem": "?", "solution": r"\boxed{7}", "completion": "The answer is 8."},
        {"problem": "?", "solution": r"\boxed{}", "completion": "8"},
    ]
    path = lines(tmp_path / "c.jsonl", *rows)
    done = CliRunner().invoke(cli.app, ["grade", "--task", "math", str(path), "--json"])
    found = json.loads(done.stdout)
    assert (found["total"], found["correct"], found["ungradable"]) == (3, 1, 1)
    first = found["rows"][0]
    assert (first["correct"], first["extracted"], first["rule"]) == (True, r"2\sqrt{2}", "boxed")
    assert 0 < first["seconds"] < 5
    said = CliRunner().invoke(cli.app, ["grade", "--task", "math", str(path)]).stdout
    assert "1 of 2 completions are right: 50.0 % (95 %: 9.5 to 90.5)" in said
    assert "line 3: the solution's box is empty" in said


def test_nothing_that_can_be_judged_has_no_accuracy() -> None:
    found = report("file", [(Recorded("line 1", why="there is no completion"), None)])
    assert found["accuracy"] is None and found["interval"] == [0.0, 1.0]
