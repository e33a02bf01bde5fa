"""What is written can be read, also while writing goes on and after a resume."""

import math
import multiprocessing
import os
import signal
import sqlite3
import zlib

import pytest

from grpo_core.reader import RunReader
from grpo_core.records import (
    EvalResult,
    Event,
    Group,
    Problem,
    Rollout,
    StepStats,
    TokenPass,
    TokenTrace,
)
from grpo_core.store import RunWriter
from grpo_core.traces import channels_of, pack_trace, pieces_of, unpack_trace


def group(text: str = "4", trace: bool = False) -> Group:
    rollout = Rollout(
        [7, 8], [-0.5, -0.25], text, "stop", "ok", 1.0, {"accuracy": 1.0}, correct=True
    )
    if trace:
        numbers = [0.5, -1.25]
        rollout.trace = TokenTrace(["4", "<e>"], *[numbers] * 6)
    fault = Rollout([9], [-1.0], "x", "length", "error", None, {}, "line 3", "out", advantage=None)
    return Group(Problem("p1", "2+2?", "4", {"level": 3}), "Q: 2+2?", [1], [rollout, fault])


def step(number: int, **metrics: float) -> StepStats:
    return StepStats(number, 3, "abc", metrics or {"train/loss": number / 10})


def test_a_step_is_read_back_whole(tmp_path):
    writer = RunWriter(tmp_path / "run.db")
    stats = step(1)
    stats.events.append(Event("notice", {"message": "hello"}))
    writer.write_step(stats, [group(trace=True)])
    writer.write_eval(EvalResult(1, 10, 4, 5.5, 0.1, 2.0))
    with RunReader(tmp_path / "run.db") as reader:  # while the writer is open
        (got,) = reader.groups(1)
        assert (got["prompt"], got["answer"], got["row"]) == ("Q: 2+2?", "4", {"level": 3})
        good, bad = got["rollouts"]
        assert (good["text"], good["reward"], good["parts"]) == ("4", 1.0, {"accuracy": 1.0})
        assert (bad["outcome"], bad["reward"], bad["error"]) == ("error", None, "line 3")
        ids, trace = reader.trace(good["id"])
        assert ids == [7, 8] and trace.pieces == ["4", "<e>"] and trace.logp == [0.5, -1.25]
        assert reader.trace(bad["id"]) is None
        assert reader.last_metrics() == {"train/loss": 0.1, "eval/accuracy": 0.4}
        assert reader.events()[0]["detail"] == {"message": "hello"}
        (summary,) = reader.group_summaries(1)
        assert (summary["num"], summary["num_correct"], summary["reward_mean"]) == (2, 1, 1.0)
        assert summary["prompt"] == "Q: 2+2?"
        named = [reader.group_summaries(1, name)[0]["prompt"] for name in ("level", "no", 'a"b')]
        assert named == ["3", "Q: 2+2?", "Q: 2+2?"], "the column, where there is one"
    writer.close()


def test_a_cursor_sees_every_metric_once(tmp_path):
    writer, seen, since = RunWriter(tmp_path / "run.db"), [], 0
    with RunReader(tmp_path / "run.db") as reader:
        for number in range(1, 6):
            writer.write_step(step(number), [])
            answer = reader.metrics(since, attempt=1)
            seen += [row["step"] for row in answer["rows"]]
            since = answer["last_id"]
    assert seen == [1, 2, 3, 4, 5]
    writer.close()


def test_a_resume_tells_old_cursors_what_to_drop_and_reuses_no_id(tmp_path):
    path = tmp_path / "run.db"
    writer = RunWriter(path)
    for number in range(1, 6):
        writer.write_step(step(number), [group(trace=True)])
    writer.close()
    with RunReader(path) as reader:
        before = reader.metrics()
    writer = RunWriter(path, truncate_after=3)
    writer.write_step(step(4, **{"train/loss": 9.0}), [group()])
    with RunReader(path) as reader:
        after = reader.metrics(before["last_id"], before["attempt"])
        assert after["truncated_after_step"] == 3 and after["attempt"] == 2
        assert [(row["step"], row["value"]) for row in after["rows"]] == [(4, 9.0)]
        assert reader.series("train/loss") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 9.0)]
        assert len(reader.groups(4)) == 1 and reader.groups(5) == []
    connection = sqlite3.connect(path)
    orphans = "SELECT count(*) FROM tokens WHERE rollout_id NOT IN (SELECT id FROM rollouts)"
    assert connection.execute(orphans).fetchone() == (0,)
    connection.close()
    writer.close()


