"""Another algorithm on a stored step: what the trainer would have given, and smaller groups."""

from itertools import combinations
from statistics import fmean, pstdev

import pytest
from test_update import Setup

from grpo_core.algorithms import ALGORITHMS
from grpo_core.history import config_at
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config
from grpo_core.records import Event
from grpo_core.store import RunWriter
from grpo_core.what_if import MAX_DRAWS, replay, smaller_group

MORE = {
    "loo of a penalised length": {"advantage": "loo", "truncated": "penalize"},
    "all of the step": {"advantage": "batch_std"},
    "lengths weigh": {"advantage": "opo_loo"},
}


ALIKE = ("gspo", "cispo", "sapo")
"""Rows whose advantages are those of another one."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name
        for name in [*ALGORITHMS, *MORE]
    ],
)
def test_nothing_changed_gives_the_advantages_of_the_trainer(random_model, name):
    algorithm = {"name": name} if name in ALGORITHMS else MORE[name]
    setup = Setup(random_model, algorithm=algorithm)
    kl_K = setup.notes.initial_K * 0 if setup.notes.old_K is None else setup.notes.old_K
    kl_K = kl_K - setup.notes.initial_K
    kl_PG = [
        [kl_K[setup.batch.offsets[row] : setup.batch.offsets[row + 1]].sum().item() for row in rows]
        for rows in setup.batch.group_rows
    ]
    trained = [[one.advantage for one in group.rollouts] for group in setup.groups]
    found = replay(setup.groups, setup.config, {}, kl_PG)
    if name in ("prefix_attention", "ppo"):
        assert len(found.notes) == 1 and "need" in found.notes[0]
        return
    assert found.notes == []
    for mine, theirs in zip(found.advantages_PG, trained, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)


def test_a_kl_without_tokens_is_said(random_model):
    setup = Setup(random_model, algorithm={"name": "as_written"})
    first = setup.groups[0]
    found = replay(setup.groups, setup.config, {}, [[1.0, 2.0, 3.0], None, None])
    rewards = [1.0 - 0.04 * 1, 0.0 - 0.04 * 2, 0.0 - 0.04 * 3]
    assert found.advantages_PG[0] == pytest.approx([r - fmean(rewards) for r in rewards])
    assert found.advantages_PG[1] == pytest.approx([-1, -1, 2])
    assert len(first.rollouts) == 3 and "have kept no tokens" in found.notes[0]


def test_a_smaller_group_over_all_draws():
    rewards, size = [1.0, 1.0, 0.0, None, 0.0], 3
    found = smaller_group(rewards, [1] * 5, "mean", size)
    known = [0, 1, 2, 4]
    draws = list(combinations(known, size))
    of_first = [1 - fmean(rewards[i] for i in draw) for draw in draws if 0 in draw]
    assert found.mean_G[0] == pytest.approx(fmean(of_first))
    assert found.std_G[0] == pytest.approx(pstdev(of_first))
    assert found.mean_G[3] is None and found.num_draws == len(draws) == 4
    assert found.is_exact and found.flat_share == 0.0
    pairs = smaller_group(rewards, [1] * 5, "zscore", 2)
    assert pairs.flat_share == pytest.approx(2 / 6), "both right, or both wrong"


def test_many_draws_are_drawn_by_chance_and_the_same_each_time():
    rewards = [float(i % 2) for i in range(40)]
    found = smaller_group(rewards, [1] * 40, "mean", 8)
    assert (found.num_draws, found.is_exact) == (MAX_DRAWS, False)
    assert found == smaller_group(rewards, [1] * 40, "mean", 8)
    # the share of draws that are all equal: 2 C(20, 8) / C(40, 8) = 0.0033
    assert found.flat_share == pytest.approx(0.0033, abs=0.004)
    assert fmean(found.mean_G) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("size", [1, 5])
def test_a_group_that_cannot_be_drawn(size):
    with pytest.raises(ValueError, match=f"a group of {size}"):
        smaller_group([1.0, 0.0, 0.0, 1.0, None], [1] * 5, "mean", size)


def test_settings_in_force_at_a_step(tmp_path):
    writer = RunWriter(tmp_path / "run.db")
    writer.write_event(5, Event("setting", {"overrides": ["algorithm.clip_low=0.1"]}))
    writer.write_event(9, Event("setting", {"overrides": ["algorithm.clip_low=0.3"]}))
    writer.close()
    with RunReader(tmp_path / "run.db") as reader:
        lows = [config_at(reader, parse_config({}), s).algorithm.clip_low for s in (4, 5, 8, 9)]
    assert lows == [0.2, 0.1, 0.1, 0.3]
