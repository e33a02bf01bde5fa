"""Reward code that was not put to use by this user on this machine is shown, never run, where the
sandbox does not isolate it."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from whole_runs import make_recipe, train

from grpo_core import cli, launch, scorer, trust
from grpo_core.config import RunConfig
from grpo_core.control import Control
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, parse_config, to_yaml
from grpo_core.records import Event
from grpo_core.rewards import from_source, load_version, save_version, to_dicts, version_of
from grpo_core.runs import Command, Run, create_run, find_run
from grpo_core.sandbox_probe import Protection
from grpo_core.store import RunWriter

LIMITED = Protection("limited", ("read your files", "use the network"))
MARKER = "def marker(completion):\n    open('/tmp/marker', 'w').close()\n    return 1.0\n"
SHORT = "def short(completion):\n    return -len(completion) / 50\n"


@pytest.fixture(scope="module")
def trained(random_model, tmp_path_factory):
    """A finished run of one step and the folder of the key it was made with."""
    folder = tmp_path_factory.mktemp("trust")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        _, run = train(folder, "one", make_recipe(random_model, folder), num_steps=1)
    return run, folder / "config"


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy with one step to go, under the key it was made with; the sandbox is limited."""
    made, config = trained
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.setattr(launch, "probe", lambda: LIMITED)
    monkeypatch.setattr(cli, "probe", lambda: LIMITED)
    shutil.copytree(made.path, tmp_path / "one")
    copy = find_run(tmp_path, "one")
    one_more_step(copy)
    return copy


@pytest.fixture
def pools(monkeypatch):
    """Every pool of reward workers that is made."""
    made, real = [], scorer.Pool

    def pool(*arguments):
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(scorer, "Pool", pool)
    return made


def one_more_step(run: Run) -> None:
    state = run.state()
    assert state
    run.send(Command("set", {"overrides": [f"num_steps={state.num_steps + 1}"]}))


