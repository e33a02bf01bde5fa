"""The Inspector: its page, its routes, the objective with a token's numbers, and what if."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser.recorded import record_run
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_pages import open_page, payload, texts

from grpo_core.advantages import assign
from grpo_core.algorithm_config import objective_of
from grpo_core.algorithms import ALGORITHMS
from grpo_core.config import RunConfig
from grpo_core.group_reader import GroupReader
from grpo_core.recipe import parse_config
from grpo_core.records import Event, TokenPass, TokenTrace
from grpo_core.runs import Run, create_run
from grpo_core.store import RunWriter
from grpo_core.terms import Numbers, terms_of
from grpo_core.traces import pack_trace
from studio import api, data, figures, formula, groups, inspector_address, token_story


@pytest.fixture
def client(recorded: Run) -> TestClient:
    return TestClient(Starlette(routes=api.routes()))


@pytest.fixture
def reader(recorded: Run) -> Iterator[GroupReader]:
    with GroupReader(recorded.db_path) as reader:
        yield reader


def ask(client: TestClient, path: str) -> Any:
    answer = client.get(f"/api/runs/bundled-1/{path}")
    assert answer.status_code == 200, path
    return answer.json()


def change(run: Run, statement: str, *values: Any) -> None:
    writer = RunWriter(run.db_path)
    writer._db.execute(statement, values)
    writer.close()


# --- routes --------------------------------------------------------------------------------------


def test_a_step_and_its_groups(client: TestClient, recorded: Run) -> None:
    assert ask(client, "steps") == {"kind": "run", "first": 1, "last": 24, "attempt": 1}
    view = ask(client, "step/20")
    stored = groups.read(recorded, lambda r: r.groups(20), [])
    assert [group["id"] for group in view["groups"]] == [group["id"] for group in stored]
    for shown, group in zip(view["groups"], stored, strict=True):
        rewards = [one["reward"] for one in group["rollouts"]]
        assert shown["reward_mean"] == pytest.approx(sum(rewards) / len(rewards))
        assert shown["num_correct"] == sum(one["correct"] for one in group["rollouts"])
        assert shown["flat"] == all(not one["advantage"] for one in group["rollouts"])
        assert "<|" not in shown["prompt"], "the template's marks say nothing"
    assert [group["num_traced"] for group in view["groups"]] == [8] * 4 + [0] * 12


def test_completions_stand_best_to_worst_with_their_parts(client: TestClient) -> None:
    first = ask(client, "step/20")["groups"][0]
    group = ask(client, f"group/{first['id']}")
    rewards = [one["reward"] for one in group["rollouts"]]
    assert rewards == sorted(rewards, reverse=True) and len(rewards) == 8
    for one in group["rollouts"]:
        adds = {part["name"]: part["adds"] for part in one["parts"]}
        assert sum(adds.values()) == pytest.approx(one["reward"])
        assert adds["short"] == pytest.approx(-0.2 * len(one["text"]) / 200)
    assert [one["rank"] for one in group["rollouts"]] == list(range(1, 9))


def test_an_advantage_is_worked_out_from_the_rewards(client: TestClient) -> None:
    first = ask(client, "step/20")["groups"][0]
    rollouts = ask(client, f"group/{first['id']}")["rollouts"]
    assert len({one["advantage"] for one in rollouts}) > 2
    for one in rollouts:
        assert one["why"]["formula"] == "A = (R − mean(R)) / (std(R) + 10⁻⁴)"
        numbers = one["why"]["numbers"].replace("10⁻⁴", "0.0001")
        assert eval_of(numbers) == pytest.approx(one["advantage"], rel=5e-3, abs=5e-3)
        assert one["why"]["value"] == one["advantage"]


def line_of(rewards: list[float], of_token: bool = False, **algorithm: Any) -> formula.Line:
    config = parse_config({"algorithm": algorithm})
    known = formula.comparable(config, rewards[0], rewards[1:])
    advantage = assign([rewards], "zscore")[0][0] or 0.0
    return formula.advantage_line(config, known, advantage, of_token)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 1e-5])
def test_rewards_far_from_0_are_told_with_digits_enough(scale: float) -> None:
    rewards = [12.3 + scale * 100, 12.4 + scale * 100, 12.1 + scale * 100]
    line = line_of(rewards, name="deepseekmath")
    assert eval_of(line.numbers.replace("10⁻⁴", "0.0001")) == pytest.approx(line.value, rel=2e-2)


def test_what_else_is_in_an_advantage_is_said() -> None:
    plain = line_of([1.0, 0.0, 0.5], name="deepseekmath", importance_cap=2.0)
    assert plain.numbers and not plain.note, "of the completion it is not corrected"
    token = line_of([1.0, 0.0, 0.5], of_token=True, name="deepseekmath", importance_cap=2.0)
    assert "π_engine" in token.note and not token.numbers
    dapo = line_of([1.0, 0.0, 0.5], name="dapo")
    assert dapo.note == "R less the penalty for its length" and not dapo.numbers
    ppo = line_of(
        [1.0, 0.0, 0.5], name="ppo", kl_place="reward", kl_estimator="k1", kl_coefficient=0.1
    )
    assert ppo.note == (
        "mean over its tokens; whitened over the step; "
        "R less 0.1 · at each token, (log π_old − log π_ref)"
    )
    assert line_of([1.0, 0.0], name="prefix_attention").note == "mean over its tokens"


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight", "note"),
    [
        (1.00045, 1.5, 0.1, "beyond the clip: no gradient"),
        (1.00045, -1.5, 0.1, "beyond the clip on the side where it does not act"),
        (1.00035, 1.5, 0.1, ""),
    ],
)
def test_a_clip_of_ten_thousandths_is_told(
    ratio: float, advantage: float, weight: float, note: str
) -> None:
    config = parse_config({"algorithm": {"name": "gspo"}})
    channels = {"ref": [-1.0], "entropy": [0.7], "advantage": [advantage], "weight": [weight]}
    numbers = Numbers.of(logp=[-1.0], old=[-1.0 - np.log(ratio)], **channels)
    objective = objective_of(config.algorithm)
    token = formula.Token.at(0, numbers, terms_of(objective, numbers))
    lines = formula.lines_of(config, objective, token, formula.Around([1.0, 0.0], 2, 5))
    (term,) = [line for line in lines if line["name"] == "Policy term"]
    held = min(ratio * advantage, min(max(ratio, 1 - 3e-4), 1 + 4e-4) * advantage)
    assert eval_of(term["numbers"]) == pytest.approx(held, abs=1e-6)
    assert term["note"] == note


@pytest.mark.parametrize(("weight", "note"), [(0.1, "beyond the clip: no gradient"), (0.0, "")])
def test_the_clip_does_not_act_on_what_is_left_out(weight: float, note: str) -> None:
    config = parse_config({"algorithm": {"name": "dapo"}})
    channels = {"ref": [-1.0], "entropy": [0.7], "advantage": [1.5], "weight": [weight]}
    numbers = Numbers.of(logp=[-1.0], old=[-1.5], **channels)
    objective = objective_of(config.algorithm)
    token = formula.Token.at(0, numbers, terms_of(objective, numbers))
    lines = formula.lines_of(config, objective, token, formula.Around([1.0, 0.0], 2, 5))
    assert [line["note"] for line in lines if line["name"] == "Policy term"] == [note]


@pytest.mark.parametrize("column", ["reward", "advantage"])
def test_a_reward_that_is_no_number_is_said(client: TestClient, recorded: Run, column: str) -> None:
    first = ask(client, "step/20")["groups"][1]
    change(recorded, f"UPDATE rollouts SET {column} = 'abc' WHERE group_id = ?", first["id"])
    assert "is no number" in ask(client, f"group/{first['id']}")["problem"]


def test_a_recipe_that_cannot_be_read_is_said(client: TestClient, recorded: Run) -> None:
    """The numbers are stored; how they came about is not told as if it were known."""
    recorded.config_path.write_text("algorithm: [")
    first = ask(client, "step/20")["groups"][0]
    rollout = ask(client, f"group/{first['id']}")["rollouts"][0]
    assert rollout["advantage"] is not None and rollout["why"] is None
    own = ask(client, f"formula/{rollout['id']}?at=0")["own"]
    assert "cannot be read" in own["notes"][0]
    assert client.get("/api/runs/bundled-1/here").json() == {}


def test_completions_without_a_reward_come_last_with_their_reason(
    client: TestClient, recorded: Run
) -> None:
    change(
        recorded,
        "UPDATE rollouts SET reward = NULL, advantage = NULL, outcome = 'timeout', error = 'slow'"
        " WHERE idx = 0 AND group_id IN (SELECT id FROM groups WHERE step = 3)",
    )
    shown = ask(client, "step/3")["groups"]
    assert shown[0]["num_faults"] == 1
    last = ask(client, f"group/{shown[0]['id']}")["rollouts"][-1]
    assert (last["reward"], last["outcome"], last["error"]) == (None, "timeout", "slow")


def test_a_group_has_signal_where_it_has_an_advantage(empty: Path) -> None:
    """Not where its rewards differ: a critic, a KL or a penalty may tell equal ones apart."""
    config = RunConfig.model_validate({"algorithm": {"name": "ppo"}})
    run = record_run(empty, "with-critic", 2, "completed", config=config, prompts=3)
    change(run, "UPDATE rollouts SET reward = 1, advantage = 0.5")
    change(run, "UPDATE rollouts SET advantage = 0 WHERE group_id = 5")
    change(run, "UPDATE rollouts SET reward = NULL, advantage = NULL WHERE group_id = 6")
    view = groups.read(run, lambda reader: groups.step_view(reader, run, 2), None)
    assert [group["flat"] for group in view["groups"]] == [False, True, True]
    assert view["still_pulls"] is False
    write = RunConfig.model_validate({"algorithm": {"name": "deepseekmath"}})
    other = record_run(empty, "with-kl", 1, "completed", config=write, prompts=1)
    assert groups.read(other, lambda r: groups.step_view(r, other, 1), None)["still_pulls"]


@pytest.mark.slow
def test_very_long_texts_are_cut_for_the_page(client: TestClient, recorded: Run) -> None:
    change(recorded, "UPDATE rollouts SET text = ?", "x" * 100_000)
    first = ask(client, "step/3")["groups"][0]
    text = ask(client, f"group/{first['id']}")["rollouts"][0]["text"]
    assert len(text) < 21_000 and text.endswith("80,000 more characters")


def test_tokens_have_the_numbers_that_were_stored(
    client: TestClient, recorded: Run, reader: GroupReader
) -> None:
    rollout = reader.groups(5)[0]["rollouts"][2]
    ids, trace = reader.trace(rollout["id"])
    trace.later = [TokenPass(*[[value - 0.3 for value in trace.logp]] * 4)]
    change(
        recorded,
        "UPDATE tokens SET blob = ? WHERE rollout_id = ?",
        pack_trace(ids, trace),
        rollout["id"],
    )
    shown = ask(client, f"tokens/{rollout['id']}")
    assert shown["pieces"] == trace.pieces and len(shown["passes"]) == 2
    first, second = shown["passes"]
    assert first["logp"] == pytest.approx(trace.logp, rel=1e-5)
    assert first["ratio"] == pytest.approx(np.exp(np.subtract(trace.logp, trace.old)), rel=1e-5)
    assert second["kl"] == pytest.approx(np.subtract(trace.logp, trace.ref) - 0.3, abs=1e-5)
    # what the bundled recipe makes of them: PPO's clip at 0.2, k3 with a coefficient of 0.04
    apart = np.subtract(trace.ref, trace.logp)
    ratio, advantage = np.array(first["ratio"]), np.array(trace.advantage)
    term = -np.minimum(ratio * advantage, ratio.clip(0.8, 1.2) * advantage)
    loss = np.array(trace.weight) * (term + 0.04 * (np.exp(apart) - 1 - apart))
    assert first["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-9)


def test_strips_are_the_tokens_in_a_byte_each(client: TestClient, reader: GroupReader) -> None:
    group = reader.groups(5)[0]
    content = client.get(f"/api/runs/bundled-1/strips/{group['id']}").content
    (size,) = struct.unpack_from("<I", content)
    header, at = json.loads(content[4 : 4 + size]), 4 + size
    assert header["channels"] == ["logp", "entropy", "kl", "ratio", "loss", "advantage"]
    strongest = 0
    for given, rollout in zip(header["rollouts"], group["rollouts"], strict=True):
        _, trace = reader.trace(rollout["id"])
        assert (given["id"], given["num"]) == (rollout["id"], len(trace.logp))
        table = np.frombuffer(content[at : at + 6 * given["num"]], dtype=np.int8).reshape(6, -1)
        expected = 127 * np.clip(-np.array(trace.logp) / 5, -1, 1)
        assert table[0] == pytest.approx(expected, abs=1)
        ratios = np.exp(np.subtract(trace.logp, trace.old))
        assert table[3] == pytest.approx(127 * np.clip((ratios - 1) / 0.2, -1, 1), abs=1)
        strongest = max(strongest, np.abs(table[4]).max())
        at += 6 * given["num"]
    assert at == len(content) and strongest == 127, "the group's largest share is full colour"


def test_the_next_step_that_is_worth_it(client: TestClient, recorded: Run) -> None:
    change(
        recorded,
        "UPDATE rollouts SET advantage = 0 WHERE group_id IN"
        " (SELECT id FROM groups WHERE step BETWEEN 8 AND 11)",
    )
    assert ask(client, "next?kind=signal&step=7")["step"] == 12
    assert ask(client, "next?kind=signal&step=12&back=1")["step"] == 7
    assert ask(client, "next?kind=signal&step=24") == {}


def test_a_drop_is_two_deviations_below_the_ten_before() -> None:
    values = np.array([0.5, 0.6] * 10 + [0.46, 0.43, 0.3] + [0.5, 0.6] * 5)
    steps = np.arange(1, len(values) + 1)
    mean, deviation = 0.55, 0.05  # of ten steps of 0.5 and 0.6
    assert mean - 2 * deviation < 0.46
    before = values[11:21]  # of step 22
    assert before.mean() - 2 * before.std() > 0.43
    assert groups.drops(steps, values).tolist() == [22], "the first of those that follow"
    assert groups.drops(steps[:10], values[:10]).tolist() == []


def test_the_same_problem_at_other_steps(client: TestClient, recorded: Run) -> None:
    change(recorded, "UPDATE groups SET problem_id = 'one' WHERE id IN (3, 40, 90)")
    times = ask(client, "times/40")["groups"]
    assert [one["id"] for one in times] == [3, 40, 90]
    assert ask(client, "group/40")["num_times"] == 3
    stored = groups.read(recorded, lambda r: r.group(90), None)["rollouts"]
    assert times[-1]["num_correct"] == sum(one["correct"] for one in stored)
    assert times[-1]["reward_mean"] == pytest.approx(np.mean([one["reward"] for one in stored]))


def test_finding_a_text(client: TestClient, recorded: Run) -> None:
    change(recorded, "UPDATE rollouts SET text = 'a 100% Sure_thing' WHERE id IN (9, 300, 2000)")
    found = ask(client, "find?text=100%25%20sURE_&before=24&steps=1000")
    assert [hit["id"] for hit in found["hits"]] == [2000, 300, 9]
    assert (found["before"], found["after"]) == (0, 0)
    hit = found["hits"][0]
    stored = groups.read(recorded, lambda r: r.group(hit["group_id"]), None)
    assert hit["text"] == "a 100% Sure_thing" and "<|" not in hit["prompt"]
    assert stored and hit["prompt"] in stored["prompt"] and len(hit["prompt"]) > 10
    (own,) = [one for one in stored["rollouts"] if one["id"] == 2000]
    assert (hit["correct"], hit["reward"]) == (own["correct"], own["reward"])
    assert ask(client, "find?text=Sure%25thing&before=24&steps=1000")["hits"] == []
    part = ask(client, "find?text=Sure&before=24&steps=10")
    assert part["before"] == 14 and [hit["id"] for hit in part["hits"]] == [2000]


def test_a_search_goes_on_where_a_full_page_ended(client: TestClient, recorded: Run) -> None:
    change(recorded, "UPDATE rollouts SET text = 'needle' WHERE id % 3 = 0")
    with GroupReader(recorded.db_path) as reader:
        ids = {one["id"] for step in range(1, 25) for one in reader.step_rollouts(step)}
    hits, before, after = [], 24, 0
    while before:
        page = ask(client, f"find?text=needle&steps=5&before={before}&after={after}")
        hits += [hit["id"] for hit in page["hits"]]
        before, after = page["before"], page["after"]
    assert len(hits) == len(set(hits)) and set(hits) == {i for i in ids if i % 3 == 0}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("tokens/999999", 404), ("tokens/x", 404), ("group/999999", 404), ("strips/999999", 200),
        ("step/99999", 200), ("step/x", 404), ("times/999999", 200), ("find?before=3", 400),
        ("find?text=x&before=y", 400), ("next?step=-1", 400), ("formula/9?at=99999", 404),
        ("formula/999999?at=0", 404), ("formula/2000?at=0", 404), ("formula/9?at=0&row=x", 200),
    ],
)  # fmt: skip
def test_routes_with_bad_input(client: TestClient, path: str, status: int) -> None:
    assert client.get(f"/api/runs/bundled-1/{path}").status_code == status


FEW = pack_trace([1], TokenTrace())
"""Numbers for one token that has none."""


@pytest.mark.parametrize("blob", [b"", b"not deflated", FEW])
def test_damaged_numbers_are_said(client: TestClient, recorded: Run, blob: bytes) -> None:
    change(recorded, "UPDATE tokens SET blob = ?", blob)
    first = ask(client, "step/5")["groups"][0]
    rollout = ask(client, f"group/{first['id']}")["rollouts"][0]
    for path in (f"tokens/{rollout['id']}", f"formula/{rollout['id']}"):
        assert "not the numbers of a completion" in ask(client, path)["problem"]
    strips = client.get(f"/api/runs/bundled-1/strips/{first['id']}").content
    assert b'"rollouts": []' in strips, "one that is damaged does not hide the others"


def test_a_damaged_database_is_said_and_another_run_is_shown(
    client: TestClient, recorded: Run, empty: Path
) -> None:
    broken = create_run(empty, "broken", "num_steps: 3\n")
    broken.db_path.write_text("this is not a database, but it is long enough " * 40)
    said = client.get("/api/runs/broken/steps").json()
    assert said["first"] is None and "file is not a database" in said["problem"]
    assert (
        "Its other files are untouched" in client.get("/api/runs/broken/step/1").json()["problem"]
    )
    cut = create_run(empty, "cut", "num_steps: 3\n")
    whole = recorded.db_path.read_bytes()
    cut.db_path.write_bytes(whole[: len(whole) // 3])
    assert "cannot be read" in client.get("/api/runs/cut/steps").json()["problem"]
    begun = create_run(empty, "begun", "num_steps: 3\n")
    answer = client.get("/api/runs/begun/steps").json()
    assert (answer["first"], answer.get("problem")) == (None, None) and begun
    assert ask(client, "steps")["last"] == 24


# --- the objective with its numbers --------------------------------------------------------------


def told(reader: GroupReader, run: Run, rollout: int, row: str = "") -> dict[str, Any]:
    found = token_story.story(reader, run, rollout, 1, 0, row)
    assert found is not None
    return found


def values_of(side: dict[str, Any]) -> dict[str, float]:
    return {line["name"]: line["value"] for line in side["lines"]}


def test_the_formula_says_what_the_update_used(reader: GroupReader, recorded: Run) -> None:
    group = reader.groups(7)[1]
    rollout = group["rollouts"][3]
    _, trace = reader.trace(rollout["id"])
    own = values_of(told(reader, recorded, rollout["id"])["own"])
    assert own["Ratio"] == pytest.approx(np.exp(trace.logp[1] - trace.old[1]))
    assert own["Advantage"] == trace.advantage[1] and own["Weight"] == trace.weight[1]
    k3 = np.exp(trace.ref[1] - trace.logp[1]) - 1 - (trace.ref[1] - trace.logp[1])
    assert own["KL"] == pytest.approx(k3)
    assert own["Share of the loss"] == pytest.approx(
        trace.weight[1] * (-own["Policy term"] + 0.04 * k3)
    )
    lines = {line["name"]: line for line in told(reader, recorded, rollout["id"])["own"]["lines"]}
    assert lines["Weight"]["numbers"] == f"1 / (128 · {len(trace.logp)})"
    likelier = own["Gradient"] < 0
    assert lines["Gradient"]["note"].startswith(
        "makes this token likelier" if likelier else "makes this token less likely"
    )


@pytest.mark.parametrize("row", ALGORITHMS)
def test_the_same_token_under_every_row(reader: GroupReader, recorded: Run, row: str) -> None:
    """Another row's own advantage of the stored rewards, its own weight, its own loss."""
    step = reader.groups(7)
    group, rollout = step[1], step[1]["rollouts"][3]
    found = told(reader, recorded, rollout["id"], row)["other"]
    values, config = values_of(found), parse_config({"algorithm": {"name": row}})
    lengths = [one["num_tokens"] for g in step for one in g["rollouts"]]
    weights = {
        "seq_sum": 1 / len(lengths),
        "seq_mean": 1 / (len(lengths) * rollout["num_tokens"]),
        "token_mean": 1 / sum(lengths),
        "dr_grpo": 1 / (len(lengths) * config.rollout.max_new_tokens),
    }
    assert values["Weight"] == pytest.approx(weights[config.algorithm.aggregation])
    assert found["row"] == row and ("Ratio" in values) == (config.algorithm.ratio_level != "none")
    if row == "loo":
        rewards = [one["reward"] for one in group["rollouts"]]
        assert values["Advantage"] == pytest.approx(assign([rewards], "loo")[0][3])
    if row in ("as_written", "rloo"):
        traces = [reader.trace(one["id"])[1] for one in group["rollouts"]]
        kl = [sum(t.old) - sum(t.ref) for t in traces]
        beta = config.algorithm.kl_coefficient
        less = [o["reward"] - beta * k for o, k in zip(group["rollouts"], kl, strict=True)]
        assert values["Advantage"] == pytest.approx(
            assign([less], config.algorithm.advantage)[0][3]
        )
        assert any("have kept no tokens" in note for note in found["notes"]), (
            "other groups have none"
        )


