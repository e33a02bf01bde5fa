"""From rewards to tokens, by hand: what is taken off, who takes part, and what is written down."""

import math

import pytest
import torch

from grpo_core.annotate import Annotations
from grpo_core.batch import pack
from grpo_core.credit import assign_credit, prefix_similarity
from grpo_core.recipe import parse_config
from grpo_core.records import Group, Problem, Rollout
from grpo_core.shaping import shaped_rewards
from grpo_core.team import Team


def rollout(length, reward, finish="stop", **parts):
    outcome = "ok" if reward is not None else "error"
    ids = list(range(5, 5 + length))
    one = Rollout(ids, [-1.0] * length, "x", finish, outcome=outcome, reward=reward)
    one.parts = parts
    return one


def groups_of(*rows):
    return [Group(Problem("p", "q", "a"), "q", [1], list(row)) for row in rows]


def config_of(max_new_tokens=10, critic=None, **algorithm):
    recipe = {"rollout": {"max_new_tokens": max_new_tokens}, "algorithm": algorithm}
    return parse_config({**recipe, **({"critic": critic} if critic else {})})


def assign(groups, config, weights=None, **notes):
    batch = pack(groups, torch.device("cpu"))
    num = len(batch.sequence_K)
    filled = {key: torch.tensor(value, dtype=torch.float64) for key, value in notes.items()}
    annotations = Annotations(filled.pop("initial_K", torch.zeros(num).double()), **filled)
    return assign_credit(groups, batch, annotations, config, weights or {}, Team())


def advantages(groups):
    return [[one.advantage for one in group.rollouts] for group in groups]


# --- what is taken off the reward -----------------------------------------------------------------


def test_the_overlong_penalty_grows_over_the_buffer():
    # limit 10, buffer 0.4 of it: from 6 tokens on, 1/4 of the penalty a token
    config = config_of(name="dapo", overlong_buffer=0.4, overlong_penalty=2.0)
    groups = groups_of([rollout(n, 1.0) for n in (5, 6, 7, 9, 10)] + [rollout(10, 1.0, "length")])
    assert shaped_rewards(groups, config)[0] == pytest.approx([1, 1, 0.5, -0.5, -1, -1])


def test_without_a_buffer_only_what_was_cut_off_is_punished():
    config = config_of(truncated="penalize")
    groups = groups_of([rollout(10, 1.0), rollout(10, 1.0, "length"), rollout(3, None, "length")])
    assert shaped_rewards(groups, config)[0] == [1.0, 0.0, None]


def test_a_kl_in_the_reward_is_summed_and_taken_off_before_the_mean():
    config = config_of(name="as_written", kl_coefficient=0.5)
    groups = groups_of([rollout(2, 1.0), rollout(1, 0.0)])
    # k1: (0.4 + 0.2), 0.2; rewards 1 - 0.3 = 0.7 and 0 - 0.1 = -0.1; mean 0.3
    found = assign(groups, config, old_K=[-1.0, -1.0, -1.0], ref_K=[-1.4, -1.2, -1.2])
    assert found.advantage_K.tolist() == pytest.approx([0.4, 0.4, -0.4])
    assert advantages(groups) == [pytest.approx([0.4, -0.4])]


# --- who takes part -------------------------------------------------------------------------------


def test_what_was_cut_off_is_masked_but_stays_in_the_baseline():
    config = config_of(name="dr_grpo", truncated="mask")
    groups = groups_of([rollout(3, 0.0), rollout(10, 3.0, "length"), rollout(2, 0.0)])
    found = assign(groups, config)
    assert advantages(groups)[0] == pytest.approx([-1.0, 2.0, -1.0])
    assert found.lengths_N.tolist() == [3, 0, 2]


def test_faults_and_groups_with_nothing_to_compare_are_left_out():
    groups = groups_of(
        [rollout(3, 1.0), rollout(2, None), rollout(1, 0.0)], [rollout(4, 1.0), rollout(5, None)]
    )
    found = assign(groups, config_of(name="dr_grpo"))
    assert advantages(groups) == [[0.5, None, -0.5], [None, None]]
    assert found.lengths_N.tolist() == [3, 0, 1, 0, 0]


def test_opo_knows_the_lengths():
    groups = groups_of([rollout(3, 1.0), rollout(1, 5.0)])
    assign(groups, config_of(name="dr_grpo", advantage="opo"))
    assert advantages(groups) == [pytest.approx([-1.0, 3.0])]


def test_gdpo_takes_the_parts_with_their_weights():
    config = config_of(multi_objective_aggregation="normalize_then_sum")
    groups = groups_of(
        [
            rollout(1, 1.0, right=1.0, short=0.0),
            rollout(1, 9.0, right=0.0, short=900.0),
            rollout(1, None, right=None, short=1e9),  # a fault: its other part counts neither
        ]
    )
    assign(groups, config, {"right": 2.0, "short": 1.0})
    first, second, third = advantages(groups)[0]
    # z-scores +-1/sqrt 2; totals +-(2 - 1)/sqrt 2 = +-0.7071; over their deviation 1
    assert (first, second) == (pytest.approx(math.sqrt(0.5), abs=1e-3), pytest.approx(-first))
    assert third is None


