"""From files to functions, from functions to one reward a completion."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from grpo_core import assets
from grpo_core.config import RewardConfig
from grpo_core.records import Event, Group, Problem, Rollout
from grpo_core.rewards import (
    RewardFunction,
    builtin_names,
    find_functions,
    from_dicts,
    from_source,
    load_version,
    resolve,
    save_version,
    to_dicts,
    version_of,
)
from grpo_core.scorer import Scorer

SHORT = '''"""Docs."""
LIMIT = 200
def _helper(completion): return 1
def helper(text): return 1
class Not:
    def method(self, completion): return 1
def short(completion, answer, **row):
    return -len(completion) / LIMIT
def format_ok(completions, **columns):
    return [1.0 if "<answer>" in c else 0.0 for c in completions]
'''


def make_groups(*texts: Sequence[str], **row: Any) -> list[Group]:
    """One group for each list of completions."""
    problem = Problem("p-1", "How many?", "18", row)
    groups = [Group(problem, "<user>How many?", [1, 2]) for _ in texts]
    for group, part in zip(groups, texts, strict=True):
        group.rollouts = [Rollout([7, 8, 9], [0.0] * 3, text, "stop") for text in part]
    return groups


def score(
    functions: list[RewardFunction] | str, *texts: Sequence[str], timeout_s: float = 2.0, **row: Any
) -> tuple[list[Rollout], list[Event]]:
    """All completions after scoring, and the events."""
    if isinstance(functions, str):
        functions = from_source(functions)
    groups = make_groups(*texts, **row)
    with Scorer(functions, timeout_s) as scorer:
        events = scorer.score(groups, step=3)
    return [rollout for group in groups for rollout in group.rollouts], events


# --- where they come from ------------------------------------------------------------------------


def test_find_functions() -> None:
    assert find_functions(SHORT) == ["short", "format_ok"]
    assert find_functions("import os\nos._exit(1)\ndef f(*, completion): pass") == ["f"]
    assert find_functions("") == []


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\ndef f(completion) return 1\n", "line 2: "),
        ("def f(completion):\n  x\n y\n", "line 3: "),
        ("\0", "line 1: "),
        ("x = '\ud800'", "line 1: "),
        ("(" * 5000, "line 1: "),
        ("x = " + "-" * 100_000 + "1", "line 1: "),
    ],
)
def test_find_functions_of_what_is_not_python(source: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        find_functions(source)


def test_resolve(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SHORT)
    functions = resolve(
        [
            RewardConfig(builtin="accuracy"),
            RewardConfig(path=str(path), function="short", weight=0.2),
            RewardConfig(path=str(path), function="short", completion_format="messages"),
        ]
    )
    assert [(f.name, f.function, f.weight, f.filename) for f in functions] == [
        ("accuracy", "accuracy", 1.0, "accuracy.py"),
        ("short", "short", 0.2, "mine.py"),
        ("short_2", "short", 1.0, "mine.py"),
    ]
    assert functions[1].source == SHORT
    assert functions[2].completion_format == "messages"


def test_resolve_reads_files_as_python_does(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_bytes(
        "# coding: latin-1\r\nX = 'é'\r\ndef f(completion): return 1\r\n".encode("latin-1")
    )
    assert "'é'" in resolve([RewardConfig(path=str(path))])[0].source


@pytest.mark.parametrize(
    ("text", "config", "says"),
    [
        (
            None,
            {"builtin": "acuracy"},
            r"rewards\.0\.builtin: 'acuracy' does not ship; there are accuracy, answer_tag",
        ),
        (None, {"builtin": "../rewards/accuracy"}, r"rewards\.0\.builtin: .* does not ship"),
        (
            None,
            {"builtin": "accuracy", "function": "x"},
            r"rewards\.0\.function: name one .* of accuracy\.py: accuracy",
        ),
        (None, {}, r"rewards\.0\.path: cannot read .*mine\.py: No such file"),
        (SHORT, {}, r"rewards\.0\.function: name one .* of mine\.py: short, format_ok"),
        (SHORT, {"function": "x"}, r"rewards\.0\.function: name one .*: short, format_ok"),
        ("x = 1", {}, r"rewards\.0\.function: mine\.py has no top-level def .*; write one"),
        ("def f(completion) 1", {}, r"rewards\.0\.path: mine\.py, line 1: "),
        (b"\xff\xfe", {}, r"rewards\.0\.path: mine\.py, "),
    ],
)
def test_resolve_says_what_is_wrong(
    tmp_path: Path, text: str | bytes | None, config: dict[str, Any], says: str
) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    config = config if "builtin" in config else {"path": str(path), **config}
    with pytest.raises(ValueError, match=says):
        resolve([RewardConfig(**config)])


def test_from_source() -> None:
    functions = from_source(SHORT, {"short": 0.5})
    assert [(f.name, f.weight) for f in functions] == [("short", 0.5), ("format_ok", 1.0)]
    with pytest.raises(ValueError, match=r"reward\.py: short, format_ok"):
        from_source(SHORT, {"shrt": 0.5})
    with pytest.raises(ValueError, match="no top-level def"):
        from_source("x = 1")


# --- how they are kept ---------------------------------------------------------------------------


def test_json_form_and_versions(tmp_path: Path) -> None:
    functions = from_source(SHORT.replace("\n", "\r\n"), {"short": 0.5}, "mine.py", "messages")
    functions.append(
        RewardFunction("other", "def f(completion): return 1", "f", filename="mine.py")
    )
    assert from_dicts(json.loads(json.dumps(to_dicts(functions)))) == functions
    version = save_version(tmp_path / "rewards", functions)
    assert version == version_of(functions) == save_version(tmp_path / "rewards", functions)
    assert len(version) == 12 and set(version) <= set("0123456789abcdef")
    names = sorted(path.name for path in (tmp_path / "rewards" / version).iterdir())
    assert names == ["mine.py", "mine_2.py", "rewards.json"]
    assert load_version(tmp_path / "rewards", version) == functions
    changed = [dataclasses.replace(functions[0], weight=0.6), *functions[1:]]
    assert version_of(changed) != version


def test_a_version_that_was_edited_or_is_missing(tmp_path: Path) -> None:
    version = save_version(tmp_path, from_source(SHORT))
    with pytest.raises(ValueError, match="0123456789ab: cannot be read"):
        load_version(tmp_path, "0123456789ab")
    (tmp_path / version / "reward.py").write_text(SHORT.replace("200", "100"))
    with pytest.raises(ValueError, match="files have been changed"):
        load_version(tmp_path, version)


@pytest.mark.parametrize(
    "dicts",
    [
        None, [], {}, "x", [1], [{}], [{"source": "x = 1", "function": "f"}],
        [{"source": SHORT, "function": "short", "weight": "x"}],
        [{"source": SHORT, "function": "short", "weight": float("nan")}],
        [{"source": SHORT, "function": "short", "name": 1}],
        [{"source": SHORT, "function": "short", "unknown": 1}],
        [{"source": SHORT, "function": "short", "completion_format": "html"}],
        [{"source": "def f(completion) 1", "function": "f"}],
    ],
)  # fmt: skip
def test_from_dicts_refuses_the_rest(dicts: Any) -> None:
    with pytest.raises(ValueError, match=r"functions|line 1"):
        from_dicts(dicts)


# --- how they score ------------------------------------------------------------------------------


def test_the_weighted_sum() -> None:
    source = (
        "def a(completion): return len(completion)\n"
        "def b(completion): return None if completion == 'x' else 1\n"
        "def c(completions, **_): return [None if c in 'xy' else True for c in completions]\n"
    )
    functions = from_source(source, {"a": 0.5, "b": -2.0, "c": 10.0})
    rollouts, events = score(functions, ["x", "y", "abc"])
    assert [rollout.reward for rollout in rollouts] == [0.5, -1.5, 9.5]
    assert [rollout.outcome for rollout in rollouts] == ["ok"] * 3
    assert rollouts[0].parts == {"a": 1.0, "b": None, "c": None}
    assert rollouts[2].parts == {"a": 3.0, "b": 1.0, "c": 1.0}
    assert events == []


def test_abstain_overflow_and_faults() -> None:
    source = (
        "def a(completion): return {'none': None, 'big': 1e308, 'bad': 1.0}.get(completion, 1e17)\n"
        "def b(completion):\n"
        "    if completion == 'bad': raise KeyError('no')\n"
        "    return 1e308 if completion == 'big' else None\n"
    )
    rollouts, events = score(source, ["none", "big", "bad", "fine"])
    assert [r.outcome for r in rollouts] == ["abstain", "nonfinite", "error", "ok"]
    assert [r.reward for r in rollouts] == [None, None, None, 1e17]
    assert rollouts[2].parts == {"a": 1.0, "b": None}
    assert rollouts[2].error == "b: KeyError: 'no' (reward.py, line 3)"
    assert [(e.kind, e.detail["function"], e.detail["outcome"]) for e in events] == [
        ("reward_fault", "a", "nonfinite"),
        ("reward_fault", "b", "nonfinite"),
        ("reward_fault", "b", "error"),
    ]


@pytest.mark.parametrize("value", ["1e38", "-1e19", "1.7e308", "1e18 * 10"])
def test_a_reward_that_would_overflow_the_update_is_typed_and_left_out(value) -> None:
    source = f"def f(completion):\n    return {value} if completion == 'big' else 1.0\n"
    (big, small), (event,) = score(source, ["big", "small"])
    assert (big.outcome, big.reward, big.parts) == ("nonfinite", None, {"f": None})
    assert (small.outcome, small.reward) == ("ok", 1.0)
    assert "scale it down" in event.detail["message"]


def test_a_weight_that_makes_the_sum_overflow_is_typed_too() -> None:
    source = "def f(completion):\n    return 1e10\n"
    functions = [dataclasses.replace(function, weight=1e10) for function in from_source(source)]
    rollout = Rollout([1], [-1.0], "x", "stop")
    group = Group(Problem("p", "q", "a"), "q", [1], [rollout])
    with Scorer(functions, 2.0) as scorer:
        (event,) = scorer.score([group], 1)
    assert (rollout.outcome, rollout.reward, event.detail["function"]) == ("nonfinite", None, "sum")


def test_one_event_for_each_place() -> None:
    source = (
        "def f(completion):\n"
        "    if completion == 'a':\n"
        "        return 1 / 0\n"
        "    return {}[completion]\n"
    )
    rollouts, events = score(source, ["a", "b", "a"], ["b", "b", "b"])
    details = [event.detail for event in events]
    assert [(d["line"], d["count"], d["completion"]) for d in details] == [(3, 2, "a"), (4, 4, "b")]
    assert details[0]["message"] == "ZeroDivisionError: division by zero"
    assert "return 1 / 0" in details[0]["traceback"]
    assert {rollout.outcome for rollout in rollouts} == {"error"}
    json.dumps(details)


def test_what_a_function_may_ask_for() -> None:
    source = (
        "def f(prompt, completion, answer, step, completion_ids, level, missing=4, **row):\n"
        "    assert (prompt, completion, answer) == ('<user>How many?', 'x', '18'), prompt\n"
        "    assert (step, completion_ids, level, missing) == (3, [7, 8, 9], 2, 4)\n"
        "    assert row == {'topic': 'eggs'}, row\n"
        "    return 1\n"
    )
    # Columns named like the contract's own names lose to them.
    rollouts, _ = score(source, ["x"], level=2, topic="eggs", step=99, answer="full solution")
    assert [rollout.error for rollout in rollouts] == [""]


def test_a_column_that_is_not_there() -> None:
    rollouts, events = score("\ndef f(completion, solution): return 1\n", ["x", "y"], level=1)
    assert {rollout.outcome for rollout in rollouts} == {"error"}
    assert "'solution'" in events[0].detail["message"]
    assert (events[0].detail["line"], events[0].detail["count"]) == (2, 2)


def test_trl_functions_run_unchanged() -> None:
    source = """