def test_the_formula_follows_a_setting_that_was_changed(recorded: Run) -> None:
    writer = RunWriter(recorded.db_path)
    writer.write_event(6, Event("setting", {"overrides": ["algorithm.kl_coefficient=0.5"]}))
    writer.close()
    with GroupReader(recorded.db_path) as reader:
        for step, beta in ((5, "0.04"), (6, "0.5")):
            rollout = reader.groups(step)[0]["rollouts"][0]
            lines = told(reader, recorded, rollout["id"])["own"]["lines"]
            (kl,) = [line for line in lines if line["name"] == "KL"]
            assert kl["note"] == f"enters with β = {beta}"


@pytest.mark.parametrize("name", [*ALGORITHMS, "dapo with dual clip 3"])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.05, 9.0])
@pytest.mark.parametrize("advantage", [-1.5, 0.0, 1.5])
def test_every_formula_can_be_said(name: str, ratio: float, advantage: float) -> None:
    name, _, dual_clip = name.partition(" with dual clip ")
    settings = {"dual_clip": float(dual_clip)} if dual_clip else {}
    config = parse_config({"algorithm": {"name": name, "entropy_coefficient": 0.01, **settings}})
    objective = objective_of(config.algorithm)
    numbers = Numbers.of(
        logp=[-1.0], old=[-1.0 - np.log(ratio)], ref=[-0.5], entropy=[0.7], advantage=[advantage],
        weight=[0.5],
    )  # fmt: skip
    token = formula.Token.at(0, numbers, terms_of(objective, numbers))
    lines = formula.lines_of(config, objective, token, formula.Around([1.0, 0.0], 2, 5))
    said = {line["name"]: line for line in lines}
    if "Ratio" in said:
        assert eval_of(said["Ratio"]["numbers"]) == pytest.approx(said["Ratio"]["value"], rel=1e-3)
    term = eval_of(said["Policy term"]["numbers"])
    assert term == pytest.approx(said["Policy term"]["value"], rel=2e-3, abs=1e-9)
    assert eval_of(said["Share of the loss"]["numbers"]) == pytest.approx(
        said["Share of the loss"]["value"], rel=2e-3, abs=1e-6
    )


