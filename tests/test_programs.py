"""Programs that a model wrote: what comes back, what they cannot do, and what they cost others."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpo_core import programs, sandbox_probe, sandbox_process, sandbox_programs
from grpo_core.config import RewardConfig
from grpo_core.records import Group, Problem, Rollout
from grpo_core.rewards import resolve
from grpo_core.sandbox import Call, Function, Pool
from grpo_core.sandbox_process import Verdict
from grpo_core.scorer import Scorer

ROOT = Path(__file__).parents[1]
ATTACKS_TEXT = (ROOT / "grpo_core" / "sandbox_attacks.py").read_text()
linux = pytest.mark.skipif(sys.platform != "linux", reason="the lock is Linux's")

JUDGE = """
import json
from grpo_core.programs import run
def f(completion, asked):
    for one in asked:
        ran = run(**one)
        print(json.dumps([ran.outcome, ran.stdout[:300], ran.returned, ran.error, ran.seconds]))
    return 1.0
"""


def call(
    text: str, completions: list[str], timeout_s: float = 5.0, num_workers: int = 1, **columns: Any
) -> list[Verdict]:
    """What a reward function says of each completion."""
    pool = Pool([Function(text, "reward.py", "f", False, False)], timeout_s, num_workers)
    try:
        return call_in(pool, completions, **columns)
    finally:
        pool.close()


def call_in(pool: Pool, completions: list[str], **columns: Any) -> list[Verdict]:
    group = {
        "prompt": "", "question": "", "answer": None, "step": 1, "columns": columns,
        "completions": completions, "completion_ids": [[1] for _ in completions],
    }  # fmt: skip
    calls = [Call(0, 0, (index,)) for index in range(len(completions))]
    return [verdict for (verdict,) in pool.run([group], calls)]


def read(verdict: Verdict) -> list[list[Any]]:
    """Outcome, output, returned value, error and seconds of each program of a call of `JUDGE`."""
    assert verdict.outcome == "ok", verdict
    return [json.loads(line) for line in verdict.printed.splitlines()]


def run(*asked: str | dict[str, Any], timeout_s: float = 5.0) -> list[list[Any]]:
    """What became of some programs of one call."""
    full = [{"program": one} if isinstance(one, str) else one for one in asked]
    return read(call(JUDGE, ["x"], timeout_s, asked=full)[0])


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock, to see what it does."""
    monkeypatch.setattr(sandbox_process, "LOCK", False)


# --- what comes back -----------------------------------------------------------------------------

ALWAYS_EQUAL = "class E(int):\n    __eq__ = lambda a, b: True\n    __hash__ = None\n"


