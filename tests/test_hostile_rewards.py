"""Reward functions that go wrong in every way we know, each on a batch of 64: the parent neither
hangs nor crashes, all other completions are scored right, and the next batch is as any other.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest

from grpo_core import sandbox_process
from grpo_core.records import Event, Group, Problem, Rollout
from grpo_core.rewards import from_source
from grpo_core.scorer import Scorer

NUM = 64
HEAD = "import ctypes, json, math, os, re, signal, struct, sys, threading, time\n"
SPRAY = (
    "    def spray(data):\n"
    "        for one in range(3, 40):\n"
    "            try: os.write(one, data)\n"
    "            except OSError: pass\n"
)
FORGED = (
    "        for key in ('verdicts', 'i'):\n"
    "            said = {'nonce': '0' * 16, 'printed': '', 'seconds': 0.0}\n"
    "            data = json.dumps({**said, key: [['ok', 99.0, '']]}).encode()\n"
    "            spray(struct.pack('<I', len(data)) + data)\n"
)


def at(bad: str, body: str, head: str = "") -> str:
    """A function that goes wrong where `bad` says so, and is right elsewhere."""
    return f"{HEAD}def f(completion):\n{head}    if {bad}:\n{body}    return float(completion)\n"


def always(body: str) -> str:
    return f"{HEAD}def f(completion):\n{body}"


FIVE, THREE = "completion == '5'", "completion in ('7', '30', '63')"
LOOP = (
    "        while True:\n            try:\n                while True: pass\n"
    "            except BaseException: pass\n"
)
MEMORY = "        x = []\n        while True: x.append(bytearray(64 << 20))\n"
ENDLESS = "        sys.setrecursionlimit(10**9)\n        g = lambda n: g(n + 1)\n        g(0)\n"
PROCESS = {"ok": NUM - 1, "crash": 1}

CASES = {
    "clean": (at("False", "        pass\n"), {"ok": NUM}),
    "3 infinite loops": (at(THREE, LOOP), {"ok": NUM - 3, "timeout": 3}),
    "3 big powers": (at(THREE, "        len(str(9**9**8))\n"), {"ok": NUM - 3, "timeout": 3}),
    "os._exit": (at(FIVE, "        os._exit(0)\n"), PROCESS),
    "segmentation fault": (at(FIVE, "        ctypes.string_at(0)\n"), PROCESS),
    "raises every fourth": (
        at("int(completion) % 4 == 0", "        raise ValueError('bad ' + 'x' * 10000)\n"),
        {"ok": 48, "error": 16},
    ),
    "nan and inf": (
        always("    return float('nan') if int(completion) % 2 else float('inf')\n"),
        {"nonfinite": NUM},
    ),
    "None": (always("    return None\n"), {"abstain": NUM}),
    "a list": (always("    return ['1']\n"), {"badtype": NUM}),
    "a text": (always("    return '1.0'\n"), {"badtype": NUM}),
    "a huge integer": (always("    return 10**400\n"), {"nonfinite": NUM}),
    "closes all files": (at(FIVE, "        os.closerange(0, 64)\n"), PROCESS),
    "writes bad frames": (
        at(FIVE, "        spray(b'\\xff\\xff\\xff\\x7fAAAA')\n", SPRAY), PROCESS,
    ),
    "forges a result to come": (at(FIVE, FORGED, SPRAY), PROCESS),
    "stops itself": (
        at(FIVE, "        os.kill(os.getpid(), signal.SIGSTOP)\n"), {"ok": NUM - 1, "timeout": 1},
    ),
    "takes all memory": (at(FIVE, MEMORY), {"ok": NUM - 1, "error": 1}),
    "recursion without end": (at(FIVE, ENDLESS), {"ok": NUM - 1, "timeout": 1}),
    "prints 6 MB": (
        always("    print('A' * 100_000)\n    return float(completion)\n"), {"ok": NUM},
    ),
    "no such function": ("x = 1\ndef f_(completion): return 1\nf = None\n", {"error": NUM}),
    "hangs when it is loaded": (
        "while True: pass\ndef f(completion): return 1\n", {"timeout": NUM},
    ),
    "ends when it is loaded": (
        "import sys\nsys.exit(0)\ndef f(completion): return 1\n", {"error": NUM},
    ),
    "half a character": (always("    raise ValueError('\\ud800')\n"), {"error": NUM}),
    "forks": (always("    os.fork()\n    return float(completion)\n"), {"error": NUM}),
    "reads a secret": (
        always("    return float(len(open('/etc/passwd').read()))\n"), {"error": NUM},
    ),
    "always hangs": (always("    while True: pass\n"), {"timeout": NUM}),
    "imports in a decorator": (
        HEAD + "@__import__('os')._exit\ndef f(completion): return 1\n", {"error": NUM},
    ),
    "threads that never end": (
        at(
            FIVE,
            "        for _ in range(3):\n"
            "            threading.Thread(target=time.sleep, args=(600,)).start()\n",
        ),
        {"ok": NUM},
    ),
    "a timer that fires later": (
        always(
            "    signal.signal(signal.SIGALRM, lambda *_: os._exit(7))\n"
            "    if completion == '5':\n"
            "        signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.2)\n"
            "    return float(completion)\n"
        ),
        PROCESS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_only_the_culprits_are_hurt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, outcomes = CASES[name]
    groups = [
        Group(Problem("p", "q", "a"), "", [], [Rollout([0], [], str(8 * g + i), "stop")
        for i in range(8)]) for g in range(8)
    ]  # fmt: skip
    functions = from_source(source, {"f": 1.0})
    functions = [one for one in functions if one.function == "f"]
    # to take 2 GiB takes long on a busy machine
    monkeypatch.setattr(sandbox_process, "MEMORY_BYTES", 300 << 20)
    with Scorer(functions, 10.0 if name == "takes all memory" else 0.3) as scorer:
        scorer._pool.load_timeout_s = 1.0
        for _ in range(2):
            began = time.monotonic()
            events = scorer.score(groups, 1)
            assert time.monotonic() - began < 12
            check(groups, outcomes, events)


def check(groups: list[Group], outcomes: dict[str, int], events: list[Event]) -> None:
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    assert Counter(rollout.outcome for rollout in rollouts) == outcomes
    for number, rollout in enumerate(rollouts):
        if rollout.outcome == "ok":
            assert rollout.reward == float(number)
        else:
            assert rollout.reward is None and len(rollout.error) < 1000
    faults = sum(num for outcome, num in outcomes.items() if outcome not in ("ok", "abstain"))
    assert sum(event.detail["count"] for event in events) == faults


def test_a_file_too_large_to_parse_is_refused_before_it_is_parsed() -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"line 1: the file has 5,000,0\d\d characters"):
        from_source("def f(completion): return 1\n" + "f()\n" * 1_250_000)
    assert time.monotonic() - began < 1


def test_what_a_function_does_to_its_inputs_no_other_call_sees() -> None:
    """Not a later one, not one of another function, not one of the next batch."""
    source = (
        "def a(completion, tags, completion_ids, **row):\n"
        "    seen = (len(tags), len(row['nested']['x']), len(completion_ids))\n"
        "    tags.append(0); row['nested']['x'].clear(); completion_ids.clear()\n"
        "    return float(seen == (1, 2, 3))\n"
        "def b(completions, tags, completion_ids, **rows):\n"
        "    fine = [one == ['t'] for one in tags] + [len(one) == 3 for one in completion_ids]\n"
        "    tags[0].append(1); completions.append('more'); tags.append('more')\n"
        "    return [float(all(fine)) for _ in completions[:-1]]\n"
    )
    row = {"tags": ["t"], "nested": {"x": [1, 2]}}
    rollouts = [Rollout([1, 2, 3], [], "x", "stop") for _ in range(4)]
    group = Group(Problem("p", "q", "a", row), "", [], rollouts)
    with Scorer(from_source(source), 2.0) as scorer:
        for _ in range(3):
            assert scorer.score([group], 1) == []
            assert [rollout.parts for rollout in rollouts] == [{"a": 1.0, "b": 1.0}] * 4
    assert row == {"tags": ["t"], "nested": {"x": [1, 2]}}
