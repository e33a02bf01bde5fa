"""The loss: numbers by hand, a second (padded, NumPy) implementation, and its properties."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo_core.losses import (
    KL_ESTIMATORS,
    Objective,
    beyond_clip,
    policy_loss,
    ppo_clip,
    sequence_ratio,
    token_ratio,
    token_weights,
)

PPO = Objective()
ROWS = {
    "ppo": PPO,
    "clip_higher": replace(PPO, clip_high=0.28),
    "dual": replace(PPO, dual_clip=3.0),
    "gspo": replace(PPO, ratio_level="sequence", clip_low=3e-4, clip_high=4e-4),
    "cispo": replace(PPO, clipping="cispo", clip_low=None, clip_high=4.0),
    "sapo": replace(PPO, clipping="sapo", clip_low=None, clip_high=None),
    "is": replace(PPO, clipping="none", clip_low=None, clip_high=None),
    "reinforce": replace(PPO, ratio_level="none", clipping="none", clip_low=None, clip_high=None),
}
AGGREGATIONS = ("seq_sum", "seq_mean", "token_mean", "dr_grpo")
rows = pytest.mark.parametrize("objective", ROWS.values(), ids=ROWS)
KL = {"kl_estimator": "k3", "kl_coefficient": 2.0}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def one_sequence(*values):
    return torch.zeros(len(values), dtype=torch.long)


class Random:
    """A random step: flat tokens of completions of the given lengths, none of them empty."""

    def __init__(self, seed, lengths=(4, 1, 6, 3), aggregation="seq_mean", spread=0.4):
        rng = np.random.default_rng(seed)
        self.lengths, num = lengths, sum(lengths)
        self.sequence = torch.tensor(np.repeat(np.arange(len(lengths)), lengths))
        self.old = torch.tensor(rng.normal(-1, 0.5, num))
        self.logp = (self.old + torch.tensor(rng.normal(0, spread, num))).requires_grad_()
        self.ref = torch.tensor(rng.normal(-1, 0.5, num))
        self.entropy = torch.tensor(rng.uniform(0, 2, num))
        self.advantage = torch.tensor(rng.normal(size=len(lengths)))[self.sequence]
        weights = token_weights(torch.tensor(lengths).double(), aggregation, 10)
        self.weight = weights[self.sequence]

    def loss(self, objective, index=slice(None), logp=None):
        logp = self.logp if logp is None else logp
        tensors = (logp, self.old, self.advantage, self.weight, self.sequence)
        return policy_loss(
            objective,
            *(x[index] for x in tensors),
            ref_K=self.ref[index],
            entropy_K=self.entropy[index],
        ).loss

    def gradient(self, loss):
        return torch.autograd.grad(loss, self.logp)[0]


# --- by hand --------------------------------------------------------------------------------------


def test_clip_takes_the_pessimistic_side():
    ratios, advantages = tensor(1.5, 1.5, 0.5, 0.5), tensor(1, -1, 1, -1)
    # -min(1.5, 1.2), -min(-1.5, -1.2), -min(0.5, 0.8), -min(-0.5, -0.8)
    expected = [-1.2, 1.5, -0.5, 0.8]
    assert ppo_clip(ratios, advantages, 0.2, 0.2, None).tolist() == pytest.approx(expected)
    above, below = beyond_clip(PPO, ratios, advantages)
    assert above.tolist() == [True, False, False, False]
    assert below.tolist() == [False, False, False, True]


def test_dual_clip_bounds_the_cost_of_a_negative_advantage():
    ratios, advantages = tensor(5.0, 5.0, 2.0), tensor(-2, 2, -2)
    # 5 * 2 is cut to 3 * 2; a positive advantage is clipped at 1.2; 2 < 3 stays
    expected = [6.0, -2.4, 4.0]
    assert ppo_clip(ratios, advantages, 0.2, 0.2, 3.0).tolist() == pytest.approx(expected)


def test_the_sequence_ratio_is_a_geometric_mean():
    # (2 * 8)^(1/2) = 4, 1/2 alone
    log_ratio = tensor(math.log(2), math.log(8), math.log(0.5))
    found = sequence_ratio(log_ratio, tensor(0, 0, 0), torch.tensor([7, 7, 9]))
    assert found.tolist() == pytest.approx([4.0, 4.0, 0.5])


def test_kl_estimators_by_hand():
    # pi = 0.5, pi_ref = 0.25, pi_old = 0.2: log ratio log 2, r = 2.5
    logp, ref, old = (tensor(math.log(p)) for p in (0.5, 0.25, 0.2))
    k3 = 0.5 - 1 + math.log(2)
    expected = {"k1": math.log(2), "k2": math.log(2) ** 2 / 2, "k3": k3, "k3_is": 2.5 * k3}
    for name, value in expected.items():
        assert KL_ESTIMATORS[name](logp, ref, old).item() == pytest.approx(value), name


@pytest.mark.parametrize(
    ("kind", "slope"), [("k1", 1), ("k2", math.log(2)), ("k3", 0.5), ("k3_is", 2.5 * math.log(2))]
)
def test_kl_gradients_by_hand(kind, slope):
    logp = tensor(math.log(0.5)).requires_grad_()
    KL_ESTIMATORS[kind](logp, tensor(math.log(0.25)), tensor(math.log(0.2))).sum().backward()
    assert logp.grad.item() == pytest.approx(slope)


def test_weights_of_each_aggregation_by_hand():
    # completions of 1, 3 and 0 counted tokens: N = 2
    lengths = tensor(1, 3, 0)
    assert token_weights(lengths, "seq_sum").tolist() == [0.5, 0.5, 0]
    assert token_weights(lengths, "seq_mean").tolist() == pytest.approx([1 / 2, 1 / 6, 0])
    assert token_weights(lengths, "token_mean").tolist() == [0.25, 0.25, 0]
    assert token_weights(lengths, "dr_grpo", 10).tolist() == pytest.approx([1 / 30, 1 / 30, 0])


def test_a_step_in_which_nothing_counts_has_loss_zero():
    for aggregation in AGGREGATIONS:
        weights = token_weights(tensor(0, 0), aggregation, 10)
        assert weights.tolist() == [0, 0]
        logp = tensor(math.nan, -1).requires_grad_()
        parts = policy_loss(PPO, logp, logp.detach(), tensor(1, 1), weights, torch.tensor([0, 1]))
        parts.loss.backward()
        assert parts.loss.item() == 0 and logp.grad.tolist() == [0, 0]


def test_entropy_bonus_raises_entropy():
    logits = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    p = torch.softmax(logits, 0)
    entropy = -(p * p.log()).sum()
    zero, bonus = tensor(0.0), replace(PPO, entropy_coefficient=0.5)
    policy_loss(
        bonus, zero, zero, zero, tensor(1.0), one_sequence(0), entropy_K=entropy[None]
    ).loss.backward()
    # loss = -0.5 H and dH/dz_a = -p_a (log p_a + H)
    expected = 0.5 * p * (p.log() + entropy)
    assert torch.allclose(logits.grad, expected.detach(), atol=1e-12)


def test_a_broken_ratio_is_finite_and_has_no_gradient():
    logp = tensor(0.0, 0.0).requires_grad_()
    old, sequence = tensor(-1000.0, 0.0), torch.tensor([0, 1])
    token_ratio(logp, old).sum().backward()
    assert logp.grad.tolist() == [0.0, 1.0]
    logp.grad = None
    sequence_ratio(logp, old, sequence).sum().backward()
    assert logp.grad.tolist() == [0.0, 1.0]


# --- a second implementation ----------------------------------------------------------------------


def padded_reference(step, objective, aggregation, max_length=10):
    """The objective token by token in plain Python, over rows, from the formulas."""
    total, at, num = 0.0, 0, len(step.lengths)
    logp, old, ref = (x.detach().numpy() for x in (step.logp, step.old, step.ref))
    for length in step.lengths:
        log_ratios = logp[at : at + length] - old[at : at + length]
        for t in range(at, at + length):
            r, a = math.exp(log_ratios[t - at]), float(step.advantage[t])
            if objective.ratio_level == "sequence":
                r = math.exp(sum(log_ratios) / length)
            low, high = objective.clip_low, objective.clip_high
            if objective.ratio_level == "none":
                term = -a * logp[t]
            elif objective.clipping == "cispo":
                term = -min(r, 1 + high) * a * logp[t]
            elif objective.clipping == "sapo":
                tau = 1.0 if a > 0 else 1.05
                term = -a * 4 / tau / (1 + math.exp(-tau * (r - 1)))
            elif objective.clipping == "none":
                term = -r * a
            else:
                term = -min(r * a, min(max(r, 1 - low), 1 + high) * a)
                if objective.dual_clip and a < 0:
                    term = min(term, -objective.dual_clip * a)
            d = ref[t] - logp[t]
            term += objective.kl_coefficient * (math.exp(d) - d - 1)
            term -= objective.entropy_coefficient * float(step.entropy[t])
            total += {
                "seq_sum": 1 / num,
                "seq_mean": 1 / num / length,
                "token_mean": 1 / sum(step.lengths),
                "dr_grpo": 1 / num / max_length,
            }[aggregation] * term
        at += length
    return total


@rows
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_flat_loss_equals_one_written_token_by_token(objective, aggregation):
    objective = replace(objective, kl_coefficient=0.3, entropy_coefficient=0.1)
    for seed in range(5):
        step = Random(seed, aggregation=aggregation, spread=0.8)
        expected = padded_reference(step, objective, aggregation)
        assert step.loss(objective).item() == pytest.approx(expected, abs=1e-12)


# --- properties -----------------------------------------------------------------------------------

seeds = st.integers(0, 10**6)
quick = settings(max_examples=25, deadline=None)
WITH_ALL = {"kl_coefficient": 0.3, "entropy_coefficient": 0.1}


@rows
@given(seed=seeds)
@quick
def test_micro_batches_add_up_to_the_whole(objective, seed):
    step, objective = Random(seed), replace(objective, **WITH_ALL)
    whole = step.loss(objective)
    parts = [step.loss(objective, step.sequence == row) for row in range(4)]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-12)
    assert torch.allclose(step.gradient(whole), step.gradient(sum(parts)), atol=1e-12, rtol=0)


@rows
@given(seed=seeds)
@quick
def test_the_order_of_the_tokens_does_not_matter(objective, seed):
    step, objective = Random(seed), replace(objective, **WITH_ALL)
    order = torch.randperm(len(step.logp), generator=torch.Generator().manual_seed(seed))
    one, two = step.loss(objective), step.loss(objective, order)
    assert two.item() == pytest.approx(one.item(), abs=1e-12)
    assert torch.allclose(step.gradient(one), step.gradient(two), atol=1e-12, rtol=0)


@rows
@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_tokens_of_weight_zero_never_matter(objective, poison, seed):
    """As padding would: whatever stands in them, values and gradients stay to the last bit."""
    step, objective = Random(seed), replace(objective, **WITH_ALL)
    expected = step.loss(objective)
    gradient = step.gradient(expected)

    def longer(values, fill):
        return torch.cat([values, torch.full((3,), fill, dtype=values.dtype)])

    logp = longer(step.logp.detach(), poison).requires_grad_()
    loss = policy_loss(
        objective,
        logp,
        longer(step.old, poison),
        longer(step.advantage, poison),
        longer(step.weight, 0.0),
        torch.cat([step.sequence, torch.tensor([0, 2, 9])]),
        ref_K=longer(step.ref, poison),
        entropy_K=longer(step.entropy, poison),
    ).loss
    loss.backward()
    assert loss.item() == expected.item()
    assert torch.equal(logp.grad[:-3], gradient) and logp.grad[-3:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["ppo", "clip_higher", "dual", "is", "reinforce", "cispo", "sapo"])
@given(seed=seeds)
@quick
def test_on_policy_every_row_has_the_plain_policy_gradient(name, seed):
    step = Random(seed, spread=0.0)
    expected = -step.advantage * step.weight
    found = step.gradient(step.loss(ROWS[name]))
    assert torch.allclose(found, expected, atol=1e-12, rtol=0)


@given(seed=seeds)
@quick
def test_on_policy_gspo_has_the_gradient_of_the_mean_log_ratio(seed):
    """With one weight for all tokens of a completion its gradient is the token rows' one."""
    step = Random(seed, spread=0.0)
    found = step.gradient(step.loss(ROWS["gspo"]))
    assert torch.allclose(found, -step.advantage * step.weight, atol=1e-12, rtol=0)