@pytest.mark.parametrize(
    ("asked", "outcome", "stdout", "returned", "error"),
    [
        ({"program": "print(int(input()) + 1)", "stdin": "41"}, "ok", "42\n", None, ""),
        ({"program": "print(open(0).read()[::-1])", "stdin": "é\nb"}, "ok", "b\né\n", None, ""),
        (
            {"program": "import sys; print(sys.stdin.buffer.read())", "stdin": "é"},
            "ok", "b'\\xc3\\xa9'\n", None, "",
        ),
        ({"program": "import os; os.write(1, b'raw')"}, "ok", "raw", None, ""),
        ({"program": "import os; os.write(1, b'\\xff')"}, "ok", "\ufffd", None, ""),
        ({"program": "print(__name__); exit()"}, "ok", "__main__\n", None, ""),
        ({"program": "import sys; sys.exit(0)"}, "ok", "", None, ""),
        ({"program": "import sys; sys.exit(3)"}, "error", "", None, "SystemExit: 3 (line 1)"),
        (
            {"program": "def add(a, b):\n    return (a + b, {1: a})", "call": "add",
             "args": [1, 2.5]},
            "ok", "", [3.5, {"1": 1}], "",
        ),
        ({"program": "f = lambda: __name__", "call": "f"}, "ok", "", "program", ""),
        ({"program": "x = 1", "call": "f"}, "error", "", None, "NameError: the program has no f"),
        (
            {"program": "import sys\ndef f(): sys.exit()", "call": "f"},
            "error", "", None, "SystemExit (line 2)",
        ),
        (
            {"program": "print('a')\n1 / 0"},
            "error", "a\n", None, "ZeroDivisionError: division by zero (line 2)",
        ),
        (
            {"program": "x = 1\nx = ("},
            "error", "", None, "SyntaxError: '(' was never closed (line 2)",
        ),
        (
            {"program": "\ndef f(n):\n    return f(n + 1)\nf(0)"},
            "error", "", None, "RecursionError: maximum recursion depth exceeded (line 3)",
        ),
        ({"program": "import ctypes\nctypes.string_at(0)"},
         "crash", "", None, "its process was killed: Segmentation fault"),
        ({"program": "import os; os._exit(0)"},
         "crash", "", None, "its process exited with code 0"),
        ({"program": "print('all tests passed', flush=True)\nimport os; os._exit(0)"},
         "crash", "all tests passed\n", None, "its process exited with code 0"),
        ({"program": "import os; os.kill(os.getpid(), 9)"},
         "crash", "", None, "its process was killed: Killed"),
        ({"program": "print('a')\nimport sys\nsys.stdout.close()\nsys.stdin.close()"},
         "ok", "a\n", None, ""),
        ({"program": "print('a')\nimport os; os.close(1)"}, "error", "", None,
         "what it printed was lost: [Errno 9] Bad file descriptor"),
        (
            {"program": "def f(): return float('nan')", "call": "f"}, "error", "", None,
            "returned float, which is not JSON: Out of range float values are not JSON compliant",
        ),
        (
            {"program": "def f(): return object()", "call": "f"}, "error", "", None,
            "returned object, which is not JSON: Object of type object is not JSON serializable",
        ),
        ({"program": f"{ALWAYS_EQUAL}def f(): return E(7)", "call": "f"}, "ok", "", 7, ""),
        (
            {"program": "x = []\nfor _ in range(99999): x = [x]\ndef f(): return x", "call": "f"},
            "error", "", None, "returned list, which is not JSON: maximum recursion depth exceeded",
        ),
        (
            {"program": "import io, sys\nsys.stdout = io.StringIO()\nprint('hidden')"},
            "ok", "", None, "",
        ),
        (
            {"program": "import threading\nthreading.Thread(target=print, args='t').start()"},
            "ok", "t\n", None, "",
        ),
        ({"program": "import atexit\natexit.register(print, 'end')"}, "ok", "end\n", None, ""),
        ({"program": "raise type('E', (Exception,), {'__str__': lambda e: 1 / 0})"},
         "error", "", None, "E (line 1)"),
    ],
)  # fmt: skip
def test_what_comes_back(
    asked: dict[str, Any], outcome: str, stdout: str, returned: Any, error: str
) -> None:
    [ran] = run(asked)
    assert ran[:3] == [outcome, stdout, returned]
    assert ran[3].startswith(error) if error else ran[3] == ""
    assert 0.0 < ran[4] < 5.0


@pytest.mark.slow
def test_a_program_that_does_not_end() -> None:
    loops = ("while True: pass", "len(str(9**9**8))", "import time; time.sleep(9)",
             "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
             "import os; os.closerange(0, 99)\nwhile True: pass")  # fmt: skip
    began = time.monotonic()
    rans = run(*({"program": "print('a', flush=True)\n" + one, "timeout_s": 0.3} for one in loops))
    assert [ran[:4] for ran in rans] == [["timeout", "a\n", None, "took longer than 0.3 s"]] * 5
    assert all(0.3 <= ran[4] < 2 for ran in rans)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "asked",
    [
        {"program": "print('A' * 100_000_000)"},
        {"program": "import os\nwhile True: os.write(1, b'A' * 9999)"},
        {"program": "def f(): return 'A' * 2_000_000", "call": "f"},
    ],
)
def test_too_much_output_is_stopped(asked: dict[str, Any]) -> None:
    ran, after = run({**asked, "timeout_s": 4.0}, "print(1)")
    assert (ran[0], ran[3], ran[4] < 4.0) == ("error", "gave out more than 1 MiB", True)
    assert after[:2] == ["ok", "1\n"]