def eval_of(text: str) -> float:
    """The value of a formula with its numbers, as a person would work it out."""
    from sympy.parsing import sympy_parser as parser

    known = {"σ": lambda x: 1 / (1 + np.exp(-float(x))), "min": min, "max": max}
    rules = (*parser.standard_transformations, parser.implicit_multiplication)
    plain = text.replace("−", "-").replace("·", "*")
    return float(parser.parse_expr(plain, local_dict=known, transformations=rules))


# --- the page ------------------------------------------------------------------------------------


def test_the_page_goes_where_the_address_says(recorded: Run) -> None:
    app = open_page("inspector", run="bundled-1", step="7", prompt="3", color="ratio", row="dapo")
    given = payload(app)
    assert (given["run"], given["url"]) == ("bundled-1", "/api/runs/bundled-1")
    assert given["goto"]["view"] == {"step": 7, "prompt": 3, "color": "ratio", "row": "dapo"}
    assert given["algorithms"] == list(ALGORITHMS)


def test_the_page_stays_where_the_component_is(recorded: Run) -> None:
    app = open_page("inspector", run="bundled-1", step="7", color="ratio")
    goto = payload(app)["goto"]["id"]
    told = {"run": "bundled-1", "group": 100, "step": 9, "prompt": 2, "completion": 4, "at": 3}
    app.session_state["inspector"] = {"view": told}
    app.run()
    assert not app.exception
    assert payload(app)["goto"]["id"] == goto, "an old address does not lead it back"
    assert app.session_state["step"] == 9, "other pages go to the same step"
    app.switch_page("app_pages/live.py").run()
    app.query_params.clear()
    app.switch_page("app_pages/inspector.py").run()
    given = payload(app)["goto"]
    assert given["id"] > goto, "who comes back"
    assert given["view"] == {"step": 9, "prompt": 2, "completion": 4, "at": 3}, "is where one was"