import re

def think_format(completions: list[list[dict[str, str]]], **kwargs) -> list[float]:
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match("^<think>.*</think>", text) else 0.0 for text in contents]

def solved(completions, solution, log_extra=None, log_metric=None, trainer_state=None, **kwargs):
    assert kwargs["prompts"][0] == [{"role": "user", "content": "How many?"}]
    assert kwargs["completion_ids"] == [[7, 8, 9]] * len(completions)
    assert kwargs["answer"] == ["18"] * len(completions) and kwargs["step"] == 3
    assert trainer_state.global_step == 3
    log_extra("solution", list(solution))
    log_metric("accuracy", 1.0)
    pairs = zip(completions, solution, strict=True)
    return [None if s == "?" else float(c[0]["content"].endswith(s)) for c, s in pairs]
"""
    functions = from_source(source, completion_format="messages")
    rollouts, events = score(functions, ["<think>a</think>18", "17"], solution="18")
    assert events == []
    assert [rollout.parts for rollout in rollouts] == [
        {"think_format": 1.0, "solved": 1.0},
        {"think_format": 0.0, "solved": 0.0},
    ]


BATCH = """import os
def f(completions):
    for completion in completions:
        if completion == "bad":
            {body}
    return [float(len(completions)) for _ in completions]
"""


@pytest.mark.parametrize(
    ("body", "outcome"),
    [("raise ValueError()", "error"), ("os._exit(1)", "crash"), ("while True: pass", "timeout")],
)
def test_batch_form_finds_the_culprit(body: str, outcome: str) -> None:
    groups = (["a", "bad", "b", "c"], ["d", "e"])
    rollouts, events = score(BATCH.format(body=body), *groups, timeout_s=0.5)
    assert [rollout.outcome for rollout in rollouts] == ["ok", outcome, "ok", "ok", "ok", "ok"]
    # The others are scored as the group that is left, not one by one.
    assert [rollout.reward for rollout in rollouts] == [3.0, None, 3.0, 3.0, 2.0, 2.0]
    assert [event.detail["count"] for event in events] == [1]


@pytest.mark.parametrize(
    ("value", "outcomes", "says"),
    [
        ("[1.0]", ["badtype"] * 3, "returned 1 values for 3 completions"),
        ("1.0", ["badtype"] * 3, "returned float, not a list"),
        ("{c: 1.0 for c in completions}", ["badtype"] * 3, "returned dict, not a list"),
        ("'abc'", ["badtype"] * 3, "returned str, not a list"),
        ("(1.0, None, 2)", ["ok", "abstain", "ok"], None),
        ("[1.0, '1', float('nan')]", ["ok", "badtype", "nonfinite"], "returned str"),
    ],
)
def test_batch_form_with_odd_results(value: str, outcomes: list[str], says: str | None) -> None:
    rollouts, events = score(f"def f(completions): return {value}", ["a", "b", "c"])
    assert [rollout.outcome for rollout in rollouts] == outcomes
    assert events[0].detail["message"].startswith(says) if says else not events


def test_a_batch_without_a_culprit_fails_as_a_whole() -> None:
    source = "def f(completions):\n    assert len(completions) < 2\n    return [1.0]\n"
    rollouts, events = score(source, ["a", "b", "c"], ["d"])
    assert [rollout.outcome for rollout in rollouts] == ["error", "error", "error", "ok"]
    assert events[0].detail["count"] == 3


def test_a_batch_function_that_always_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def f(completions, **_):\n    while True: pass\n"
    began = time.monotonic()
    rollouts, _ = score(source, *[["a", "b"]] * 12, timeout_s=0.2)
    assert time.monotonic() - began < 3
    assert Counter(rollout.outcome for rollout in rollouts) == {"timeout": 24}


def test_printed_output_is_the_completion_s() -> None:
    source = "def f(completion):\n    print('saw', completion)\n    return 1\n"
    rollouts, _ = score(source + source.replace("f(", "g("), ["a", "b"])
    assert [rollout.printed for rollout in rollouts] == ["saw a\nsaw a", "saw b\nsaw b"]


def test_a_file_with_a_syntax_error_is_a_fault_of_each_completion() -> None:
    rollouts, events = score([RewardFunction("f", "def f(completion) 1", "f")], ["a", "b"])
    assert {rollout.error for rollout in rollouts} == {
        "f: SyntaxError: expected ':' (reward.py, line 1)"
    }
    assert [event.detail["count"] for event in events] == [2]


def test_two_files_of_one_name() -> None:
    functions = [
        RewardFunction("a", "def f(completion): return 1", "f"),
        RewardFunction("b", "\ndef f(completion): 1 / 0", "f"),
    ]
    rollouts, events = score(functions, ["x"])
    assert rollouts[0].parts == {"a": 1.0, "b": None}
    assert (events[0].detail["file"], events[0].detail["line"]) == ("reward_2.py", 2)


def test_scoring_again_replaces_what_was_there() -> None:
    groups = make_groups(["a", "bb"])
    for source, reward in (
        ("def f(completion): 1 / 0", None),
        ("def f(completion): return 2", 2.0),
    ):
        with Scorer(from_source(source), 2.0) as scorer:
            scorer.score(groups, 1)
        assert [rollout.reward for rollout in groups[0].rollouts] == [reward] * 2
        assert (groups[0].rollouts[0].error == "") is (reward is not None)
    with Scorer(from_source(source), 2.0) as scorer:
        assert scorer.score([], 1) == []


# --- what ships ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "texts", "values"),
    [
        ("accuracy", ["<think>2 + 16</think>18", "19", "<think>18"], [1.0, 0.0, 0.0]),
        (
            "answer_tag",
            ["<answer>1</answer>\n", "<answer>1</answer>.", "<answer> </answer>",
             "</answer><answer>", "<answer>1<answer>2</answer>",
             "x <think>a</think> <answer>1</answer>"],
            [1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        ),
        ("brevity", ["", "x" * 50], [0.0, -0.5]),
        (
            "think_first",
            ["<think>a</think>b", "a</think>b", "b<think>a</think>c", "<think></think>b",
             "<think>a</think>", "<think>a</think>b</think>c", "b"],
            [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ),
        ("exact", [" 18\n", "18.0", "it is 18"], [1.0, 0.0, 0.0]),
        (
            "close_number",  # the answer is 18: from 17.82 to 18.18
            ["18.1", "17.83", "17.8", "so \\boxed{18.18}", "none", "1 or 2", "-18"],
            [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        ),
        (
            "no_repetition",  # runs of three: 1 of 1, 2 of 4, none, 1 of 8
            ["a b c", "a b a b a b", "a b", " ".join("a" * 10)],
            [0.0, -0.5, 0.0, -0.875],
        ),
        (
            "one_script",
            ["only this", "два слова", "ab дв", "123 + 4 = 127", "", "答案 is"],
            [1.0, 0.0, 0.5, 1.0, 1.0, 0.5],
        ),
        ("matches", ["so #### 18", "#### -3\n", "#### 18 apples", "18"], [1.0, 1.0, 0.0, 0.0]),
        (
            "shows_steps",
            ["Step 1: add\n step 2: halve\nStep 3", "1. a\n2) b", "- a", "First, a. Then, b.", "",
             "2.5 apples and more\nthen we stop"],
            [1.0, 2 / 3, 1 / 3, 1 / 3, 0.0, 0.0],
        ),
    ],
)  # fmt: skip
def test_builtin(name: str, texts: list[str], values: list[float]) -> None:
    rollouts, events = score(resolve([RewardConfig(builtin=name)]), texts)
    assert events == []
    assert [rollout.reward for rollout in rollouts] == values


def builtin(name: str) -> Any:
    """The function itself, in this process."""
    scope: dict[str, Any] = {}
    exec((assets.assets_dir() / "rewards" / f"{name}.py").read_text(), scope)
    return scope[name]


def test_rewards_of_length_by_hand() -> None:
    target = builtin("target_length")  # 100 tokens
    assert [target("", [7] * size) for size in (0, 50, 100, 125, 200, 1000)] == [
        0.0, 0.5, 1.0, 0.75, 0.0, 0.0,
    ]  # fmt: skip
    soft = builtin("soft_overlong")  # from 384 to 512 tokens
    assert [soft("", [7] * size) for size in (0, 384, 416, 512, 600)] == [
        0.0,
        0.0,
        -0.25,
        -1.0,
        -1.0,
    ]


def test_rewards_that_trl_has_too_give_its_values() -> None:
    from trl.rewards import get_repetition_penalty_reward, get_soft_overlong_punishment

    texts = ["a b c a b c a b c", "a", "", "one two three four", "x x x x y x x x x"]
    vocabulary = sorted({word for text in texts for word in text.split()})
    ids = [[vocabulary.index(word) for word in text.split()] for text in texts]
    expected = get_repetition_penalty_reward(3, -1.0)(ids)
    assert list(map(builtin("no_repetition"), texts)) == pytest.approx(expected)
    lengths = [[0] * size for size in range(0, 700, 7)]
    expected = get_soft_overlong_punishment(512, 128)(lengths)
    soft = builtin("soft_overlong")
    assert [soft("", ids) for ids in lengths] == pytest.approx(expected)


TRL = """
from trl.rewards import accuracy_reward, get_cosine_scaled_reward, think_format_reward
from trl.rewards import get_repetition_penalty_reward as repetition, reasoning_accuracy_reward
from trl.rewards import get_soft_overlong_punishment