def test_output_up_to_the_limit_comes_back() -> None:
    judge = (
        "from grpo_core.programs import run\n"
        "def f(completion):\n"
        "    ran = run(completion, stdin='é' * 500_000)\n"
        "    return float(ran.outcome == 'ok' and len(ran.stdout))\n"
    )
    most = "import sys; sys.stdout.write('A' * (1 << 20))"
    echo = "import sys; sys.stdout.write(sys.stdin.read())"
    assert [one.value for one in call(judge, [most, echo])] == [1 << 20, 500_000]


@linux
def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = "import mmap\nx = mmap.mmap(-1, 3 << 30)\nprint(len(x))"
    assert [ran[:4] for ran in run(greedy, "x = bytearray(3 << 30)")] == [
        ["error", "", None, "OSError: [Errno 12] Cannot allocate memory (line 2)"],
        ["error", "", None, "MemoryError (line 1)"],
    ]
    monkeypatch.setattr(sandbox_process, "MEMORY_BYTES", 8 << 30)
    assert run(greedy)[0][:2] == ["ok", f"{3 << 30}\n"]


# --- what they cannot do -------------------------------------------------------------------------


def attacks(columns: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each attack of the probe as a program."""
    found = {}
    for node in ast.parse(ATTACKS_TEXT).body:
        if isinstance(node, ast.FunctionDef):
            args = [columns.get(one.arg, "text") for one in node.args.args]
            found[node.name] = {"program": ATTACKS_TEXT, "call": node.name, "args": args}
    return found


@linux
def test_each_attack_works_without_the_lock_and_none_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sandbox_probe._targets() as columns:
        asked = attacks(columns)
        assert len(asked) > 10
        locked = dict(zip(asked, run(*asked.values()), strict=True))
        monkeypatch.setattr(sandbox_process, "LOCK", False)
        monkeypatch.setattr(sandbox_process, "MEMORY_BYTES", 8 << 30)
        freely = dict(zip(asked, run(*asked.values()), strict=True))
    for name in asked:
        assert freely[name][2] == 1.0, (name, freely[name])
        assert (locked[name][2] == 1.0) is (name == "works"), (name, locked[name])


GARBAGE = """import os
for d in range({first}, 400):
    try: os.write(d, {data})
    except OSError: pass
"""


@pytest.mark.parametrize("data", [r"b'\xff' * 99", "b'null'", r"b'\x04\0\0\0null'", "b'A' * 9999"])
def test_garbage_in_every_pipe_is_no_result(data: str) -> None:
    asked = {"program": GARBAGE.format(first=2, data=data), "timeout_s": 2.0}
    garbage, after = run(asked, {"program": "def f(): return 5", "call": "f"})
    assert (garbage[0], garbage[2]) == ("crash", None)
    assert after[:3] == ["ok", "", 5]


@pytest.mark.parametrize(
    ("said", "outcome", "returned"),
    [
        ('{"returned": 3}', "ok", 3),  # as if it had returned it
        ('{"returned": NaN}', "crash", None),
        ('{"returned": -Infinity}', "crash", None),
        ('{"returned": 1e999}', "crash", None),
        ('{"returned": 3, "outcome": "ok"}', "crash", None),
        ('{"error": 3}', "crash", None),
        ('{"returned": 3}{"returned": 3}', "crash", None),
        ('{"returned": ' + "[" * 9999 + "]" * 9999 + "}", "crash", None),
        ("[3]", "crash", None),
        ("", "crash", None),
    ],
)
def test_a_result_that_a_program_made_up(said: str, outcome: str, returned: Any) -> None:
    text = GARBAGE.format(first=3, data=repr(said.encode())) + "os._exit(0)"
    assert run(text)[0][0:3:2] == [outcome, returned]


@pytest.mark.usefixtures("free")
def test_no_pipe_of_the_host_is_left_in_a_program() -> None:
    """Even where the lock does not hold: its own two, and the three that every program has."""
    text = (
        "import os\nfor d in range(5000):\n"
        "    try: os.fstat(d); print(d, end=' ')\n    except OSError: pass\n"
    )
    opened = [os.dup(0) for _ in range(300)]  # so that the host's numbers are high
    try:
        [ran] = run(text)
    finally:
        for one in opened:
            os.close(one)
    assert len(ran[1].split()) == 5, ran


@linux
@pytest.mark.usefixtures("free")
def test_nothing_of_a_program_is_left_for_the_next_one() -> None:
    """Neither text, input, arguments, output nor result, in no page of its memory."""
    scan = (
        "import re\nword = b'mark' + b'er'\nfound = 0\n"
        "with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:\n"
        "    for line in maps:\n"
        "        start, end, mode = re.match(r'(\\w+)-(\\w+) (\\S+)', line).groups()\n"
        "        if mode[0] == 'r' and '[v' not in line:\n"
        "            memory.seek(int(start, 16))\n"
        "            found += memory.read(int(end, 16) - int(start, 16)).count(word + b'=')\n"
        "{last}"
    )
    leave = (
        "def f(text):\n    here = 'marker=' * 3\n    print(text, here, input())\n    return here"
    )
    first = {"program": leave, "call": "f", "args": ["marker="], "stdin": "marker=\n" * 8000}
    seen, after = run(
        {"program": scan.format(last="print(found)") + "# marker="},
        {"program": scan.format(last="print(found)")},
    )
    assert int(seen[1]) > 0 and after[1] == "0\n"  # it can see its own
    _, after = run(first, {"program": scan.format(last="print(found)")})
    assert after[1] == "0\n"


def test_a_program_that_changes_python_changes_its_own() -> None:
    """To fool a judge that would run in the same process, or the next test."""
    patch = (
        "import builtins, json, os, sys\n"
        "json.dumps = lambda *_, **__: '{\"returned\": 3}'\n"
        "builtins.len = lambda x: 3\n"
        "builtins.compile = builtins.exec = None\n"
        "sys.modules['math'] = None\n"
        "def f(x): return 4"
    )
    honest = "import math\ndef f(x): return len(x)"
    asked = [{"program": text, "call": "f", "args": [[1, 2]]} for text in (patch, honest)]
    patched, after = run(*asked)
    assert patched[2] == 3 and after[:3] == ["ok", "", 2]


DAEMON = """import os, time
if os.fork() == 0:
    {leave}
    time.sleep(60)
time.sleep(0.2)  # for the other to leave the group
print(0)
"""


@linux
@pytest.mark.slow
def test_a_program_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    escape, stay = DAEMON.format(leave="os.setsid()"), DAEMON.format(leave="pass")
    assert [ran[3] for ran in run(escape, stay)] == [
        "PermissionError: [Errno 1] Operation not permitted (line 2)"
    ] * 2
    assert left() == []
    monkeypatch.setattr(sandbox_process, "LOCK", False)
    assert run(stay)[0][:2] == ["ok", "0\n"]
    assert left() == []  # its group is killed, lock or not
    assert run(escape)[0][:2] == ["ok", "0\n"]
    [daemon] = left()  # so the lock is what stops this one
    daemon.kill()


@linux
@pytest.mark.slow
def test_a_fork_bomb_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = "import os\nfor _ in range(4): os.fork()\nprint(0, flush=True)\nwhile True: pass"
    asked = {"program": bomb, "timeout_s": 1.5}
    bombed, after = run(asked, "print(1)")
    assert bombed[:2] == ["error", ""] and "(line 2)" in bombed[3]
    assert after[:2] == ["ok", "1\n"]
    monkeypatch.setattr(sandbox_process, "LOCK", False)
    bombed, after = run(asked, "print(1)")
    assert bombed[0] == "timeout" and bombed[1].count("0") > 1  # they did run, and were killed
    assert after[:2] == ["ok", "1\n"]
    assert left() == []


def left() -> list[psutil.Process]:
    """Hosts and programs that are still there a while after they were killed."""
    here = f"sys.path.append({str(ROOT)!r}); from grpo_core.sandbox_host"
    found = []
    for process in psutil.process_iter():
        try:
            if alive(process) and any(here in part for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return psutil.wait_procs(found, timeout=1)[1]


def alive(process: psutil.Process) -> bool:
    """Not gone, and not a zombie that nobody reaps."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- the host ------------------------------------------------------------------------------------


def host_of(process: psutil.Process) -> psutil.Process | None:
    """The program host that a process has started."""
    for child in process.children():
        if any("sandbox_host" in part for part in child.cmdline()):
            return child
    return None


@pytest.fixture
def while_looping() -> Iterator[dict[str, Any]]:
    """Three programs of one call, with a thread that does `act` to the host amid the first."""
    state: dict[str, Any] = {"act": None, "processes": []}

    def watch() -> None:
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            host = host_of(psutil.Process())
            if host and host.children():
                time.sleep(0.2)
                state["processes"] = [host, *host.children()]
                state["act"](host)
                return
            time.sleep(0.02)

    def go(timeout_s: float) -> list[list[Any]]:
        thread = threading.Thread(target=watch)
        thread.start()
        asked = {"program": "while True: pass", "timeout_s": timeout_s}
        rans = run(asked, "print(1)", "print(2)", timeout_s=10.0)
        thread.join()
        return rans

    state["go"] = go
    yield state


@linux
def test_a_host_that_dies_is_a_crash_and_takes_its_program_with_it(
    while_looping: dict[str, Any],
) -> None:
    while_looping["act"] = lambda host: host.kill()
    first, *others = while_looping["go"](30.0)
    assert first[0:4:3] == ["crash", "the process that starts programs was lost"]
    assert [ran[:2] for ran in others] == [["ok", "1\n"], ["ok", "2\n"]]
    assert len(while_looping["processes"]) == 2
    assert not any(map(alive, while_looping["processes"]))


@linux
@pytest.mark.slow
def test_a_host_that_does_not_answer_is_a_crash(
    while_looping: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_programs, "HOST_GRACE_S", 1.0)
    while_looping["act"] = lambda host: host.suspend()
    first, *others = while_looping["go"](1.0)
    assert first[0:4:3] == ["crash", "the process that starts programs was lost"]
    assert [ran[:2] for ran in others] == [["ok", "1\n"], ["ok", "2\n"]]
    assert len(while_looping["processes"]) == 2
    assert not any(map(alive, while_looping["processes"]))


def test_the_host_starts_with_the_first_program_and_ends_with_the_worker() -> None:
    pool = Pool([Function(JUDGE, "reward.py", "f", False, False)], 5.0)
    call_in(pool, ["x"], asked=[])
    assert host_of(psutil.Process()) is None
    pids = set()
    for _ in range(2):
        assert read(call_in(pool, ["x"], asked=[{"program": "print(1)"}])[0])[0][1] == "1\n"
        host = host_of(psutil.Process())
        assert host is not None
        pids.add(host.pid)
    assert len(pids) == 1
    pool.close()
    assert not alive(host)
    assert host_of(psutil.Process()) is None


@pytest.mark.parametrize(
    ("relayed", "message"),
    [("-1.0, b'{}'", "stopped answering"), ("float('inf'), b'{}'", "stopped answering")],
)
def test_nonsense_from_a_worker_is_its_crash(relayed: str, message: str) -> None:
    text = (
        "from grpo_core import programs\n"
        "def f(completion):\n"
        f"    if completion == 'bad': programs.relay({relayed})\n"
        "    return 1.0\n"
    )
    fine, bad, after = call(text, ["x", "bad", "y"])
    assert (bad.outcome, bad.value) == ("crash", None) and message in bad.message
    assert (fine.value, after.value) == (1.0, 1.0)


def test_a_request_that_no_program_can_read_is_a_crash_of_that_program() -> None:
    text = (
        "from grpo_core import programs\n"
        "def f(completion):\n    return float(programs.relay(1.0, b'{}')['code'])\n"
    )
    assert call(text, ["x"])[0].value == 1.0


PARENT = """
from grpo_core.sandbox import *
text = r'''
from grpo_core.programs import run
def f(completion):
    run({code!r}, timeout_s=600.0)
'''
pool = Pool([Function(text, "r.py", "f", False, False)], 600.0)
group = dict(prompt="", question="", answer="", step=0, columns=dict(),
             completions=["1"], completion_ids=[[1]])
print("ready", flush=True)
pool.run([group], [Call(0, 0, (0,))])
"""
SILENCE = """import ctypes, fcntl, os
for d in range(3, 99):
    copy = ctypes.CDLL(None).dup(d)
    for act in (lambda: fcntl.fcntl(copy, fcntl.F_SETFL, 0), lambda: os.close(d)):
        try: act()
        except (OSError, ValueError): pass
while True: pass
"""


@linux
@pytest.mark.parametrize(
    "code", ["while True: pass", "len(str(9**9**8))", "__import__('time').sleep(600)", SILENCE]
)
def test_programs_end_with_the_trainer(code: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(code=code)], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:  # fmt: skip
        assert parent.stdout and parent.stdout.readline() == b"ready\n"
        trainer, began = psutil.Process(parent.pid), time.monotonic()
        while not ((host := host_of(trainer)) and host.children()):
            assert time.monotonic() - began < 10
            time.sleep(0.02)
        time.sleep(0.3)  # the program is under way
        processes = trainer.children(recursive=True)
        assert len(processes) == 4  # worker, spare, host, program
        parent.send_signal(signal.SIGKILL)
    ended = time.monotonic()
    while any(map(alive, processes)):
        assert time.monotonic() - ended < 3
        time.sleep(0.02)


# --- what they cost others -----------------------------------------------------------------------

SQUARES = """
from grpo_core.programs import run
def f(completion):
    ran = run("x = int(input())\\nwhile x == 5: pass\\nprint(x * x)", completion, timeout_s=0.4)
    return float(ran.stdout) if ran.outcome == "ok" else None
"""


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_program_that_hangs_costs_its_deadline_and_no_other_completion(num_workers: int) -> None:
    began = time.monotonic()
    verdicts = call(SQUARES, [str(x) for x in range(20)], 0.3, num_workers)
    assert time.monotonic() - began < 8
    assert [one.outcome for one in verdicts] == ["ok"] * 5 + ["abstain"] + ["ok"] * 14
    assert [one.value for one in verdicts if one.value is not None] == [
        float(x * x) for x in range(20) if x != 5
    ]
    assert verdicts[5].seconds >= 0.4


def test_two_workers_run_programs_at_once() -> None:
    judge = (
        "from grpo_core.programs import run\n"
        "def f(completion):\n"
        "    run('import time; time.sleep(0.4)', timeout_s=5.0)\n"
        "    return float(run('import os; print(os.getppid())').stdout)\n"
    )
    hosts = {verdict.value for verdict in call(judge, ["x"] * 4, 5.0, num_workers=2)}
    assert len(hosts) == 2 and None not in hosts


@pytest.mark.slow
def test_a_call_s_deadline_stands_still_while_its_programs_run() -> None:
    asked = {"program": "import time; time.sleep(0.7)", "timeout_s": 5.0}
    assert [ran[0] for ran in run(asked, asked, timeout_s=0.4)] == ["ok", "ok"]
    judge = SQUARES + "    while True: pass\n"
    verdict, _ = call(judge.replace("return", "ran ="), ["1", "2"], 0.3)
    assert (verdict.outcome, verdict.message) == ("timeout", "the call took longer than 0.3 s")


@pytest.mark.slow
def test_the_programs_of_one_call_have_a_budget_together() -> None:
    """Ten deadlines of 0.1 s: the first takes all of it, the others are not run."""
    loop = {"program": "while True: pass", "timeout_s": 600.0}
    pool = Pool([Function(JUDGE, "reward.py", "f", False, False)], 0.1)
    for _ in range(2):  # the next call has its own
        first, *others = read(call_in(pool, ["x"], asked=[loop, loop, loop])[0])
        assert first[0] == "timeout" and 0.9 < first[4] < 3
        assert first[3].endswith("s, all that was left for the programs of this call")
        assert [ran[0] for ran in others] == ["timeout"] * 2
        assert all(ran[3].startswith("not run") and ran[4] == 0.0 for ran in others)
    pool.close()


@pytest.mark.slow
def test_a_judge_that_runs_programs_for_ever_is_stopped() -> None:
    judge = (
        "from grpo_core.programs import run\n"
        "def f(completion):\n    while completion == 'bad': run('x = 1')\n    return 1.0\n"
    )
    began = time.monotonic()
    fine, bad, after = call(judge, ["x", "bad", "y"], 0.2)
    assert time.monotonic() - began < 8  # 0.2 of its own and 2 of programs
    assert (bad.outcome, fine.value, after.value) == ("timeout", 1.0, 1.0)


# --- where run may be called ---------------------------------------------------------------------


def test_outside_a_worker_run_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="in the Reward lab or with `grpo-studio reward-test`"):
        programs.run("print(1)")