@pytest.mark.parametrize("value", ["x", "-3", "9" * 30, "", "1.5", "٣"])
def test_an_address_that_makes_no_sense(recorded: Run, value: str) -> None:
    view = inspector_address.view_of({"step": value, "find": "y" * 999, "prompt": None})
    assert view.keys() <= {"step", "find"} and len(view["find"]) == 200
    assert "step" not in view or view["step"] == int(value)
    open_page("inspector", run="bundled-1", step=value)


def at_group(recorded: Run, **state: Any) -> Any:
    """The page with the second group of step 20 open, and the parts below it."""
    return at_group_of(open_page("inspector", run="bundled-1", step="20"), recorded, **state)


def at_group_of(app: Any, recorded: Run, **state: Any) -> Any:
    group = groups.read(recorded, lambda r: r.groups(20), [])[1]
    view = {"run": "bundled-1", "group": group["id"], "step": 20, "prompt": 2, "completion": 1}
    app.session_state["inspector"] = {"view": view}
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception, [error.value for error in app.exception]
    return app, group


def versus(app: Any) -> dict[str, Any]:
    return next(p for i in range(9) if "rows" in (p := payload(app, i)))


def test_what_if_nothing_changes_is_what_was(recorded: Run) -> None:
    app, group = at_group(recorded, what_if_open=True)
    rows = versus(app)["rows"]
    assert [row["advantages"][0] for row in rows] == pytest.approx(
        [row["advantages"][1] for row in rows], abs=1e-9
    )
    assert [row["rewards"][0] for row in rows] == [row["rewards"][1] for row in rows]
    assert len(rows) == len(group["rollouts"])


