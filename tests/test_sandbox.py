"""The worker pool: hostile code hurts its own completion and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpo_core import sandbox, sandbox_process
from grpo_core.sandbox import Call, Function, Pool
from grpo_core.sandbox_process import Verdict

ROOT = Path(__file__).parents[1]
BAD = 5
"""The completion that hostile functions react to, of 0..NUM-1 in two groups."""
NUM = 24
MakePool = Callable[..., Pool]


@pytest.fixture
def make_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePool]:
    """Pools of one source; `pool.started` counts the processes it took."""
    pools: list[Pool] = []

    def make(text: str, timeout_s: float = 0.5, **options: Any) -> Pool:
        pool = Pool([Function(text, "reward.py", "f", False, False)], timeout_s, **options)
        pools.append(pool)
        return pool

    started: list[object] = []
    real = sandbox.WorkerProcess

    def count(die_with_parent: bool) -> Any:
        started.append(None)
        return real(die_with_parent)

    monkeypatch.setattr(sandbox, "WorkerProcess", count)
    make.started = started  # type: ignore[attr-defined]
    yield make
    for pool in pools:
        pool.close()


def groups(texts: list[str], **columns: Any) -> list[dict[str, Any]]:
    """Two groups of completions."""
    half = len(texts) // 2
    return [
        {
            "prompt": "<p>", "question": "q", "answer": "a", "step": 7, "columns": columns,
            "completions": part, "completion_ids": [[1, 2] for _ in part],
        }
        for part in (texts[:half], texts[half:])
    ]  # fmt: skip


def run(pool: Pool, texts: list[str] | None = None, **columns: Any) -> list[Verdict]:
    """One call a completion."""
    two = groups(texts or [str(number) for number in range(NUM)], **columns)
    calls = [Call(0, g, (i,)) for g in range(2) for i in range(len(two[g]["completions"]))]
    return [verdict for [verdict] in pool.run(two, calls)]


def when_bad(body: str) -> str:
    """A function that does `body` on the bad completion and returns the number of any other."""
    return (
        "import ctypes, json, math, os, re, signal, struct, sys, time\n"
        "def spray(data):\n    for d in range(3, 40):\n"
        "        try: os.write(d, data)\n        except OSError: pass\n"
        "def f(completion):\n"
        f"    if completion == '{BAD}':\n        {body}\n"
        "    return float(completion)\n"
    )


def check_others(verdicts: list[Verdict]) -> Verdict:
    """All but the bad completion are right; returns what became of that one."""
    for number, verdict in enumerate(verdicts):
        if number != BAD:
            assert (verdict.outcome, verdict.value) == ("ok", float(number)), number
    return verdicts[BAD]


LOOP = (
    "while True:\n            try:\n                while True: pass\n"
    "            except BaseException: pass"
)
FORGED = (
    "d = json.dumps({'nonce': '0' * 16, 'verdicts': [['ok', 99.0, '']], 'printed': ''})\n"
    "        spray(struct.pack('<I', len(d)) + d.encode())"
)


@pytest.mark.parametrize(
    ("body", "outcome", "line", "says"),
    [
        (LOOP, "timeout", 10, "longer than 0.5 s"),
        ("return len(str(9**9**8))", "timeout", 8, "longer than 0.5 s"),
        ("re.match('(a+)+$', 'a' * 40 + 'b')", "timeout", 8, "longer than 0.5 s"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout", None, "longer than 0.5 s"),
        ("os._exit(0)", "crash", None, "exited with code 0"),
        ("ctypes.string_at(0)", "crash", 8, "Segmentation fault"),
        ("os.closerange(0, 64)", "crash", None, "exited with code 1"),
        (r"spray(b'\xff\xff\xff\x7fAAAA')", "crash", None, "stopped answering"),
        (r"spray(b'\x04\x00\x00\x00null')", "crash", None, "stopped answering"),
        (r"spray(b'\xff\xff\x00\x00A')", "timeout", None, "longer than 0.5 s"),
        (r"spray(b'A' * 6_000_000)", "crash", None, "stopped answering"),
        (FORGED, "crash", None, "stopped answering"),
        ("raise ValueError('b' * 5_000_000)", "error", 8, "ValueError: bbb"),
        (r"raise ValueError('\ud800')", "error", 8, "ValueError: \ud800"),
        ("sys.exit(0)", "error", 8, "SystemExit: 0"),
        ("raise type('E', (Exception,), {'__str__': lambda e: 1 / 0})", "error", 8, "E"),
        ("g = lambda n: g(n + 1); g(0)", "error", 8, "RecursionError"),
        ("return math.nan", "nonfinite", None, "returned nan"),
        ("return 1e400", "nonfinite", None, "returned infinity"),
        ("return -10**100_000", "nonfinite", None, "returned infinity"),
        ("return '1'", "badtype", None, "returned str"),
        ("return [1.0]", "badtype", None, "returned list"),
        ("return 1j", "badtype", None, "returned complex"),
        ("return None", "abstain", None, ""),
    ],
)
def test_hostile_function(
    make_pool: MakePool, body: str, outcome: str, line: int | None, says: str
) -> None:
    pool = make_pool(when_bad(body))
    for _ in range(2):  # the next batch is served as well
        began = time.monotonic()
        bad = check_others(run(pool))
        assert (bad.outcome, bad.value, bad.line) == (outcome, None, line)
        assert says in bad.message
        assert len(bad.message) < 500 and len(bad.trace) < 3000
        assert time.monotonic() - began < 4
    killed = 2 * (outcome in ("timeout", "crash"))
    assert len(make_pool.started) == 2 + killed  # type: ignore[attr-defined]


def test_numbers_of_all_kinds(make_pool: MakePool) -> None:
    text = (
        "from fractions import Fraction\n"
        "class Scalar:\n    shape = ()\n    def item(self): return 2\n"
        "KINDS = [True, 3, 1e38, Fraction(1, 2), Scalar(), -0.5]\n"
        "def f(completion): return KINDS[int(completion)]\n"
    )
    verdicts = run(make_pool(text), [str(number) for number in range(6)])
    assert [verdict.value for verdict in verdicts] == [1.0, 3.0, 1e38, 0.5, 2.0, -0.5]


def test_memory_is_bounded(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_process, "MEMORY_BYTES", 200 << 20)
    bomb = "x = []\n        while True: x.append(bytearray(16 << 20))"
    bad = check_others(run(make_pool(when_bad(bomb), timeout_s=10.0)))
    assert (bad.outcome, bad.message, bad.line) == ("error", "MemoryError", 9)


def test_memory_is_watched_where_the_system_caps_none(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_process, "WATCHED_BYTES", 200 << 20)
    hoard = "x = bytearray(os.urandom(1 << 20)) * 400; time.sleep(600)"
    bad = check_others(run(make_pool(when_bad(hoard), timeout_s=30.0)))
    assert (bad.outcome, bad.message) == (
        "crash",
        "the worker process took more memory than it may",
    )


def test_prints_are_kept_and_cut(make_pool: MakePool) -> None:
    text = when_bad("print('seen', file=sys.stderr); print('A' * 6_000_000)")
    verdicts = run(make_pool("print('loaded')\n" + text))
    bad = check_others(verdicts)
    assert verdicts[0].printed == "loaded\n"
    assert bad.value == 5.0
    assert bad.printed.startswith("seen\nAAA")
    assert bad.printed.endswith("… and 5996006 characters more")  # of 6,000,006, 4,000 are kept
    assert [verdict.printed for verdict in verdicts[BAD + 1 :]] == [""] * (NUM - BAD - 1)


def test_a_fork_does_not_answer_twice(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_process, "LOCK", False)  # else there is no fork
    text = "import os\ndef f(completion):\n    os.fork()\n    return float(completion)\n"
    pool = make_pool(text, timeout_s=5.0)
    verdicts = run(pool)
    assert [verdict.value for verdict in verdicts] == [float(number) for number in range(NUM)]


def test_a_deadline_belongs_to_one_call(make_pool: MakePool) -> None:
    text = "import time\ndef f(completion):\n    time.sleep(0.15)\n    return 1.0\n"
    verdicts = run(make_pool(text, timeout_s=0.6), ["x"] * 8)
    assert Counter(verdict.outcome for verdict in verdicts) == {"ok": 8}


def test_a_function_that_always_hangs_is_given_up(make_pool: MakePool) -> None:
    text = "def f(completion):\n    while True: pass\n"
    pool = make_pool(text, timeout_s=0.2)
    began = time.monotonic()
    verdicts = run(pool)
    assert time.monotonic() - began < 4  # 4 deadlines of 24
    assert Counter((v.outcome, v.tried) for v in verdicts) == {
        ("timeout", True): 4,
        ("timeout", False): NUM - 4,
    }
    assert "not called: all 4 calls before it" in verdicts[-1].message


@pytest.mark.parametrize(
    ("text", "outcome", "line", "says"),
    [
        ("x = 1\ndef f(completion) return 1\n", "error", 2, "SyntaxError"),
        ("import os\n1 / 0\ndef f(completion): return 1\n", "error", 2, "ZeroDivisionError"),
        ("import sys\n\nsys.exit(0)\n", "error", 3, "SystemExit: 0"),
        ("def g(completion): return 1\n", "error", None, "'f'"),
        ("@__import__('os')._exit\ndef f(completion): return 1\n", "error", 1, "TypeError"),
        ("import os\nos._exit(3)\n", "crash", None, "exited with code 3"),
        ("x = 1\nwhile True: pass\n", "timeout", 2, "loading the file took longer than 1 s"),
    ],
)
def test_a_file_that_does_not_load(
    make_pool: MakePool, text: str, outcome: str, line: int | None, says: str
) -> None:
    pool = make_pool(text)
    pool.load_timeout_s = 1.0
    began = time.monotonic()
    verdicts = run(pool)
    assert time.monotonic() - began < 3  # not once more for each completion
    assert {(v.outcome, v.line, v.tried) for v in verdicts} == {(outcome, line, False)}
    assert says in verdicts[0].message
    assert len(make_pool.started) <= 2  # type: ignore[attr-defined]


def test_one_file_that_does_not_load_leaves_the_others(make_pool: MakePool) -> None:
    texts = {"a.py": "def f(completion): return 1\n", "b.py": "while True: pass\n"}
    pool = Pool([Function(text, name, "f", False, False) for name, text in texts.items()], 1.0)
    pool.load_timeout_s = 0.5
    two = groups(["x", "y"])
    calls = [Call(function, group, (0,)) for group in range(2) for function in range(2)]
    for _ in range(2):
        outcomes = [verdict.outcome for [verdict] in pool.run(two, calls)]
        assert outcomes == ["ok", "timeout", "ok", "timeout"]
    pool.close()


def test_lines_of_odd_files(make_pool: MakePool) -> None:
    text = (
        "# -*- coding: latin-1 -*-\r\n\x0c\r\nx = '\u2028'\r\ndef f(completion):\r\n    1 / 0\r\n"
    )
    verdict = run(make_pool(text))[0]
    assert verdict.line == 5
    assert "line 5, in f\n    1 / 0\n" in verdict.trace


def test_inputs_are_fresh_and_text_survives(make_pool: MakePool) -> None:
    text = (
        "def f(completion, completion_ids, tags, **row):\n"
        "    seen = len(tags) + 10 * len(row['nested']['x']) + 100 * len(completion_ids)\n"
        "    tags.append(0); row['nested']['x'].clear(); completion_ids.clear()\n"
        "    return seen + 1000 * (completion == '\\ud800 \\u2028é')\n"
    )
    odd = "\ud800 \u2028é"
    verdicts = run(make_pool(text), [odd] * 4, tags=["a"], nested={"x": [1]})
    assert [verdict.value for verdict in verdicts] == [1211.0] * 4


def test_big_texts(make_pool: MakePool) -> None:
    comment = "#" * 300_000  # more than a pipe holds, too
    pool = make_pool(f"{comment}\ndef f(completion): return len(completion)\n", timeout_s=2.0)
    verdicts = run(pool, ["é" * 3_000_000, "x", "y" * 3_000_000, "z"])
    assert [verdict.value for verdict in verdicts] == [3_000_000.0, 1.0, 3_000_000.0, 1.0]


def test_workers_share_the_work(make_pool: MakePool) -> None:
    text = "import os, time\ndef f(completion):\n    time.sleep(0.05)\n    return os.getpid()\n"
    pids = Counter(verdict.value for verdict in run(make_pool(text, num_workers=2)))
    assert len(pids) == 2


def test_two_workers_and_hostile_code(make_pool: MakePool) -> None:
    pool = make_pool(when_bad("os._exit(1)"), num_workers=2)
    for _ in range(2):
        assert check_others(run(pool)).outcome == "crash"


def test_what_a_worker_gets_from_us(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_TOKEN", "secret")
    opened = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(opened, True)
    text = (
        "import os\n"
        "def f(completion):\n"
        f"    assert 'API_TOKEN' not in os.environ and os.getcwd() == '/'\n"
        f"    try: os.fstat({opened})\n"
        "    except OSError: return 1.0\n"
    )
    assert run(make_pool(text))[0].value == 1.0
    os.close(opened)
    target = tmp_path / "written"
    text = f"def f(completion):\n    with open({str(target)!r}, 'w') as file: file.write('x')\n"
    verdict = run(make_pool(text))[0]
    assert verdict.outcome == "error" and target.exists() is not sandbox_process.LOCK
    monkeypatch.setattr(sandbox_process, "LOCK", False)
    verdict = run(make_pool(text))[0]
    assert (verdict.outcome, target.stat().st_size) == ("error", 0)


def test_sets_have_one_order(make_pool: MakePool) -> None:
    text = "def f(completion): return float(hash('a') % 1000)\n"
    assert len({run(make_pool(text))[0].value for _ in range(3)}) == 1


def test_it_works_after_an_exception_of_ours(make_pool: MakePool) -> None:
    pool = make_pool("def f(completion): return 1\n")
    with pytest.raises(TypeError):
        pool.run(groups(["x", "y"], **{"k": {("no", "key"): 1}}), [Call(0, 0, (0,))])
    assert run(pool)[0].value == 1.0


def test_close_ends_all(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_process, "LOCK", False)  # else there is no fork
    text = "import os, time\nif os.fork() == 0: time.sleep(60)\ndef f(completion): return 1\n"
    others = set(psutil.Process().children(recursive=True))  # of tests that ran before
    pool = make_pool(text)
    run(pool)
    children = [c for c in psutil.Process().children(recursive=True) if c not in others]
    assert len(children) >= 2
    pool.close()
    assert psutil.wait_procs(children, timeout=2)[1] == []


PARENT = """
import sys
from grpo_core.sandbox import *
text = "def f(completion):\\n    return {code}\\n"
pool = Pool([Function(text, "r.py", "f", False, False)], 600.0, 1, {die})
group = {{"prompt": "", "question": "", "answer": "", "step": 0, "columns": {{}},
         "completions": ["1"], "completion_ids": [[1]]}}