def test_while_a_file_loads_no_program_runs() -> None:
    text = "from grpo_core.programs import run\nrun('x')\ndef f(completion): return 1\n"
    [verdict] = call(text, ["x"])
    assert (verdict.outcome, verdict.line) == ("error", 2)
    assert "only while a reward function is called" in verdict.message


def test_threads_of_a_judge_take_turns() -> None:
    text = (
        "import threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from grpo_core.programs import run\n"
        "def f(completion):\n"
        "    with ThreadPoolExecutor(4) as pool:\n"
        "        outputs = pool.map(lambda n: run(f'print({n})').stdout, range(12))\n"
        "    assert [int(one) for one in outputs] == list(range(12))\n"
        "    threading.Thread(target=run, args=('import time; time.sleep(0.2)',)).start()\n"
        "    return 1.0\n"
    )
    assert [one.value for one in call(text, ["x"] * 3)] == [1.0] * 3


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("'x', timeout_s=0", "ValueError: timeout_s must be a positive number"),
        ("'x', timeout_s=float('nan')", "ValueError: timeout_s must be a positive number"),
        ("'x', call='f', args=[float('nan')]", "ValueError: Out of range float"),
        ("'x', call='f', args=[{1, 2}]", "TypeError: Object of type set is not JSON"),
        ("'x', 'a' * (5 << 20)", "ValueError: program, input and arguments are 52429"),
    ],
)
def test_what_cannot_be_asked(asked: str, says: str) -> None:
    text = f"from grpo_core.programs import run\ndef f(completion):\n    return run({asked})\n"
    [verdict] = call(text, ["x"])
    assert verdict.outcome == "error" and verdict.message.startswith(says)