def test_a_step_that_fails_half_way_leaves_nothing(tmp_path):
    writer = RunWriter(tmp_path / "run.db")
    broken = group()
    broken.rollouts[1].reward = object()
    with pytest.raises(sqlite3.Error):
        writer.write_step(step(1), [group(), broken])
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.steps() == [] and reader.groups(1) == [] and reader.last_metrics() == {}
    writer.write_step(step(1), [group()])
    writer.close()


def test_lone_surrogates_and_control_characters_are_stored(tmp_path):
    writer = RunWriter(tmp_path / "run.db")
    writer.write_step(step(1), [group("a\ud800b\x00\x1b[31m\u202e")])
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.groups(1)[0]["rollouts"][0]["text"] == "a\\ud800b\x00\x1b[31m\u202e"
    writer.close()


def _write_until_killed(path, pipe):
    writer = RunWriter(path)
    for number in range(1, 10_000):
        writer.write_step(step(number), [group()])
        pipe.send(number)


def test_every_acknowledged_step_survives_sigkill(tmp_path):
    context = multiprocessing.get_context("spawn")
    for trial in range(3):
        path = tmp_path / f"run{trial}.db"
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_write_until_killed, args=(path, sender))
        process.start()
        acknowledged = [receiver.recv() for _ in range(5 + trial)][-1]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while receiver.poll():
            acknowledged = receiver.recv()
        with RunReader(path) as reader:
            steps = [row["step"] for row in reader.steps()]
            assert steps == list(range(1, len(steps) + 1)) and len(steps) >= acknowledged
            assert all(len(reader.groups(number)) == 1 for number in steps)


def test_trace_blob_keeps_float32_exactly():
    trace = TokenTrace(["a", "é"], [0.1, 2.0], [1.0, 3.5], [-1.0, 0.0], [0.25, 4.0], [1, 1], [0, 1])
    ids, back = unpack_trace(pack_trace([1, 2], trace))
    assert ids == [1, 2] and back.pieces == ["a", "é"]
    assert back.logp[0] == pytest.approx(0.1, abs=1e-8) and back.old == [1.0, 3.5]
    assert back.later == []


def test_trace_blob_keeps_every_pass():
    gone = math.nan
    trace = TokenTrace(["a", "b"], *[[0.5, 0.25]] * 6)
    trace.later = [
        TokenPass([1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]),
        TokenPass([9.0, gone], [10.0, gone], [11.0, gone], [12.0, gone]),
    ]
    blob = pack_trace([1, 2], trace)
    _, back = unpack_trace(blob)
    assert back.later[0] == trace.later[0] and back.logp == [0.5, 0.25]
    assert back.later[1].logp[0] == 9.0 and math.isnan(back.later[1].advantage[1])
    newest = {name: values.tolist() for name, values in channels_of(blob).items()}
    assert newest["logp"] == [9.0, 2.0] and newest["advantage"] == [12.0, 8.0]
    assert newest["ref"] == newest["weight"] == [0.5, 0.25]


def test_a_character_that_is_split_over_tokens_is_whole_at_its_last():
    """Tokens are bytes here, as a byte-level tokenizer has them at worst."""
    text = "a 中😀b"
    ids = list(text.encode())

    def decode(some):
        return bytes(some).decode("utf-8", "replace")

    pieces = pieces_of(ids, decode, lambda one: decode([one]))
    assert pieces == ["a", " ", "", "", "中", "", "", "", "😀", "b"]
    torn = pieces_of([*ids[:3], ord("x")], decode, lambda one: decode([one]))
    assert "".join(torn).endswith("x") and len(torn) == 4


@pytest.mark.parametrize("blob", [b"", b"x", zlib.compress(b"\0\0"), zlib.compress(b"[]" * 40)])
def test_a_damaged_trace_is_a_value_error(blob):
    with pytest.raises(ValueError, match="not the numbers"):
        unpack_trace(blob)