print("ready", flush=True)
pool.run([group], [Call(0, 0, (0,))])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends after its call")
@pytest.mark.parametrize("die_with_parent", [True, False])
@pytest.mark.parametrize("code", ["len(str(9**9**8))", "__import__('time').sleep(600)"])
def test_workers_end_with_the_process(die_with_parent: bool, code: str) -> None:
    script = PARENT.format(code=code, die=die_with_parent)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout and parent.stdout.readline() == b"ready\n"
        workers: list[psutil.Process] = []
        waited = time.monotonic()
        while len(workers) < 2 and time.monotonic() - waited < 5:
            workers = psutil.Process(parent.pid).children()
            time.sleep(0.05)
        time.sleep(0.2)  # the call is under way
        parent.send_signal(signal.SIGKILL)
    assert len(workers) == 2
    ended = time.monotonic()
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() - ended < 2
        time.sleep(0.02)


def is_running(process: psutil.Process) -> bool:
    """Not gone, and not a zombie that nobody reaps."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_death_signal_follows_the_thread_only_when_asked() -> None:
    """The page starts pools in threads that end; they must outlive them."""
    pools: list[Pool] = []

    def start() -> None:
        function = Function("def f(completion): return 1\n", "r.py", "f", False, False)
        pools.append(Pool([function], 2.0))
        run(pools[0])

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.1)
    before = [worker._process.pid for worker in pools[0]._workers]
    assert run(pools[0])[0].value == 1.0
    assert [worker._process.pid for worker in pools[0]._workers] == before
    pools[0].close()
