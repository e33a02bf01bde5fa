"""What if: the group at hand under another estimator, reward, weights or size, its advantages
beside those that it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import streamlit as st

from grpo_core import rewards
from grpo_core.advantages import PER_GROUP
from grpo_core.algorithm_config import Advantage, AlgorithmConfig
from grpo_core.algorithms import ALGORITHMS
from grpo_core.config import RewardConfig, RunConfig
from grpo_core.group_reader import GroupReader
from grpo_core.records import Group
from grpo_core.runs import Run
from grpo_core.what_if import STAND_INS, Smaller, replay, smaller_group
from studio import (
    components,
    groups,
    lab_consent,
    lab_text,
    lab_weights,
    own_rewards,
    scoring,
    token_story,
    widgets,
)

ROW, ESTIMATOR, REWARD, SIZE = "what_if_row", "what_if_advantage", "what_if_reward", "what_if_size"
WEIGHT = "what_if_weight_"
OPEN = "what_if_open"
ASKED, USED = "what_if_asked", "what_if_used"
"""Session keys: the size and the weights that an address asks for, until the fields are drawn; and
those that differ from what is stored, once they are: `{"size": …, "weights": {…}}`."""
SCORED = "what_if_scored"
AS_IT_WAS, OF_THE_ROW, AS_STORED = "as it was", "of the algorithm", "as stored"
THE_LABS = "the text in the Reward lab"


def show(run: Run, group_id: int) -> None:
    """The controls, and what comes of them."""
    asked = st.session_state.pop(ASKED, {})
    used = st.session_state[USED] = {}
    step = groups.read(run, lambda reader: token_story.Step.of_group(reader, group_id), None)
    if step is None:
        st.caption("This group is gone.")
        return
    config = groups.read(run, lambda r: groups.config_in_force(r, run, step.number), RunConfig())
    with _kept():
        algorithm = _algorithm(config)
        functions = _reward(run)
    weights = groups.read(run, lambda r: groups.weights_at(r, run, step.number), {})
    with _said():
        changed = step.groups
        if functions:
            changed, weights = _scored(run, step.number, functions), _weights_of(functions)
        changed, weights = _weighted(changed, weights, asked.get("weights", {}), used)
        other = config.model_copy(update={"algorithm": algorithm})
        kl = groups.read(run, lambda r: token_story.kl_for(r, step.ids, other), None)
        replayed = replay(changed, other, weights, kl)
        at = list(step.ids).index(group_id)
        smaller = _smaller(changed[at], replayed.rewards_PG[at], other, asked.get("size"), used)
        ids = step.ids[group_id]
        given = smaller.mean_G if smaller else replayed.advantages_PG[at]
        rows = _rows(run, group_id, changed[at], dict(zip(ids, given, strict=True)), smaller, ids)
        notes = [_which(algorithm), *replayed.notes, *_about(smaller), *_unchanged(rows)]
        components.versus(key="what_if", view={"rows": rows, "notes": notes})


@contextmanager
def _kept() -> Iterator[None]:
    """The choices outlive a visit to another page."""
    defaults = {ROW: AS_IT_WAS, ESTIMATOR: OF_THE_ROW, REWARD: AS_STORED}
    widgets.recall(defaults)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        yield
    widgets.remember(defaults)


@contextmanager
def _said() -> Iterator[None]:
    """What cannot be done is said, and nothing else happens."""
    try:
        yield
    except ValueError as error:
        widgets.problem(str(error), "Not possible")


# --- what is asked for ---------------------------------------------------------------------------


def _algorithm(config: RunConfig) -> AlgorithmConfig:
    was = config.algorithm
    row = st.selectbox(
        "Algorithm", [AS_IT_WAS, *ALGORITHMS], key=ROW, width=200,
    )  # fmt: skip
    chosen = was if row == AS_IT_WAS else AlgorithmConfig.model_validate({"name": row})
    estimator = st.selectbox(
        "Advantage", [OF_THE_ROW, *get_args(Advantage)], key=ESTIMATOR, width=220,
        help=AlgorithmConfig.model_fields["advantage"].description,
    )  # fmt: skip
    if estimator == OF_THE_ROW:
        return chosen
    return chosen.model_copy(update={"advantage": estimator})


def rewards_to_choose() -> list[str]:
    """What can stand in the place of the stored rewards, the Lab's text where there is one."""
    labs = [THE_LABS] if st.session_state.get(lab_text.TEXT) else []
    return [AS_STORED, *labs, *own_rewards.names(), *rewards.builtin_names()]


def _reward(run: Run) -> list[rewards.RewardFunction]:
    """The functions of another reward; none where the stored ones stand."""
    own, options = own_rewards.names(), rewards_to_choose()
    if st.session_state.get(REWARD) not in options:
        st.session_state[REWARD] = AS_STORED
    choice = st.selectbox(
        "Reward", options, key=REWARD, width=240,
        help="In the place of all stored rewards. For a mixture, write it in the Reward lab and "
        "choose its text here.",
    )  # fmt: skip
    try:
        if choice == AS_STORED:
            return []
        if choice == THE_LABS:
            if lab_consent.is_missing(run, st.session_state.get(lab_text.ORIGINS, ())):
                return []
            text = str(st.session_state[lab_text.TEXT])
            return lab_weights.chosen(text, st.session_state.get(lab_text.WEIGHTS, {}))
        if choice in own:
            return rewards.from_source(own_rewards.read(choice), filename=choice)
        return rewards.resolve([RewardConfig(builtin=choice)])
    except ValueError as error:
        widgets.problem(str(error), "Not ready")
        return []


def _weights_of(functions: list[rewards.RewardFunction]) -> dict[str, float]:
    return {function.name: function.weight for function in functions}