def test_what_if_another_estimator_and_reward(recorded: Run) -> None:
    app, group = at_group(
        recorded, what_if_open=True, what_if_advantage_kept="loo", what_if_reward_kept="brevity"
    )
    view = versus(app)
    new = {row["rank"]: row["rewards"][1] for row in view["rows"]}
    ordered = groups.order(group["rollouts"])
    assert all(new[i + 1] is not None for i in range(len(ordered)))
    expected = assign([[new[i + 1] for i in range(len(ordered))]], "loo")[0]
    assert [row["advantages"][1] for row in view["rows"]] == pytest.approx(expected)
    assert [row["rewards"][0] for row in view["rows"]] == [one["reward"] for one in ordered]


def test_what_if_a_smaller_group(recorded: Run) -> None:
    app, _ = at_group(recorded, what_if_open=True)
    app.slider[0].set_value(2).run()
    assert not app.exception
    view = versus(app)
    assert "All 28 groups of that size" in " ".join(view["notes"])
    assert all(row["spread"] is not None for row in view["rows"])


def test_what_if_other_weights(recorded: Run) -> None:
    app, _ = at_group(recorded, what_if_open=True)
    fields = {field.label: field for field in app.number_input}
    fields["Weight of short"].set_value(0.0).run()
    assert not app.exception
    for row in versus(app)["rows"]:
        assert row["rewards"][1] == float(row["correct"])