def elsewhere(monkeypatch, tmp_path: Path) -> None:
    """From now on this is another machine."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another-config"))


def resume(monkeypatch, capsys, run: Run, *options: str, typed: str = "") -> tuple[int, str]:
    """Exit code of `grpo-studio resume` and what it asks or complains of."""
    arguments = ["grpo-studio", "resume", run.name, "--runs-dir", str(run.path.parent), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    asked = [line for line in said.out.splitlines() if "type the run's name" in line]
    _, found, refused = said.err.rpartition("error: ")  # behind bars of the libraries
    return left.value.code or 0, "".join([*asked, found + refused if found else ""]).rstrip()


def versions(run: Run) -> list[str]:
    return sorted(path.name for path in run.rewards.iterdir())


def events(run: Run, kind: str) -> list[dict]:
    with RunReader(run.db_path) as reader:
        return [event["detail"] for event in reader.events(kinds=[kind])]


# --- resuming ------------------------------------------------------------------------------------


def test_an_own_run_goes_on_without_a_word(run, pools, monkeypatch, capsys):
    assert trust.unmarked(run) == []
    assert resume(monkeypatch, capsys, run) == (0, "")
    assert run.state().step == 2 and pools


def test_a_run_from_elsewhere_is_refused_and_nothing_of_it_runs(
    run, pools, monkeypatch, capsys, tmp_path
):
    elsewhere(monkeypatch, tmp_path)
    monkeypatch.setattr(launch, "prepare", lambda *_: pytest.fail("the model was loaded"))
    before = sorted(run.path.rglob("*"))
    code, said = resume(monkeypatch, capsys, run)
    (version,) = versions(run)
    assert code == 2 and said.startswith("error: one: nothing shows that its rewards were written")
    assert f"read {run.rewards / version / 'digits.py'}, and" in said
    assert "`grpo-studio resume one --trust-rewards`" in said and len(said.splitlines()) == 1
    assert pools == [] and sorted(run.path.rglob("*")) == before
    (found,) = trust.unmarked(run)
    assert found.version == version and found.functions == load_version(run.rewards, version)
    for tier in ("limited", "off"):
        with pytest.raises(ValueError, match="nothing shows that its rewards were written"):
            trust.check(run, found.functions, tier)


def test_where_reward_code_is_isolated_nobody_is_asked_and_nothing_is_marked(
    run, monkeypatch, capsys, tmp_path
):
    elsewhere(monkeypatch, tmp_path)
    monkeypatch.setattr(launch, "probe", lambda: Protection("isolated"))
    run.send(Command("set_rewards", {"functions": to_dicts(from_source(SHORT))}))
    trust.check(run, trust.unmarked(run)[0].functions, "isolated")
    assert resume(monkeypatch, capsys, run) == (0, "")
    assert run.state().step == 2
    assert {one.version for one in trust.unmarked(run)} == set(versions(run))
    assert version_of(from_source(SHORT)) in versions(run)


@pytest.mark.parametrize("typed", ["", "y\n", "yes\n", "One\n", "one two\n"])
def test_anything_but_the_runs_name_is_no_consent(run, pools, monkeypatch, capsys, tmp_path, typed):
    elsewhere(monkeypatch, tmp_path)
    code, said = resume(monkeypatch, capsys, run, "--trust-rewards", typed=typed)
    assert code == 2 and "that was not the run's name; nothing was run" in said
    assert pools == [] and len(trust.unmarked(run)) == 1


def test_consent_is_asked_for_once(run, monkeypatch, capsys, tmp_path):
    elsewhere(monkeypatch, tmp_path)
    run.send(Command("set_rewards", {"functions": to_dicts(from_source(SHORT))}))
    code, said = resume(monkeypatch, capsys, run, "--trust-rewards", typed="one\n")
    assert code == 0 and "type the run's name (one)" in said and "error" not in said
    assert run.state().step == 2
    assert [event["names"] for event in events(run, "reward_version")] == [["digits"], ["short"]]
    one_more_step(run)
    assert resume(monkeypatch, capsys, run) == (0, "")
    assert run.state().step == 3


def test_consent_covers_what_was_shown_and_nothing_else(run, monkeypatch, tmp_path):
    elsewhere(monkeypatch, tmp_path)
    shown = trust.unmarked(run)
    later = save_version(run.rewards, from_source(MARKER))
    trust.consent(run, shown)
    assert [one.version for one in trust.unmarked(run)] == [later]


# --- what somebody could do to the folder --------------------------------------------------------


def test_an_edited_version_is_refused(run, pools, monkeypatch, capsys):
    (run.rewards / versions(run)[0] / "digits.py").write_text(MARKER)
    code, said = resume(monkeypatch, capsys, run)
    assert code == 2 and "cannot be read" in said and pools == []


@pytest.mark.parametrize("mark", [None, "copied", "0" * 64, "", "é" * 64, b"\xff" * 64])
def test_a_version_without_a_mark_of_its_own_is_refused(run, pools, monkeypatch, capsys, mark):
    own = run.rewards / versions(run)[0] / trust.MARK
    added = run.rewards / save_version(run.rewards, from_source(MARKER))
    if mark is not None:
        given = own.read_bytes() if mark == "copied" else mark
        (added / trust.MARK).write_bytes(given if isinstance(given, bytes) else given.encode())
    code, said = resume(monkeypatch, capsys, run)
    assert code == 2 and f"read {added / 'reward.py'}, and" in said and pools == []


def test_a_mark_says_nothing_about_other_texts_that_share_the_version(run, monkeypatch):
    """48 bits are few enough to look for two texts that have them in common."""
    mine, evil = from_source(SHORT), from_source(MARKER)
    for module in ("rewards", "trust"):
        monkeypatch.setattr(f"grpo_core.{module}.version_of", lambda _: "0123456789ab")
    trust.keep(run, mine)
    assert trust.is_marked(run, mine) and not trust.is_marked(run, evil)
    run.send(Command("set_rewards", {"functions": to_dicts(evil)}))
    assert evil in [one.functions for one in trust.unmarked(run)]


def test_other_weights_are_another_reward(run):
    trust.keep(run, from_source(SHORT))
    assert not trust.is_marked(run, from_source(SHORT, {"short": -1.0}))
    assert not trust.is_ours(from_source(MARKER), trust.mark_of(from_source(SHORT)))


@pytest.mark.parametrize("marked", ["not", "for another reward", "elsewhere"])
def test_a_command_that_came_with_the_folder_is_refused(
    run, pools, monkeypatch, capsys, tmp_path, marked
):
    args = {"functions": to_dicts(from_source(MARKER))}
    if marked == "for another reward":
        args["mark"] = trust.mark_of(from_source(SHORT))
    elif marked == "elsewhere":
        with monkeypatch.context() as patch:
            elsewhere(patch, tmp_path)
            args["mark"] = trust.mark_of(from_source(MARKER))
    command = run.send(Command("set_rewards", args))
    code, said = resume(monkeypatch, capsys, run)
    assert code == 2 and f"{command.id}.json, and" in said and pools == []


def test_a_command_of_this_machine_waits_and_is_carried_out(run, monkeypatch, capsys, tmp_path):
    (tmp_path / "short.py").write_text(SHORT)
    arguments = ["apply-reward", "one", str(tmp_path / "short.py"), "--runs-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["grpo-studio", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert resume(monkeypatch, capsys, run) == (0, "")
    assert [event["names"] for event in events(run, "reward_version")] == [["digits"], ["short"]]
    assert trust.unmarked(run) == [] and len(versions(run)) == 2


def test_what_is_kept_of_code_from_elsewhere_gets_no_mark(run, monkeypatch, tmp_path):
    """`apply-reward --keep` and the editor of the page hand on functions that nobody has read."""
    functions = [*load_version(run.rewards, versions(run)[0]), *from_source(SHORT)]
    command = trust.rewards_command(run, functions)
    assert command.args["functions"] == to_dicts(functions)
    assert trust.is_ours(functions, command.args["mark"])
    elsewhere(monkeypatch, tmp_path)
    assert "mark" not in trust.rewards_command(run, functions).args


def test_a_file_that_nobody_reads_is_not_the_one_to_read(run, monkeypatch, tmp_path):
    """The list of a version says which files it takes; another of the file's name lies beside."""
    elsewhere(monkeypatch, tmp_path)
    added = run.rewards / save_version(run.rewards, from_source(MARKER))
    (added / "reward.py").rename(added / "x\x1b[2J.py")
    listed = json.loads((added / "rewards.json").read_text())
    (added / "rewards.json").write_text(json.dumps([{**listed[0], "source": "x\x1b[2J.py"}]))
    (added / "reward.py").write_text(SHORT)
    (found,) = [one for one in trust.unmarked(run) if one.version == added.name]
    assert found.files == (added / "x\x1b[2J.py",) and found.functions[0].source == MARKER
    assert "x?[2J.py" in trust.refusal(run, [found])