# --- the shipped reward --------------------------------------------------------------------------

ADD = "def add(a, b):\n    return a + b"
TESTS = [
    {"call": "add", "args": [1, 2], "returns": 3},
    {"call": "add", "args": ["a", "b"], "returns": "ab"},
    {"call": "add", "args": [[1], [2]], "returns": [1, 2]},
    {"call": "add", "args": [0.5, 0.25], "returns": 0.75},
]


def passes_tests(completion: str, timeout_s: float = 2.0, **row: Any) -> Rollout:
    """A completion with its reward."""
    rollout = Rollout([1], [-1.0], completion, "stop")
    with Scorer(resolve([RewardConfig(builtin="passes_tests")]), timeout_s) as scorer:
        scorer.score([Group(Problem("p", "q", "a", row), "q", [1], [rollout])], 1)
    return rollout


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        (ADD, 1.0),
        (f"First:\n```python\nbroken(\n```\nBetter:\n```python\n{ADD}\n```\nDone.", 1.0),
        (f"```py\n{ADD}\n```\n```bash\nls\n```", 1.0),
        (f"- so\n  ```Python\n  def add(a, b):\n      return a + b\n  ```\n{ADD[:5]}", 1.0),
        (f"```python\n{ADD}", 1.0),  # never closed
        ("def add(a, b):\n    return 3", 0.25),
        ("def add(a, b):\n    return int(a) + int(b)", 0.25),  # the others raise; 0.75 becomes 0
        ("I cannot.", 0.0),
        ("import os\nos._exit(0)", 0.0),
        (f"{ALWAYS_EQUAL}def add(a, b): return E(9)", 0.0),
        ("class E:\n    __eq__ = lambda a, b: True\ndef add(a, b): return E()", 0.0),
        ("import builtins, json\njson.loads = lambda *_: 3\ndef add(a, b): return 4", 0.0),
    ],
)
def test_the_share_of_tests_that_pass(completion: str, reward: float) -> None:
    rollout = passes_tests(completion, tests=TESTS)
    assert (rollout.outcome, rollout.reward) == ("ok", reward), rollout.error
    assert rollout.printed.endswith(f"{int(4 * reward)} of 4 tests passed")


