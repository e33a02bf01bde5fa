"""PPO's additions against numbers computed by hand."""

import copy

import pytest
import torch
from accelerate import Accelerator

from grpo_core.critic import explained_variance, gae, make_critic, memory_bytes, value_loss, whiten
from grpo_core.forward import score_completions
from grpo_core.learner import make_learner
from grpo_core.policy import load_policy
from grpo_core.recipe import parse_config


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_gae_by_hand():
    # one completion of two tokens, one of one; gamma 0.5, lambda 0.5
    rewards, values = tensor(1, 2, 3), tensor(4, 6, 1)
    advantage, returns = gae(rewards, values, [2, 1], 0.5, 0.5)
    # delta_1 = 2 - 6 = -4; delta_0 = 1 + 0.5 * 6 - 4 = 0, so A_0 = 0 + 0.25 * -4 = -1
    assert advantage.tolist() == [-1, -4, 2]
    assert returns.tolist() == [3, 2, 3]


def test_with_lambda_one_and_no_discount_the_return_is_the_reward_to_go():
    _, returns = gae(tensor(0, 0, 5, 1), tensor(9, -3, 2, 4), [3, 1], 1.0, 1.0)
    assert returns.tolist() == pytest.approx([5, 5, 5, 1])


def test_a_completion_without_tokens_changes_nothing():
    advantage, _ = gae(tensor(1, 2), tensor(0, 0), [1, 0, 1], 1.0, 1.0)
    assert advantage.tolist() == [1, 2]


def test_whitening_looks_only_at_what_counts():
    counted = torch.tensor([True, True, True, False])
    found = whiten(tensor(1, 2, 3, 100), counted)
    assert found[:3].tolist() == pytest.approx([-1, 0, 1])
    assert whiten(tensor(5, 5), torch.tensor([True, True])).tolist() == [0, 0]
    assert whiten(tensor(5, 6), torch.tensor([True, False])).tolist() == [0, 0]


def test_the_value_loss_takes_the_worse_of_two():
    # token 1: V 2, old 0, return 3: clipped to 0.5 is worse: (0.5 - 3)^2 = 6.25
    # token 2: V 2, old 2, return 3: 1
    value = tensor(2, 2).requires_grad_()
    parts = value_loss(value, tensor(0, 2), tensor(3, 3), tensor(0.5, 0.5), 0.5)
    assert parts.loss.item() == pytest.approx(0.5 * 0.5 * (6.25 + 1))
    assert parts.num_clipped == 1
    parts.loss.backward()
    # the clipped one has no gradient; the other: weight (V - R)
    assert value.grad.tolist() == pytest.approx([0, -0.5])
    plain = value_loss(tensor(2, 2), tensor(0, 2), tensor(3, 3), tensor(0.5, 0.5), None)
    assert plain.loss.item() == pytest.approx(0.5 * 0.5 * (1 + 1))


def test_values_of_weight_zero_never_matter():
    nan = float("nan")
    value = tensor(2, nan).requires_grad_()
    parts = value_loss(value, tensor(2, nan), tensor(3, nan), tensor(1, 0), 0.5)
    parts.loss.backward()
    assert parts.loss.item() == 0.5 and value.grad.tolist() == [-1, 0]


def test_explained_variance():
    returns = tensor(0, 1, 2)
    assert explained_variance(returns, returns) == 1
    assert explained_variance(tensor(7, 7, 7), returns) == pytest.approx(0)
    # errors -2, 0, 2: variance 4 over variance 1
    assert explained_variance(tensor(2, 1, 0), returns) == pytest.approx(1 - 4)
    assert explained_variance(tensor(1, 2), tensor(3, 3)) is None


@pytest.fixture
def policy(random_model):
    return load_policy(str(random_model), torch.device("cpu"))


def test_values_start_at_zero_and_see_only_what_came_before(policy):
    critic = make_critic(policy.model, "own")
    assert critic.values(critic.hidden([[1, 2]], [[3, 4]])).tolist() == [0, 0]
    torch.nn.init.normal_(critic.head.weight)
    one, two = (critic.values(critic.hidden([[1, 2]], [ids])) for ids in ([3, 4, 5], [3, 9, 9]))
    # the value of token t is that of the text before it: tokens 1 and 2 have the same past
    assert torch.equal(one[:2], two[:2]) and one[2] != two[2]


def test_a_shared_critic_reads_the_policys_hidden_states(policy):
    shared, own = (make_critic(policy.model, kind) for kind in ("shared", "own"))
    torch.nn.init.normal_(shared.head.weight)
    own.head.load_state_dict(shared.head.state_dict())
    hidden = score_completions(policy.model, [[1, 2]], [[3, 4, 5]], 1.0).hidden_KD
    again = own.values(own.hidden([[1, 2]], [[3, 4, 5]]))
    assert torch.allclose(shared.values(hidden), again, atol=1e-6)


def test_memory_counts_weights_gradients_and_both_moments(policy):
    learner = make_learner(
        Accelerator(cpu=True), policy, parse_config({"algorithm": {"name": "ppo"}})
    )
    width = policy.model.config.hidden_size
    weights = 4 * (width + 1)  # fp32
    assert memory_bytes(learner.critic, learner.critic_optimizer) == weights
    learner.critic.values(torch.ones(3, width)).sum().backward()
    assert memory_bytes(learner.critic, learner.critic_optimizer) == 2 * weights
    learner.critic_optimizer.step()
    # two moments; the step count of each of the two tensors, 4 bytes
    assert memory_bytes(learner.critic, learner.critic_optimizer) == 4 * weights + 8


@pytest.mark.parametrize(("reference", "steps"), [("synced", 5), ("average", 3)])
def test_a_moving_reference(policy, reference, steps):
    algorithm = {"kl_reference": reference}
    algorithm |= {"reference_sync_every": 2} if reference == "synced" else {"reference_decay": 0.9}
    config = parse_config({"algorithm": algorithm})
    learner = make_learner(Accelerator(cpu=True), policy, config)
    weight = next(policy.model.parameters())
    expected = next(policy.reference.parameters()).clone()
    initial = copy.deepcopy(expected)
    for step in range(1, steps + 1):
        with torch.no_grad():
            weight += 1.0
        learner.move_reference(step, config)
        if reference == "average":
            expected = 0.9 * expected + 0.1 * weight
        elif step in (2, 4):
            expected = weight.clone()
    assert torch.allclose(next(learner.moving.model.parameters()), expected, atol=1e-5)
    assert torch.equal(next(policy.reference.parameters()), initial)