def test_an_address_opens_what_if_with_its_choices(recorded: Run) -> None:
    asked = {"what_if": "1", "if_algorithm": "dapo", "if_advantage": "loo", "if_size": "3"}
    asked |= {"if_weights": "short:0.5"}
    app = open_page("inspector", run="bundled-1", step="20", **asked)
    assert payload(app)["below"] == asked, "nothing is drawn yet"
    group = groups.read(recorded, lambda r: r.groups(20), [])[1]
    view = {"run": "bundled-1", "group": group["id"], "step": 20, "prompt": 2, "completion": 1}
    app.session_state["inspector"] = {"view": view}
    app.run()
    assert not app.exception
    assert [box.value for box in app.selectbox if box.key.startswith("what_if")] == [
        "dapo", "loo", "as stored",
    ]  # fmt: skip
    fields = {field.label: field for field in app.number_input}
    assert fields["Weight of short"].value == 0.5 and app.slider[0].value == 3
    rewards = versus(app)["rows"][0]["rewards"]
    parts = max(group["rollouts"], key=lambda one: one["reward"])["parts"]
    assert rewards[1] == pytest.approx(parts["accuracy"] + 0.5 * parts["short"])
    app.run()
    assert payload(app)["below"] == asked, "and it stays in the address"
    app.slider[0].set_value(8).run()
    fields["Weight of short"].set_value(0.1).run()
    app.selectbox(key="what_if_row").set_value("as it was").run()
    left = payload(app)["below"]
    assert left == {"what_if": "1", "if_advantage": "loo", "if_weights": "short:0.1"}