def test_tests_of_what_is_printed() -> None:
    tests = [
        {"input": "1 2\n", "output": "3"},
        {"input": "1 2", "output": "3  \n\n"},
        {"input": "1 2", "output": " 3"},  # spaces in front do count
        {"input": "4", "output": "4", "call": None, "args": None, "returns": None},
    ]
    rollout = passes_tests("print(sum(map(int, input().split())), ' ')\nprint()", tests=tests)
    assert rollout.reward == 0.75
    assert rollout.printed == "test 3: gave ['3'], not [' 3']\n3 of 4 tests passed"
    assert passes_tests("print(3)", tests=json.dumps(tests)).reward == 0.5
    rollout = passes_tests("print(3)\n1 / 0", tests=tests[:1])
    assert rollout.reward == 0.0
    assert rollout.printed.startswith("test 1: ZeroDivisionError: division by zero (line 2)\n")


def test_after_a_test_that_hangs_no_other_is_run() -> None:
    began = time.monotonic()
    text = "n = int(input())\nwhile n == 1: pass\nprint(n)"
    tests = [{"input": str(n), "output": str(n)} for n in (0, 1, 2, 1, 1, 1, 1, 1, 1, 1)]
    rollout = passes_tests(text, tests=tests)
    assert rollout.reward == 0.1
    assert rollout.printed == "test 2: took longer than 1 s\n1 of 10 tests passed"
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("row", [{}, {"tests": []}, {"tests": None}, {"tests": "[]"}])
def test_without_tests_it_does_not_apply(row: dict[str, Any]) -> None:
    assert passes_tests(ADD, **row).outcome == "abstain"


def test_a_test_that_is_neither_is_named() -> None:
    rollout = passes_tests(ADD, tests=[{"in": "1", "out": "2"}])
    assert rollout.outcome == "error" and "KeyError: 'input'" in rollout.error