def test_a_run_without_a_word_yet_begins_with_the_files_of_its_recipe(tmp_path, monkeypatch):
    path = tmp_path / "evil.py"
    path.write_text(MARKER)
    config = parse_config({"rewards": [{"path": str(path)}]})
    run = create_run(tmp_path, "new", to_yaml(config))
    (found,) = trust.unmarked(run)
    assert found.functions == from_source(MARKER, filename="evil.py") and found.files == (path,)
    monkeypatch.setattr(launch, "probe", lambda: LIMITED)
    with pytest.raises(ValueError, match=r"new: nothing shows .* read /\S*/evil\.py, and"):
        launch.resume(run)
    trust.keep(run, found.functions)  # as `start` does before anything else
    assert trust.unmarked(run) == []
    path.write_text(SHORT)
    assert [one.functions[0].source for one in trust.unmarked(run)] == [SHORT]


def test_what_resume_begins_with_is_checked_whatever_the_database_said(run):
    """A database can answer otherwise when it is asked again."""
    with pytest.raises(ValueError, match="nothing shows"):
        trust.check(run, from_source(MARKER), "limited")
    trust.check(run, from_source(MARKER), "isolated")


def test_what_is_repeated_is_looked_at_again(run):
    """Whatever a file system has made of the look before: here the version came after it."""
    later, taken = from_source(SHORT), []
    version = save_version(run.rewards, later)
    writer = RunWriter(run.db_path)
    detail = {"version": version, "names": ["short"], "command_id": "c"}
    writer.write_event(2, Event("reward_version", detail))
    config = load_recipe(run.config_path)
    control = Control(run, writer, config, taken.append, is_isolated=False)
    with pytest.raises(ValueError, match=r"nothing shows .* resume one --trust-rewards"):
        control.replay(1, 2)
    assert taken == []
    trust.keep(run, later)
    Control(run, writer, config, taken.append, is_isolated=False).replay(1, 2)
    writer.close()
    assert taken == [later]