def test_what_a_link_asks_for_concerns_its_run_alone(recorded: Run) -> None:
    """Also what could not be drawn there: the estimator has no smaller groups."""
    other = record_run(data.runs_dir(), "other", 2, "completed", prompts=2)
    asked = {"what_if": "1", "if_advantage": "batch_z", "if_size": "3"}
    app = open_page("inspector", run="bundled-1", step="20", **asked)
    assert payload(app)["below"] == asked
    app.selectbox(key="run").set_value("other").run()
    group = groups.read(other, lambda r: r.groups(2), [])[0]
    view = {"run": "other", "group": group["id"], "step": 2, "prompt": 1, "completion": 1}
    app.session_state["inspector"] = {"view": view}
    app.run()
    app.selectbox(key="what_if_advantage").set_value("loo").run()
    assert not app.exception and app.slider[0].value == 8
    assert payload(app)["below"] == {"what_if": "1", "if_advantage": "loo"}


def test_a_weight_in_a_link_keeps_all_its_digits(recorded: Run) -> None:
    asked = {"what_if": "1", "if_weights": "short:0.2000001,none:3.0"}
    app, _ = at_group_of(open_page("inspector", run="bundled-1", step="20", **asked), recorded)
    assert payload(app)["below"] == {"what_if": "1", "if_weights": "short:0.2000001"}


