"""The lock on Linux: each attack works without it and is stopped by it, as root and as others."""

from __future__ import annotations

import ast
import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpo_core import sandbox_lock, sandbox_probe, sandbox_process, sandbox_seatbelt
from grpo_core.sandbox import Call, Function, Pool
from grpo_core.sandbox_probe import ATTACKS, Protection, probe
from grpo_core.sandbox_process import Verdict

ROOT = Path(__file__).parents[1]
NAMES = [name for names in ATTACKS.values() for name in names]
ATTACKS_TEXT = (ROOT / "grpo_core" / "sandbox_attacks.py").read_text()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the lock is Linux's")


def call(text: str, *names: str, lock: bool = True, **columns: Any) -> list[Verdict]:
    """What each function says in a worker, with or without its lock."""
    before, sandbox_process.LOCK = sandbox_process.LOCK, lock
    pool = Pool([Function(text, "r.py", name, False, False) for name in names], 5.0)
    group = {
        "prompt": "", "question": "", "answer": None, "step": 1, "columns": columns,
        "completions": ["text"], "completion_ids": [[1]],
    }  # fmt: skip
    try:
        calls = [Call(index, 0, (0,)) for index in range(len(names))]
        return [verdict for (verdict,) in pool.run([group], calls)]
    finally:
        pool.close()
        sandbox_process.LOCK = before


def test_each_attack_works_without_the_lock_and_none_with_it(monkeypatch):
    with sandbox_probe._targets() as columns:
        # memory has a limit without the lock too
        monkeypatch.setattr(sandbox_process, "MEMORY_BYTES", 8 << 30)
        freely = call(ATTACKS_TEXT, "works", *NAMES, lock=False, **columns)
        for name, verdict in zip(["works", *NAMES], freely, strict=True):
            assert verdict.value == 1.0, (name, verdict)
        Path(columns["folder"], "written").unlink()
        os.chmod(columns["secret"], 0o600)
        monkeypatch.undo()
        works, *locked = call(ATTACKS_TEXT, "works", *NAMES, **columns)
        assert works.value == 1.0
        for name, verdict in zip(NAMES, locked, strict=True):
            assert verdict.outcome == "error" or verdict.value == 0.0, name
        assert os.listdir(columns["folder"]) == ["secret"]
        assert os.stat(columns["secret"]).st_mode & 0o777 == 0o600


def test_the_probe_says_what_is_open(monkeypatch):
    assert probe() == Protection("isolated")
    assert probe().sentence.startswith("Isolated: reward code cannot read or change your files")
    monkeypatch.setattr(sandbox_process, "LOCK", False)
    found = probe()
    # the limit of memory and the clean environment hold without the lock
    assert found.tier == "limited" and set(found.gaps) == set(ATTACKS) - {"take all memory"}
    assert found.sentence.endswith("start programs or outlive the run. Run only what you trust.")
    monkeypatch.setattr(sandbox_process, "_WORKER", "/nowhere.py")
    assert probe().tier == "off"