# --- one number a token ---------------------------------------------------------------------------


def test_ppo_puts_the_reward_at_the_end_and_the_kl_at_each_token():
    critic = {"gae_lambda": 1.0, "whiten": False}
    config = config_of(
        name="ppo", critic=critic, kl_place="reward", kl_estimator="k1", kl_coefficient=0.5
    )
    groups = groups_of([rollout(2, 1.0), rollout(1, None)])
    found = assign(
        groups, config, old_K=[-1.0, -1, -1], ref_K=[-1.4, -1.2, -9], value_K=[0.3, 0.5, 0.0]
    )
    # rewards -0.2, 1 - 0.1; to go 0.7, 0.9; minus the values
    assert found.return_K[:2].tolist() == pytest.approx([0.7, 0.9])
    assert found.advantage_K[:2].tolist() == pytest.approx([0.4, 0.4])
    assert found.lengths_N.tolist() == [2, 0]
    assert advantages(groups) == [[pytest.approx(0.4), None]]


def test_whitened_advantages_of_what_counts_have_mean_zero_and_deviation_one():
    config = config_of(name="ppo")
    groups = groups_of([rollout(3, 1.0), rollout(2, 0.0), rollout(4, None)])
    found = assign(groups, config, old_K=[0.0] * 9, value_K=[0.1, 0.4, 0.2, 0.9, 0.3, 7, 7, 7, 7])
    counted = found.advantage_K[:5]
    assert counted.mean().item() == pytest.approx(0, abs=1e-9)
    assert counted.std().item() == pytest.approx(1, abs=1e-6)


def test_prefix_attention_is_loo_at_the_first_token_and_follows_likeness_after():
    config = config_of(name="prefix_attention", attention_temperature=0.01, attention_min_samples=1)
    groups = groups_of([rollout(2, 1.0), rollout(2, 0.0), rollout(2, 4.0), rollout(1, None)])
    for index, one in enumerate(groups[0].rollouts):
        one.ids[0] = index  # no two wrote the same, so likeness is a matter of the states
    same, left, right = [1.0, 1.0], [1.0, 0.0], [-1.0, 0.0]
    # after the first token, 0 and 1 went left, 2 went right; the fault has no say
    hidden = [same, left, same, left, same, right, [9.0, 9.0]]
    found = assign(groups, config, hidden_KD=hidden)
    assert found.advantage_K.tolist() == pytest.approx([-1, 1, -2.5, -1, 3.5, 3.5, 0])
    assert found.lengths_N.tolist() == [2, 2, 2, 0]
    assert advantages(groups) == [[0, pytest.approx(-1.75), 3.5, None]]
    # the first tokens and the last of 2 have two equal others, the rest one
    assert found.metrics["advantage/effective_samples"] == pytest.approx(10 / 6, abs=1e-6)


def test_a_completion_that_has_ended_keeps_its_last_state():
    one, two = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    similarity = prefix_similarity([one, two], [[5], [6, 7, 8]])
    assert similarity.shape == (3, 2, 2)
    # equal at first (and so 0), then apart: two centred states point opposite ways; equal again
    assert similarity[:, 0, 1].tolist() == pytest.approx([0, -1, 0], abs=1e-6)


def test_equal_prefixes_are_equal_whatever_rounding_says():
    """As in bf16: the same state, but for noise; completions 0 and 1 part at their third token."""
    rng = torch.Generator().manual_seed(0)
    noisy = [torch.ones(3, 8) + 0.01 * torch.randn(3, 8, generator=rng) for _ in range(3)]
    similarity = prefix_similarity(noisy, [[5, 6, 7], [5, 6, 8], [9, 6, 7]])
    assert (similarity[0] == 0).all()
    assert similarity[1:, 0, 1] == pytest.approx([1, 1], abs=1e-6)
    assert (similarity[1:, 0, 2] < -0.99).all()


def test_equal_rewards_give_prefix_attention_nothing_to_say():
    groups = groups_of([rollout(2, 0.1 + 0.2), rollout(2, 0.3)])
    hidden = [[1.0, 0.0], [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    found = assign(groups, config_of(name="prefix_attention"), hidden_KD=hidden)
    assert found.advantage_K.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["mean", "prefix_attention", "gae"])
def test_a_step_without_any_reward_teaches_nothing(name):
    row = {"mean": "dr_grpo", "gae": "ppo"}.get(name, name)
    groups = groups_of([rollout(2, None), rollout(1, None)], [rollout(3, None), rollout(1, None)])
    found = assign(groups, config_of(name=row), old_K=[0.0] * 7, value_K=[0.5] * 7)
    assert found.lengths_N.sum() == 0 and torch.isfinite(found.advantage_K).all()
    assert advantages(groups) == [[None, None], [None, None]]