@pytest.mark.parametrize("value", ["x", "-3", "9" * 30, "", "a:b,c:nan,:,short:inf", "<b>"])
def test_an_address_asks_for_what_there_is_not(recorded: Run, value: str) -> None:
    names = ("what_if", "if_algorithm", "if_advantage", "if_reward", "if_size", "if_weights")
    app = open_page("inspector", run="bundled-1", step="20", **dict.fromkeys(names, value))
    app.session_state["what_if_open"] = True
    group = groups.read(recorded, lambda r: r.groups(20), [])[1]
    view = {"run": "bundled-1", "group": group["id"], "step": 20, "prompt": 2, "completion": 1}
    app.session_state["inspector"] = {"view": view}
    app.run()
    assert not app.exception
    rows = versus(app)["rows"]
    assert [row["rewards"][0] for row in rows] == [row["rewards"][1] for row in rows]


def test_figures_of_a_step(recorded: Run) -> None:
    app, group = at_group(recorded, figures_open=True)
    assert len(app.get("plotly_chart")) == 2
    rows = groups.read(recorded, lambda r: r.step_rollouts(20), [])
    colors = [f"#{i}{i}{i}" for i in range(7)]
    figure = figures.rewards_figure(rows, 20, colors)
    assert sorted(len(trace.x) for trace in figure.data) == sorted(
        [sum(row["correct"] for row in rows), sum(not row["correct"] for row in rows)]
    )
    here = figures.length_figure(rows, group["id"], colors).data[1]
    assert list(here.y) == [one["reward"] for one in group["rollouts"]]
    lengths, values = [1.0, 2.0, 4.0], [3.0, 1.0, 0.0]
    expected = np.corrcoef(lengths, values)[0, 1]
    assert figures.correlation(lengths, values) == f" · correlation −{abs(expected):.2f}"
    assert figures.correlation([1.0, 1.0, 1.0], values) == ""


def test_a_group_that_is_gone(recorded: Run) -> None:
    app, _ = at_group(recorded, what_if_open=True, figures_open=True)
    change(recorded, "DELETE FROM groups")
    app.run()
    assert not app.exception and "This group is gone." in texts(app)
