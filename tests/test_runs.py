"""Names, status from disk, inbox and lock of a run folder."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from grpo_core.runs import Command, RunState, create_run, find_run, free_name, list_runs


def state(pid: int, create_time: float, status: str = "running") -> RunState:
    return RunState(status, pid, create_time, time.time(), 3, 10)


@pytest.mark.parametrize(
    "name",
    ["../up", "/abs", "a/b", "a\\b", "", ".hidden", "-dash", "a\nb", "a\0b", "x" * 65, "é", "a."],
)
def test_a_name_that_is_a_path_or_no_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="a run's name has 1 to 64"):
        create_run(tmp_path, name, "")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused_and_nothing_is_lost(tmp_path):
    create_run(tmp_path, "one", "seed: 1\n")
    with pytest.raises(ValueError, match="one: a run of this name exists"):
        create_run(tmp_path, "one", "seed: 2\n")
    assert find_run(tmp_path, "one").config_path.read_text() == "seed: 1\n"
    assert free_name(tmp_path, "one") == "one-1"


def test_a_link_out_of_the_folder_is_no_run(tmp_path):
    create_run(tmp_path / "elsewhere", "real", "")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere" / "real")
    assert list_runs(tmp_path / "runs") == []
    with pytest.raises(ValueError, match="no such run"):
        find_run(tmp_path / "runs", "link")


def test_status_follows_the_process(tmp_path):
    run = create_run(tmp_path, "one", "")
    assert run.status() == "starting"
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    created = psutil.Process(child.pid).create_time()
    run.write_state(state(child.pid, created))
    assert run.status() == "running" and run.is_live()
    run.write_state(state(child.pid, created - 100))  # the pid now belongs to somebody else
    assert run.status() == "crashed"
    run.write_state(state(child.pid, created))
    child.kill()
    time.sleep(0.2)
    assert run.status() == "crashed"  # still a zombie here
    child.wait()
    assert run.status() == "crashed"
    run.write_state(state(child.pid, created, "completed"))
    assert run.status() == "completed"


def test_commands_arrive_in_order_and_rubbish_is_reported(tmp_path):
    run = create_run(tmp_path, "one", "")
    first, second = run.send(Command("pause")), run.send(Command("continue"))
    (run.inbox / "zzz.json").write_text('{"kind": "rm -rf"}')
    taken = list(run.take_commands())
    assert [command and command.id for command, _ in taken] == [first.id, second.id, None]
    run.send(Command("set", {"overrides": ["num_steps=5"]}))
    run.forget_wishes()
    assert [c.kind for c, _ in run.take_commands() if c] == ["set"]


def test_one_trainer_at_a_time_and_a_kill_frees_the_lock(tmp_path):
    run = create_run(tmp_path, "one", "")
    code = (
        "import sys, time, pathlib; from grpo_core.runs import Run\n"
        f"with Run(pathlib.Path({str(run.path)!r})).lock():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="another process is training"), run.lock():
        pass
    threading.Timer(0.3, holder.kill).start()
    with run.lock(wait_s=10):  # one that is about to end is waited for
        pass
    holder.wait()


def test_delete_spares_a_live_run(tmp_path):
    run = create_run(tmp_path, "one", "")
    me = psutil.Process()
    run.write_state(state(me.pid, me.create_time()))
    with pytest.raises(ValueError, match="is running; stop it first"):
        run.delete()
    run.write_state(state(me.pid, me.create_time(), "stopped"))
    run.delete()
    assert list(tmp_path.iterdir()) == []