@given(seed=seeds, low=st.floats(0.01, 0.9), high=st.floats(0.01, 9))
@quick
def test_on_policy_the_clip_is_irrelevant(seed, low, high):
    step = Random(seed, spread=0.0)
    one, two = step.loss(PPO), step.loss(replace(PPO, clip_low=low, clip_high=high))
    assert one.item() == two.item() and torch.equal(step.gradient(one), step.gradient(two))


@given(seed=seeds)
@quick
def test_on_policy_the_importance_weighted_k3_has_the_gradient_of_k2(seed):
    step = Random(seed, spread=0.0)
    gradients = [
        step.gradient(KL_ESTIMATORS[name](step.logp, step.ref, step.old).sum())
        for name in ("k2", "k3_is")
    ]
    assert torch.allclose(*gradients, atol=1e-12, rtol=0)


@rows
@given(seed=seeds)
@quick
def test_without_an_advantage_there_is_no_policy_gradient_but_the_kl_pulls(objective, seed):
    step = Random(seed)
    step.advantage = torch.zeros_like(step.advantage)
    assert step.gradient(step.loss(objective)).abs().max() == 0
    with_kl = step.gradient(step.loss(replace(objective, **KL)))
    # d k3 / d logp = 1 - exp(ref - logp)
    slope = 1 - (step.ref - step.logp.detach()).exp()
    assert torch.allclose(with_kl, 2.0 * step.weight * slope, atol=1e-12, rtol=0)