def test_every_attack_is_tried():
    tree = ast.parse(ATTACKS_TEXT)
    assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} == {
        "works", *NAMES,
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become another user")
def test_an_ordinary_user_is_as_safe(tmp_path):
    """Shown with a copy of the sandbox that they may read, and a Python of the system."""
    python = next(
        path for path in ("/usr/bin/python3", sys.executable)
        if Path(path).exists() and can_run(path)
    )  # fmt: skip
    for name in ("__init__", "programs", "records", "sandbox", "sandbox_attacks", "sandbox_child",
                 "sandbox_limits", "sandbox_lock", "sandbox_probe", "sandbox_process",
                 "sandbox_programs", "sandbox_worker"):  # fmt: skip
        target = tmp_path / "grpo_core" / f"{name}.py"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "grpo_core" / f"{name}.py", target)
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        os.chmod(folder, os.stat(folder).st_mode | 0o055)
    code = "from grpo_core.sandbox_probe import probe; print(probe())"
    done = subprocess.run(
        [python, "-c", code], env={"PYTHONPATH": str(tmp_path)}, user=65534, group=65534,
        extra_groups=[], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(Protection("isolated")), done.stderr


def can_run(python: str) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run(
            [python, "-c", code], user=65534, group=65534, extra_groups=[], check=False
        ).returncode == 0  # fmt: skip
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_root_gives_up_what_makes_it_root():
    text = "import os\ndef f(completion):\n    os.setuid(65534)\n    return 1.0\n"
    assert call(text, "f", lock=False)[0].value == 1.0
    assert call(text, "f")[0].message.startswith("PermissionError")


@pytest.mark.parametrize("lock", [pytest.param(False, marks=pytest.mark.slow), True])
def test_what_tells_the_kernel_to_end_a_worker_cannot_be_let_go(lock):
    """The pipe whose end does it closed, replaced and silenced, and then an endless loop."""
    parent = f"""
import sys
from grpo_core import sandbox_process
from grpo_core.sandbox import *
sandbox_process.LOCK = {lock}
text = '''
import ctypes, fcntl, json, os, signal, sys
def f(completion):
    for number in signal.valid_signals():
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    pipe = json.loads(sys.argv[1])["trace"]
    null = os.open(os.devnull, os.O_RDWR)
    for act in (
        lambda: os.close(pipe),
        lambda: os.closerange(pipe, pipe + 1),
        lambda: os.dup2(null, pipe),
        lambda: os.dup2(null, pipe, inheritable=False),
        lambda: fcntl.fcntl(pipe, fcntl.F_SETFL, 0),
        lambda: fcntl.fcntl(pipe, fcntl.F_SETOWN, 0),
        lambda: fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGURG),
        lambda: fcntl.ioctl(pipe, 0x5452, bytes(4)),
        lambda: fcntl.fcntl(os.dup(pipe), fcntl.F_SETFL, 0),
        lambda: fcntl.fcntl(ctypes.CDLL(None).dup(pipe), fcntl.F_SETFL, 0),
        lambda: fcntl.fcntl(os.dup2(pipe, 90), fcntl.F_SETFL, 0),
        lambda: fcntl.fcntl(os.dup2(pipe, 91, inheritable=False), fcntl.F_SETFL, 0),
    ):
        try: act()
        except (OSError, ValueError): pass
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    while True: pass
'''
pool = Pool([Function(text, "r.py", "f", False, False)], 600.0)
group = dict(prompt="", question="", answer="", step=0, columns=dict(),
             completions=["1"], completion_ids=[[1]])
print("ready", flush=True)
pool.run([group], [Call(0, 0, (0,))])
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"ready\n"
        time.sleep(1.0)  # the call is under way
        workers = psutil.Process(process.pid).children()
        busy = max(workers, key=lambda worker: worker.cpu_times().user)
        assert busy.cpu_times().user > 0.3
        process.send_signal(signal.SIGKILL)
    _, left = psutil.wait_procs(workers, timeout=1)
    alive = [one for one in left if one.status() != psutil.STATUS_ZOMBIE]
    for one in alive:
        one.kill()
    assert alive == ([] if lock else [busy])


def test_calls_of_a_kernel_to_come_are_unknown():
    text = (
        "import ctypes\n"
        "def f(completion, number):\n"
        "    ctypes.set_errno(0)\n"
        "    assert ctypes.CDLL(None, use_errno=True).syscall(number, 0, 0, 0) == -1\n"
        "    return float(ctypes.get_errno())\n"
    )
    enosys, eperm = 38, 1
    assert call(text, "f", number=sandbox_lock._NEWEST)[0].value == enosys
    assert call(text, "f", number=10_000)[0].value == enosys
    assert call(text, "f", number=435)[0].value == enosys  # clone3
    assert call(text, "f", number=425)[0].value == eperm  # io_uring_setup


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a table of x86_64")
def test_denied_calls_are_denied_one_by_one():
    """All numbers of the table, with arguments that do nothing where the call is allowed."""
    text = (
        "import ctypes\n"
        "def f(completion, numbers):\n"
        "    libc = ctypes.CDLL(None, use_errno=True)\n"
        "    answers = []\n"
        "    for number in numbers:\n"
        "        ctypes.set_errno(0)\n"
        "        libc.syscall(number, -1, -1, -1, -1, -1)\n"
        "        answers.append(ctypes.get_errno())\n"
        "    print(answers)\n"
        "    return 1.0\n"
    )
    numbers = [both[0] for both in sandbox_lock._DENIED.values()]
    verdict = call(text, "f", numbers=numbers)[0]
    assert ast.literal_eval(verdict.printed) == [1] * len(numbers)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "x86_64-linux-gnu/asm/unistd_64.h"), (1, "asm-generic/unistd.h")],
    ids=["x86_64", "aarch64"],
)
def test_the_tables_numbers_are_the_kernels(column, header):
    """Against the headers of the kernel, where they are installed."""
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip("no headers of the kernel")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())
    known = {name: int(number) for name, number in defined}
    checked = 0
    for name, numbers in (sandbox_lock._DENIED | sandbox_lock._PARTLY).items():
        if name in known:  # the headers may be older
            assert known[name] == numbers[column], name
            checked += 1
        else:
            assert numbers[column] is None or numbers[column] > 450, name
    assert checked > 90


def test_of_a_project_the_package_alone_is_readable(monkeypatch):
    """An editable install stands beside runs and secrets, a plain one beside packages."""
    assert str(ROOT / "grpo_core") in sandbox_lock.readable()
    assert not {str(ROOT), str(Path.home()), "/", "/etc", "/proc"} & set(sandbox_lock.readable())
    where = "/home/me/.local/lib/python3.11/site-packages"
    monkeypatch.setattr(sandbox_lock, "__file__", f"{where}/grpo_core/sandbox_lock.py")
    assert sandbox_lock.readable()[-1] == where


def test_libraries_of_math_work_inside():
    text = (
        "import numpy as np, sympy as sp\n"
        "from math_verify import parse, verify\n"
        "def f(completion):\n"
        "    x = sp.symbols('x')\n"
        "    assert sp.simplify((x**2 - 1) / (x - 1) - x - 1) == 0\n"
        "    assert np.allclose(np.linalg.inv(np.eye(64) * 2), np.eye(64) / 2)\n"
        "    assert verify(parse('$\\\\frac{1}{2}$'), parse('it is $0.5$'))\n"
        "    return 1.0\n"
    )
    (verdict,) = call(text, "f")
    assert verdict.value == 1.0, verdict


def test_the_lock_says_which_layers_hold():
    code = (
        "import os, sys; from grpo_core.sandbox_lock import lock\n"
        "end, other = os.pipe(); print(lock(end), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "['privileges', 'landlock', 'seccomp']", done.stderr
    assert ctypes.sizeof(ctypes.c_void_p) == 8  # what struct sock_fprog is packed for


def test_a_lock_that_nothing_works_with_is_left_off_until_it_works(monkeypatch, tmp_path):
    """With a lock that ends each worker; nobody is told more than is true."""
    broken = tmp_path / "broken.py"
    text = Path(sandbox_process._WORKER).read_text()
    assert 'if settings["lock"]:' in text
    broken.write_text(
        text.replace('if settings["lock"]:', 'if settings["lock"]:\n        os._exit(3)')
    )
    with monkeypatch.context() as patched:
        patched.setattr(sandbox_process, "_WORKER", str(broken))
        found = probe()
        assert found.tier == "limited" and "read your files" in found.gaps
        assert sandbox_process.LOCK_FAILS
        pool = Pool([Function("def f(completion): return 1\n", "r.py", "f", False, False)], 2.0)
        group = {
            "prompt": "", "question": "", "answer": "", "step": 0, "columns": {},
            "completions": ["x"], "completion_ids": [[1]],
        }  # fmt: skip
        assert pool.run([group], [Call(0, 0, (0,))])[0][0].value == 1.0
        pool.close()
    assert probe().tier == "isolated" and not sandbox_process.LOCK_FAILS


def test_a_moment_of_trouble_costs_no_protection(monkeypatch):
    real, tried = sandbox_probe._try_all, []

    def troubled():
        tried.append(sandbox_process.LOCK_FAILS)
        return Protection("off") if len(tried) == 1 else real()

    monkeypatch.setattr(sandbox_probe, "_try_all", troubled)
    assert probe().tier == "isolated" and tried == [False, False]
    # and where nothing works at all, the lock is not what is to blame
    monkeypatch.setattr(sandbox_probe, "_try_all", lambda: Protection("off"))
    assert probe().tier == "off" and not sandbox_process.LOCK_FAILS


def test_rules_of_seatbelt_name_real_paths(tmp_path, monkeypatch):
    """What can be tested without a Mac: the text. Reading comes last, so that it wins."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lib")
    (tmp_path / 'a "b').mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    readable = [str(tmp_path / "link"), str(tmp_path / "none"), str(tmp_path / 'a "b')]
    rules = sandbox_seatbelt.profile(readable).split("\n")
    assert rules[:2] == ["(version 1)", "(allow default)"]
    assert {"(deny network*)", "(deny file-write*)", "(deny process-fork)"} <= set(rules)
    assert rules[-2].startswith('(deny file-read-data (subpath "/Users")')
    assert rules[-2].endswith(f'(subpath "{tmp_path}"))')
    quoted = f'{tmp_path}/a \\"b'
    assert rules[-1] == f'(allow file-read-data (subpath "{tmp_path}/lib") (subpath "{quoted}"))'
    assert sum(rule.count("(") - rule.count(")") for rule in rules) == 0
