"""What is taken for the answer, and which answers are the same."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpo_core.grading import MAX_ANSWER, equivalent, extract, grade
from grpo_core.verdict import decide

DATA = Path(os.environ.get("GRPO_DATA", Path(__file__).parents[1] / "../shared/data"))


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        ("so <answer>1</answer>, no, <answer> 18 </answer>.", "18", "answer_tag"),
        ("<ANSWER>18</ANSWER>", "18", "answer_tag"),
        (r"<answer>that is \boxed{18}</answer>", "18", "answer_tag"),
        ("<answer>The answer is 18 eggs.</answer>", "18 eggs", "answer_tag"),
        ("<answer>blue</answer> 7", "blue", "answer_tag"),
        ("<answer> </answer> 18", None, "answer_tag"),
        ("<answer>12</answer> and <answer>18", "12", "answer_tag"),
        (r"first \boxed{2}, then \boxed{\frac{1}{2}}.", r"\frac{1}{2}", "boxed"),
        (r"\boxed{\boxed{5}}", "5", "boxed"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}", "boxed"),
        (r"\boxed{5} and \boxed{6", "5", "boxed"),
        (r"\boxed 2", "2", "boxed"),
        (r"\boxed{}", None, "boxed"),
        ("It is 3.\n#### 70,000", "70,000", "hashes"),
        ("#### -5 \nThat was it.", "-5", "hashes"),
        ("It is\n#### blue", "blue", "hashes"),
        ("#### Step 2\nThe answer is 18.", "18", "phrase"),
        ("The answer is 5. No: the answer is $18 per day.", "$18 per day", "phrase"),
        ("The answer is 3 + 5 = 8.", "8", "phrase"),
        ("The answer is therefore 18, as 16 + 2 is.", "18", "phrase"),
        ("**Final answer:** 1,234", "1,234", "phrase"),
        ("Answer:\n18", "18", "phrase"),
        ("The answer is Paris.", "Paris", "phrase"),
        ("答案是18。", "18", "phrase"),
        ("所以答案：２/６米。", "2/6米", "phrase"),
        ("18", "18", "bare_number"),
        (" $1,000.50. ", "$1,000.50.", "bare_number"),
        ("18 eggs", "18 eggs", "bare_number"),
        ("She has 3 + 4 = 7 eggs, so 7 × 2 = 14 remain", "14", "last_number"),
        ("it is 5 - 3", "3", "last_number"),
        ("it is 5-3", "3", "last_number"),
        ("it is −3 then", "-3", "last_number"),
        ("about 3/4 of it", "3/4", "last_number"),
        (r"we get \frac{1}{2} of it", r"\frac{1}{2}", "last_number"),
        ("it is 50%!", "50%", "last_number"),
        ("共有１８个", "18", "last_number"),
        ("The answer is clear. It must be 18", "18", "last_number"),
        ("no idea", None, "none"),
        ("", None, "none"),
    ],
)
def test_extract(text: str, answer: str | None, rule: str) -> None:
    assert extract(text) == (answer, rule)


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        ("<think>5 + 5 is 10</think>11", "11", "bare_number"),
        ("5 + 5 is 10</think>11", "11", "bare_number"),
        ("<think>a</think>7 <think>b</think>11", "11", "bare_number"),
        ("<think><answer>3</answer></think> <answer>18</answer>", "18", "answer_tag"),
        ("<think>10</think>", None, "none"),
        ("<think>so it is 10", None, "unfinished_thinking"),
        ("10 <think>or", None, "unfinished_thinking"),
        ("<think>1</think>10 <think>or", None, "unfinished_thinking"),
    ],
)
def test_only_what_follows_the_thinking_counts(text: str, answer: str | None, rule: str) -> None:
    assert extract(text) == (answer, rule)


SAME = [
    ("18", "18.0"), ("18", "+18"), ("18.", "18"), ("18。", "18"), ("0.5", ".5"),
    ("1,234", "1234"), ("1,234,567.5", "1234567.5"), ("70 000", "70000"), (r"70{,}000", "70000"),
    ("−5", "-5"), ("–5", "-5"), ("－5", "-5"), ("- 5", "-5"), ("-$5", "-5"), ("$-5", "-5"),
    ("$18", "18"), (r"\$18", "18"), ("US$18", "18"), ("£18.00", "18"), ("$18$", "18"),
    ("12 dollars", "12"), ("18 eggs.", "18"), ("20 miles per hour", "20"), ("20 km/h", "20"),
    ("10 m^2", "10"), ("10 m²", "10"), ("45°", "45"), (r"45^\circ", "45"), ("18个", "18"),
    ("3千克", "3"), (r"5 \text{ cm}", "5"), ("2/6", "1/3"), ("30/42", "5/7"), ("1/4", "0.25"),
    ("3 1/2", "3.5"), ("3½", "3.5"), ("½", "0.5"), (r"\frac{1}{2}", "0.5"), (r"\dfrac12", "1/2"),
    (r"3\frac{1}{2}", "7/2"), (r"-\frac{1}{2}", "-1/2"), ("50%", "50%"), ("50%", "50"),
    ("50 percent", "50%"), (r"50\%", "50%"), ("２７．３％", "27.3%"), ("１８", "18"),
    ("5 million", "5000000"), ("3万元", "30000"), ("1e3", "1000"), ("x = 18", "18"),
    ("**18**", "18"), ("`18`", "18"), ("Paris", " paris. "), (r"\text{Paris}", "Paris"),
    ("9:30 am", "9:30 AM"), ("3 : 4", "3 : 4"), ("٣", "3"),
]  # fmt: skip
DIFFERENT = [
    ("18", "19"), ("18", "-18"), ("18", "1.8"), ("18", "181"), ("50%", "0.5"), ("0.33", "1/3"),
    ("10²", "102"), ("10²", "100"), ("2x", "2"), (r"2\pi", "2"), ("2 pi", "2"), ("18-x", "18"),
    ("18/x", "18"), ("1,2", "12"), ("1 2", "12"), ("12,34", "1234"), ("18 and 19", "18"),
    ("3:4", "3/4"), ("5 million", "5"), ("5/0", "5"), ("--5", "5"), ("18", "eighteen"),
    ("abc", "abd"), ("", ""), (" ", "18"), ("18", ""), (".", "."),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SAME)
def test_same(left: str, right: str) -> None:
    assert equivalent(left, right)
    assert equivalent(right, left)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different(left: str, right: str) -> None:
    assert not equivalent(left, right)
    assert not equivalent(right, left)


def test_long_answers() -> None:
    long = "7" * (MAX_ANSWER + 1)
    assert equivalent(long, long + " ")
    assert not equivalent(long, long[:-1] + "8")
    assert equivalent("7" * (MAX_ANSWER - 2) + ".0", "7" * (MAX_ANSWER - 2))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18 dollars and 50 cents", "18.50"), ("It costs 18 dollars and 50 cents.", "18.50"),
        ("The answer is 18 dollars and 50 cents.", "18.50"), ("$18 and 50 cents", "18.50"),
        ("18 Dollars, 50 Cents", "18.50"),
        (r"\boxed{18\text{ dollars and }50\text{ cents}}", "18.5"),
        ("#### 1,018 dollars and 5 cents", "1018.05"), ("1 dollar and 1 cent", "1.01"),
        ("negative 3 dollars and 25 cents", "-3.25"), ("€18 and 50 cents", "18.50"),
        ("18 dollars and 50 apples", "50"), ("18 and 50 cents", "50"), ("50 cents", "50"),
        ("18 dollars and 150 cents", "150"), ("18.25 dollars and 50 cents", "50"),
    ],
)  # fmt: skip
def test_dollars_and_cents_are_one_number(text: str, value: str) -> None:
    assert grade(text, value)
    answer, _ = extract(text)
    assert answer is not None and decide(answer, value)
    for other in {"18", "50", "18.50", "1018", "5", "1", "-3", "3.25"} - {value, f"{value}0"}:
        assert not grade(text, other) and not decide(answer, other)
    if value == "18.50":  # also as the reference
        assert decide("$18.50", "18 dollars and 50 cents") and decide(answer, "$18.50")
        assert decide("18.05", "18 dollars and 50 cents") is False


HOSTILE = [
    "9" * 200_000, "1," * 100_000, ",123" * 50_000 + "4", r"\boxed{" * 30_000, "{" * 200_000,
    r"\boxed " * 30_000, "<answer>" * 25_000, "answer is " * 20_000, "####" * 50_000,
    "#### " + "1" * 200_000, "a\u0301\u0316" * 70_000, "answer is a" + "\u0301\u0316" * 100_000,
    r"\frac{1}" * 25_000, " " * 200_000, "1/" * 100_000, "-" * 200_000, "1.1" * 70_000,
    "1 " * 100_000, "½" * 200_000, "９" * 200_000, "9**9**9**9", r"\boxed{10000000!}",
    "\ud800 \udc00", "<think>" * 30_000 + "</think>" * 30_000, "\ufdfa" * 200_000,
    "__import__('os').abort()", "$" * 200_000, "1e99" * 50_000, "1 1 " * 50_000,
    "$1 dollar and 1 cent " * 10_000, "[" * 200_000 + "1" + "]" * 200_000, "(1)" * 70_000,
    "1 " + "," * 200_000, "1=" * 100_000, "a, " * 70_000, r"\text{" * 40_000, "a-" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_text_takes_no_time(text: str) -> None:
    began = time.process_time()
    extract(text)
    extract(f"<answer>{text}</answer>")
    grade(text * 10, "1")
    equivalent(text[:MAX_ANSWER], "1")
    equivalent(text, text)
    for given, gold in ((text, "1"), ("1", text), (text, r"\sqrt{2}"), (text, text[1:])):
        decide(given[:MAX_ANSWER], gold[:MAX_ANSWER], is_ordered=True)
        decide(given[:MAX_ANSWER], gold[:MAX_ANSWER])
    decide(text, text + "1")
    assert time.process_time() - began < 1.5


def _rows(name: str) -> Iterator[dict[str, Any]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; GRPO_DATA names the folder with the data sets")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@pytest.mark.parametrize(
    ("name", "num"), [pytest.param("train", 7473, marks=pytest.mark.slow), ("test", 1319)]
)
def test_gsm8k(name: str, num: int) -> None:
    count = 0
    for row in _rows(f"gsm8k/{name}.jsonl"):
        solution, gold = row["answer"], row["answer"].rpartition("####")[2].strip()
        value = int(gold.replace(",", ""))
        assert grade(solution, gold) and grade(solution, str(value))
        assert not grade(solution, str(value + 1)) and not grade(solution, str(value - 1))
        assert not value or not grade(solution, str(-value))
        assert grade(f"<think>1</think>The answer is ${value:,}.00.", gold)
        count += 1
    assert count == num


@pytest.mark.parametrize(("name", "num"), [("validation", 600), ("test", 1098)])
def test_cmath(name: str, num: int) -> None:
    golds = [row["golden"] for row in _rows(f"cmath/{name}.jsonl")]
    assert len(golds) == num
    for gold in golds:
        assert grade(f"先算3+4=7。答案是{gold}。", gold)
        assert grade(f"所以一共是{gold}个。", gold)
        assert grade(rf"\boxed{{{gold}}}", gold)
        assert not grade(f"答案是1{gold}。", gold)
