"""Starting trainers from the page: one process, detached, and a sentence when it refuses."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from grpo_core.runs import Command, Run, list_runs
from studio import jobs

TRAINER = Path(__file__).parent / "browser" / "trainer.py"
FEW = ("num_steps=400", "rollout.group_size=4")


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of runs whose trainers are the pretended ones; they end with the test."""
    monkeypatch.setattr(jobs, "TRAINER", [sys.executable, str(TRAINER)])
    folder = tmp_path / "runs"
    yield folder
    for run in list_runs(folder):
        state = run.state()
        if state and run.is_live() and state.pid != os.getpid():
            os.kill(state.pid, signal.SIGKILL)


def request() -> str:
    return secrets.token_hex(16)


def wait_for(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def pid_of(run: Run) -> int:
    wait_for(lambda: run.state() is not None)
    state = run.state()
    assert state
    return state.pid


def step_of(run: Run) -> int:
    state = run.state()
    return state.step if state else 0


def test_start_gives_a_detached_process_that_logs_to_a_file(runs_dir: Path) -> None:
    run = jobs.start(runs_dir, request(), jobs.Start("bundled", "mine", FEW))
    assert run.name == "mine"
    process = psutil.Process(pid_of(run))
    assert os.getsid(process.pid) == process.pid, "a session of its own: Ctrl-C does not reach it"
    open_files = {Path(f"/proc/{process.pid}/fd/{n}").resolve() for n in (1, 2)}
    assert open_files == {run.path / "console.txt"}
    assert Path(f"/proc/{process.pid}/fd/0").resolve() == Path("/dev/null")
    wait_for(lambda: "step 2" in jobs.console(run))
    environment = process.environ()
    assert environment["OMP_WAIT_POLICY"].lower() == "passive"
    assert not [name for name in environment if name.startswith("STREAMLIT_")]


def test_the_same_request_starts_nothing_twice(runs_dir: Path) -> None:
    wanted, same = jobs.Start("bundled", "", FEW), request()
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(jobs.start(runs_dir, same, wanted).name))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["bundled-1"] * 4
    assert [run.name for run in list_runs(runs_dir)] == ["bundled-1"]
    another = jobs.start(runs_dir, request(), wanted)
    assert another.name == "bundled-2"


@pytest.mark.parametrize(("wanted", "said"), [
    (jobs.Start("bundled", "a/b"), "is not a path"),
    (jobs.Start("bundled", "mine", ("optim.learning_rat=1",)), "did you mean learning_rate?"),
    (jobs.Start("nothing", "mine"), "neither a recipe file nor a shipped recipe"),
    (jobs.Start("bundled", "mine", ("num_steps=0",)), "num_steps"),
])  # fmt: skip
def test_a_refusal_is_the_trainers_own_sentence(
    runs_dir: Path, wanted: jobs.Start, said: str
) -> None:
    with pytest.raises(ValueError, match="(?s)" + said.replace("?", r"\?")) as caught:
        jobs.start(runs_dir, request(), wanted)
    assert "Traceback" not in str(caught.value) and not str(caught.value).startswith("error")
    assert list_runs(runs_dir) == []


def test_a_taken_name_is_refused_before_anything_starts(runs_dir: Path) -> None:
    jobs.start(runs_dir, request(), jobs.Start("bundled", "mine", FEW))
    with pytest.raises(ValueError, match="mine: a run of this name exists"):
        jobs.start(runs_dir, request(), jobs.Start("bundled", "mine", FEW))


def test_a_trainer_that_dies_without_a_word(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TRAINER", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ValueError, match="without a word"):
        jobs.start(runs_dir, request(), jobs.Start("bundled", "mine"))


def test_a_trainer_that_never_begins(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TRAINER", [sys.executable, "-c", "import time; time.sleep(3)"])
    monkeypatch.setattr(jobs, "START_TIMEOUT_S", 0.3)
    with pytest.raises(ValueError, match="did not begin within"):
        jobs.start(runs_dir, request(), jobs.Start("bundled", "mine"))


def test_a_disk_that_refuses_is_a_sentence(runs_dir: Path) -> None:
    runs_dir.parent.joinpath("file").touch()
    with pytest.raises(ValueError, match=r"Not a directory|File exists"):
        jobs.start(runs_dir.parent / "file", request(), jobs.Start("bundled", "mine"))


def test_a_killed_trainer_is_crashed_and_leaves_no_zombie(runs_dir: Path) -> None:
    run = jobs.start(runs_dir, request(), jobs.Start("bundled", "mine", FEW))
    pid = pid_of(run)
    wait_for(lambda: run.status() == "running")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: run.status() == "crashed", timeout=5)
    wait_for(lambda: not psutil.pid_exists(pid), timeout=5)


def test_resume_goes_on_once(runs_dir: Path) -> None:
    run = jobs.start(runs_dir, request(), jobs.Start("bundled", "mine", FEW))
    wait_for(lambda: step_of(run) >= 2)
    first = pid_of(run)
    run.send(Command("stop"))
    wait_for(lambda: run.status() == "stopped")
    threads = [threading.Thread(target=jobs.resume, args=(run,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.is_live() and pid_of(run) != first
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    mine = [c for c in commands if str(TRAINER) in c and str(runs_dir) in c]
    assert len(mine) == 1


def test_resume_that_is_refused(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = jobs.start(runs_dir, request(), jobs.Start("bundled", "mine", ("num_steps=1",)))
    wait_for(lambda: run.status() == "completed")
    refuse = "import sys; sys.exit('error: nothing is left to do')"
    monkeypatch.setattr(jobs, "TRAINER", [sys.executable, "-c", refuse])
    with pytest.raises(ValueError, match=r"^nothing is left to do"):
        jobs.resume(run)


def test_the_trainer_outlives_the_server(runs_dir: Path, tmp_path: Path) -> None:
    """SIGKILL to the whole process group of the process that started it."""
    script = tmp_path / "server.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom studio import jobs\n"
        f"jobs.TRAINER = {jobs.TRAINER!r}\n"
        f"jobs.start(Path({str(runs_dir)!r}), 'ab' * 16, jobs.Start('bundled', 'mine', {FEW!r}))\n"
        "print('started', flush=True)\ntime.sleep(60)\n"
    )
    server = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stdout and server.stdout.readline().strip() == "started"
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    run = Run(runs_dir / "mine")
    step = step_of(run)
    wait_for(lambda: step_of(run) >= step + 2)
    assert run.status() == "running"


def test_console_shows_what_stood_there_last(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "console.txt").write_bytes(
        b"first\r\n\x1b[31mbar 10%\rbar 20%\rbar 30%\x1b[0m\nlast \xff line\n"
    )
    assert jobs.console(run) == "first\nbar 30%\nlast \ufffd line"
    (tmp_path / "log.txt").write_text("\n".join(f"line {n}" for n in range(100)))
    assert jobs.console(run, 2) == "line 98\nline 99"


def test_command_line_is_what_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start = jobs.Start("my recipe.yaml", "n", ("data.path=a b",))
    here = jobs.command_line(start, tmp_path / "runs")
    assert here == "grpo-studio train 'my recipe.yaml' --name n --set 'data.path=a b'"
    elsewhere = jobs.command_line(jobs.Start("bundled", ""), tmp_path / "x")
    assert elsewhere == f"grpo-studio train bundled --runs-dir {tmp_path / 'x'}"