cosine = get_cosine_scaled_reward(max_len=40)
repeats = repetition(ngram_size=2)
overlong = get_soft_overlong_punishment(max_completion_len=30, soft_punish_cache=20)
"""
TRL_NAMES = [
    "accuracy_reward", "think_format_reward", "reasoning_accuracy_reward",
    "cosine", "repeats", "overlong",
]  # fmt: skip
"""In the order of the file."""


def test_trls_functions_run_unchanged_and_give_trls_values() -> None:
    texts = [
        "<think>6 times 7</think> It is $\\boxed{42}$.", "So $\\boxed{41}$ it is.", "$42$", "no",
        "<think>a</think><think>b</think> $\\boxed{42}$", "<think>never closed $\\boxed{42}$",
    ]  # fmt: skip
    ids = [[7, 8] * length for length in (3, 20, 1, 8, 12, 15)]
    problem = Problem("p", "q", "42", {"solution": "$42$"})
    rollouts = [Rollout(one, [], text, "stop") for text, one in zip(texts, ids, strict=True)]
    functions = from_source(TRL, dict.fromkeys(TRL_NAMES, 1.0), completion_format="messages")
    assert [function.name for function in functions] == TRL_NAMES
    groups = [Group(problem, "<q>", [], rollouts)]
    with Scorer(functions, 20.0) as scorer:
        assert scorer.score(groups, 1) == []

    scope: dict[str, Any] = {}
    exec(TRL, scope)
    given = {
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "prompts": [[{"role": "user", "content": "q"}]] * len(texts),
        "completion_ids": ids,
        "solution": ["$42$"] * len(texts),
    }
    for name in TRL_NAMES:
        expected = scope[name](**given)
        assert [one.parts[name] for one in rollouts] == expected, name
        assert len(set(expected)) > 1, name
    assert from_dicts(to_dicts(functions)) == functions


def test_what_a_file_brings_in_is_a_reward_only_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text(TRL + "\ndef own(completion):\n    return 1\n")
    (function,) = resolve([RewardConfig(path=str(path))])
    assert function.name == "own"
    (function,) = resolve([RewardConfig(path=str(path), function="overlong")])
    assert function.name == "overlong"
    with pytest.raises(ValueError, match=r"rewards.0.function: name one of .* r.py: own"):
        resolve([RewardConfig(path=str(path), function="nothing")])
    assert [one.name for one in from_source(path.read_text())] == ["own"]


def test_every_builtin_has_one_function_and_says_what_it_does() -> None:
    names = builtin_names()
    assert len(names) == 14 and {"accuracy", "answer_tag", "brevity", "think_first"} <= set(names)
    functions = resolve([RewardConfig(builtin=name) for name in names])
    assert all(function.source.startswith('"""') for function in functions)


def test_assets_inside_the_package_come_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "site-packages" / "grpo_core"
    (tmp_path / "site-packages" / "assets").mkdir(parents=True)
    package.mkdir()
    monkeypatch.setattr(assets, "__file__", str(package / "assets.py"))
    assert assets.assets_dir() == tmp_path / "site-packages" / "assets"
    (package / "assets").mkdir()
    assert assets.assets_dir() == package / "assets"


def test_overhead_is_small() -> None:
    """A batch of 64 costs about 1 ms; the bound leaves room for a busy machine."""
    groups = make_groups(*[[str(number) * 100 for number in range(8)]] * 8)
    with Scorer(from_source("def f(completion, answer): return len(completion)"), 2.0) as scorer:
        scorer.score(groups, 1)
        seconds = []
        for _ in range(20):
            began = time.perf_counter()
            scorer.score(groups, 1)
            seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.02