def _scored(run: Run, step: int, functions: list[rewards.RewardFunction]) -> list[Group]:
    """The step's completions under another reward; scored once for a choice of reward and step."""
    stamp = (run.name, step, rewards.version_of(functions))
    known = st.session_state.get(SCORED)
    if known and known[0] == stamp:
        return list(known[1])
    stored, is_cut = scoring.stored_groups(run, step)
    if is_cut:
        raise ValueError(
            f"this step has more than {scoring.MAX_COMPLETIONS} completions, which is more than "
            "one try takes; the Reward lab scores the first of them"
        )
    config = groups.read(run, lambda reader: groups.config_in_force(reader, run, step), RunConfig())
    with st.spinner("Scoring the completions …"):
        scored = scoring.bench().score(functions, stored, step, config.sandbox.timeout_s).groups
    st.session_state[SCORED] = (stamp, scored)
    return scored


def _weighted(
    found: list[Group], weights: dict[str, float], asked: dict[str, float], used: dict[str, Any]
) -> tuple[list[Group], dict[str, float]]:
    """The rewards under the weights that are chosen; those that failed stay without one."""
    if len(weights) < 2:
        return found, weights
    chosen = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, weight in weights.items():
            key = f"{WEIGHT}{name}_{weight}"
            first = st.session_state.setdefault(f"{key}_first", asked.get(name, float(weight)))
            chosen[name] = st.number_input(
                f"Weight of {widgets.label(name)}", value=first, step=0.1, format="%g", key=key,
                width=170,
            )  # fmt: skip
    if chosen == weights:
        return found, weights
    used["weights"] = {name: one for name, one in chosen.items() if one != weights[name]}
    return [_reweighed(group, chosen) for group in found], chosen


def _reweighed(group: Group, weights: dict[str, float]) -> Group:
    copies = []
    for one in group.rollouts:
        given = {name: one.parts.get(name) for name in weights}
        terms = [weights[name] * value for name, value in given.items() if value is not None]
        copy = type(one)(one.ids, [], one.text, one.finish, one.outcome, parts=one.parts)
        copy.reward = sum(terms) if terms and one.reward is not None else None
        copies.append(copy)
    return Group(group.problem, group.prompt, [], copies)


def _smaller(
    group: Group,
    rewards_G: list[float | None],
    config: RunConfig,
    asked: int | None,
    used: dict[str, Any],
) -> Smaller | None:
    """The group with fewer completions, where that is chosen and can be worked out."""
    num = sum(reward is not None for reward in rewards_G)
    if config.algorithm.multi_objective_aggregation == "normalize_then_sum":
        st.caption("Each reward has its own z-score here: estimator and size do not apply.")
        return None
    name = config.algorithm.advantage or "zscore"
    estimator = STAND_INS[name][0] if name in STAND_INS else name
    if num < 3 or estimator not in PER_GROUP:
        return None
    key = f"{SIZE}_{num}"
    first = st.session_state.setdefault(f"{key}_first", min(max(2, asked or num), num))
    size = st.slider(
        "Completions in the group", 2, num, first, key=key, width=420,
        help="Fewer: the mean advantage over all groups of this size that can be drawn from these "
        "completions, and how far it spreads.",
    )  # fmt: skip
    if size == num:
        return None
    used["size"] = size
    return smaller_group(rewards_G, [len(one.ids) for one in group.rollouts], estimator, size)


# --- what comes of it ----------------------------------------------------------------------------


def _rows(
    run: Run,
    group_id: int,
    group: Group,
    given: dict[int, float | None],
    smaller: Smaller | None,
    ids: list[int],
) -> list[dict[str, Any]]:
    """One row a completion, best to worst as it was."""
    new = dict(zip(ids, group.rollouts, strict=True))
    spread = dict(zip(ids, smaller.std_G, strict=True)) if smaller else {}

    def query(reader: GroupReader) -> list[dict[str, Any]]:
        stored = reader.group(group_id)
        return groups.order(stored["rollouts"]) if stored else []

    return [
        {
            "rank": rank,
            "text": widgets.cut(" ".join(one["text"].split())[-160:]),
            "correct": one["correct"],
            "rewards": [one["reward"], new[one["id"]].reward],
            "advantages": [one["advantage"], given[one["id"]]],
            "spread": spread.get(one["id"]),
        }
        for rank, one in enumerate(groups.read(run, query, []), start=1)
        if one["id"] in new
    ]


def _which(algorithm: AlgorithmConfig) -> str:
    if algorithm.multi_objective_aggregation == "normalize_then_sum":
        return f"{algorithm.name}: each reward's own z-score, normalised over the step."
    return f"{algorithm.name}: advantages by {algorithm.advantage}."


def _unchanged(rows: list[dict[str, Any]]) -> list[str]:
    """Why nothing is to be seen."""
    pairs = [row["advantages"] for row in rows]
    if all(abs(was or 0.0) + abs(now or 0.0) < 1e-9 for was, now in pairs):
        return ["Every advantage is 0: nothing here tells these completions apart."]
    if all(abs((was or 0.0) - (now or 0.0)) < 1e-9 for was, now in pairs):
        said = (
            "The same advantages; where the ratio, the clip or the weights differ, the token card"
        )
        return [f"{said} above shows it."]
    return []


def _about(smaller: Smaller | None) -> list[str]:
    if smaller is None:
        return []
    drawn = "All" if smaller.is_exact else "By chance"
    return [
        f"{drawn} {smaller.num_draws:,} groups of that size: {smaller.flat_share:.0%} of them have "
        "no signal, because all their rewards are equal. ± is the deviation over the draws."
    ]