def test_a_pipe_in_the_inbox_or_among_the_rewards_blocks_nothing(run):
    os.mkfifo(run.inbox / "0.json")
    for name in ("rewards.json", trust.MARK):
        (run.rewards / name[:4]).mkdir()
        os.mkfifo(run.rewards / name[:4] / name)
    assert trust.unmarked(run) == []


# --- a trainer at work ---------------------------------------------------------------------------


def test_a_trainer_takes_commands_of_this_machine_only(random_model, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "probe", lambda: LIMITED)
    config = parse_config({**make_recipe(random_model, tmp_path), "num_steps": 3})

    def on_step(state, metrics):
        run = find_run(tmp_path, "live")
        if state.step == 1 and "train/kl" in metrics:
            run.send(Command("set_rewards", {"functions": to_dicts(from_source(MARKER))}))
        if state.step == 2 and "train/kl" in metrics:
            run.send(trust.rewards_command(run, from_source(SHORT)))

    assert launch.start(tmp_path, "live", config, on_step) == "completed"
    run = find_run(tmp_path, "live")
    assert [event["names"] for event in events(run, "reward_version")] == [["digits"], ["short"]]
    (refused,) = [e["message"] for e in events(run, "notice") if "was refused" in e["message"]]
    assert (
        "set_rewards was refused: nothing shows that these rewards were written by you" in refused
    )
    assert trust.unmarked(run) == [] and len(versions(run)) == 2


# --- the key -------------------------------------------------------------------------------------


def test_tests_have_a_key_of_their_own():
    assert not trust.key_path().is_relative_to(Path.home() / ".config")
    assert trust.key_path().parent.parent == Path(os.environ["XDG_CONFIG_HOME"])


def test_the_key_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    first = trust.mark_of(from_source(SHORT))
    path = tmp_path / "config" / "grpo-studio" / "key"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert len(path.read_bytes()) == 32 and list(path.parent.iterdir()) == [path]
    assert trust.mark_of(from_source(SHORT)) == first != trust.mark_of(from_source(MARKER))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert trust.key_path() == tmp_path / ".config" / "grpo-studio" / "key"


def test_processes_that_make_the_key_at_once_agree(tmp_path):
    code = (
        "import sys, time; from grpo_core.trust import _key\n"
        "print(flush=True); sys.stdin.readline(); print(_key().hex())\n"
    )
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) for _ in range(4)
    ]
    for process in started:
        process.stdout.readline()  # ready
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0].strip() for process in started}
    assert keys == {(tmp_path / "grpo-studio" / "key").read_bytes().hex()}


def test_the_first_of_two_keys_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    trust._make_key(trust.key_path())
    key = trust.key_path().read_bytes()
    trust._make_key(trust.key_path())
    assert trust.key_path().read_bytes() == key
    assert list(trust.key_path().parent.iterdir()) == [trust.key_path()]


@pytest.mark.parametrize("damage", ["no folder", "short"])
def test_without_a_key_nothing_is_marked_and_all_say_so(tmp_path, monkeypatch, damage):
    home = tmp_path / "config"
    if damage == "no folder":
        home.write_text("not a folder")
        reason = "can be kept in .*; set XDG_CONFIG_HOME to a folder"
    else:
        (home / "grpo-studio").mkdir(parents=True)
        (home / "grpo-studio" / "key").write_bytes(b"short")
        reason = "is damaged; delete it"
    run = create_run(tmp_path, "new", to_yaml(RunConfig()))
    mark = trust.mark_of(from_source(SHORT))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    with pytest.raises(trust.NoKey, match=reason):
        trust.keep(run, from_source(SHORT))
    assert not trust.is_ours(from_source(SHORT), mark) and versions(run) == []
    assert "mark" not in trust.rewards_command(run, from_source(SHORT)).args
    found = trust.unmarked(run)
    assert len(found) == 1 and trust.why_no_marks() in trust.refusal(run, found)
    with pytest.raises(trust.NoKey, match=reason):
        trust.consent(run, found)


def test_a_run_starts_without_a_key_and_its_log_says_so(random_model, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("not a folder")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    recipe = make_recipe(random_model, tmp_path)
    status, run = train(tmp_path, "one", recipe, num_steps=1)
    assert status == "completed"
    assert "the rewards are not marked as written here: no key" in run.log_path.read_text()
