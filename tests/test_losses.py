"""The loss against numbers computed by hand and against a second, padded NumPy implementation."""

import math

import numpy as np
import pytest
import torch

from grpo_core.losses import (
    KL_ESTIMATORS,
    clipped_surrogate,
    is_clipped,
    policy_loss,
    ratio,
    token_weights,
)

CLIP = {"clip_low": 0.2, "clip_high": 0.2}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_clip_takes_the_pessimistic_side():
    ratios, advantages = tensor(1.5, 1.5, 0.5, 0.5), tensor(1, -1, 1, -1)
    # -min(1.5, 1.2), -min(-1.5, -1.2), -min(0.5, 0.8), -min(-0.5, -0.8)
    expected = [-1.2, 1.5, -0.5, 0.8]
    assert clipped_surrogate(ratios, advantages, 0.2, 0.2).tolist() == pytest.approx(expected)
    assert is_clipped(ratios, advantages, 0.2, 0.2).tolist() == [True, False, False, True]


def test_kl_estimators_by_hand():
    # pi = 0.5, pi_ref = 0.25: log ratio log 2
    logp, ref = tensor(math.log(0.5)), tensor(math.log(0.25))
    assert KL_ESTIMATORS["k1"](logp, ref).item() == pytest.approx(math.log(2))
    assert KL_ESTIMATORS["k2"](logp, ref).item() == pytest.approx(math.log(2) ** 2 / 2)
    assert KL_ESTIMATORS["k3"](logp, ref).item() == pytest.approx(0.5 - 1 + math.log(2))


@pytest.mark.parametrize(("kind", "slope"), [("k2", math.log(2)), ("k3", 1 - 0.5)])
def test_kl_gradients_by_hand(kind, slope):
    logp = tensor(math.log(0.5)).requires_grad_()
    KL_ESTIMATORS[kind](logp, tensor(math.log(0.25))).sum().backward()
    assert logp.grad.item() == pytest.approx(slope)


def test_weights_of_each_aggregation_by_hand():
    # completions of 1, 3 and 0 counted tokens: N = 2
    sequence, lengths = torch.tensor([0, 1, 1, 1]), tensor(1, 3, 0)
    assert token_weights(sequence, lengths, "seq_sum").tolist() == [0.5] * 4
    expected = pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    assert token_weights(sequence, lengths, "seq_mean").tolist() == expected
    assert token_weights(sequence, lengths, "token_mean").tolist() == [0.25] * 4


def padded_reference(logp, old, ref, advantage, lengths, aggregation, beta):
    """The same objective, written over padded rows in NumPy from the formulas."""
    total, count = 0.0, sum(length > 0 for length in lengths)
    for row, length in enumerate(lengths):
        for t in range(length):
            r = np.exp(logp[row, t] - old[row, t])
            a = advantage[row]
            term = -min(r * a, np.clip(r, 0.8, 1.2) * a)
            d = ref[row, t] - logp[row, t]
            term += beta * (np.exp(d) - d - 1)
            scale = {
                "seq_sum": 1 / count,
                "seq_mean": 1 / count / max(length, 1),
                "token_mean": 1 / sum(lengths),
            }[aggregation]
            total += scale * term
    return total


@pytest.mark.parametrize("aggregation", ["seq_sum", "seq_mean", "token_mean"])
def test_flat_loss_equals_the_padded_one(aggregation):
    rng = np.random.default_rng(3)
    lengths = [4, 1, 0, 6, 3]
    logp, old, ref = (rng.normal(-1, 0.4, (5, 6)) for _ in range(3))
    advantage = rng.normal(size=5)
    rows = np.repeat(np.arange(5), lengths)
    columns = np.concatenate([np.arange(length) for length in lengths])
    flat = [torch.tensor(x[rows, columns]) for x in (logp, old, ref)]
    weights = token_weights(torch.tensor(rows), torch.tensor(lengths).double(), aggregation)
    parts = policy_loss(
        flat[0],
        flat[1],
        torch.tensor(advantage[rows]),
        weights,
        **CLIP,
        ref_K=flat[2],
        kl_estimator="k3",
        kl_coefficient=0.3,
    )
    expected = padded_reference(logp, old, ref, advantage, lengths, aggregation, 0.3)
    assert parts.loss.item() == pytest.approx(expected, abs=1e-12)


def test_micro_batches_add_up_to_the_whole():
    torch.manual_seed(0)
    logp = torch.randn(10, dtype=torch.float64, requires_grad=True)
    old, advantage = torch.randn(10).double(), torch.randn(10).double()
    weight = torch.rand(10).double()
    whole = policy_loss(logp, old, advantage, weight, **CLIP).loss
    (gradient,) = torch.autograd.grad(whole, logp)
    parts = [
        policy_loss(logp[s], old[s], advantage[s], weight[s], **CLIP).loss
        for s in (slice(0, 3), slice(3, 4), slice(4, 10))
    ]
    (again,) = torch.autograd.grad(sum(parts), logp)
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-12)
    assert torch.allclose(gradient, again, atol=1e-12)


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
def test_tokens_of_weight_zero_never_matter(poison):
    logp = tensor(-1.0, poison).requires_grad_()
    parts = policy_loss(logp, tensor(-1.1, poison), tensor(1, 1), tensor(1, 0), **CLIP)
    parts.loss.backward()
    assert parts.loss.item() == pytest.approx(-math.exp(0.1))
    assert logp.grad.tolist() == pytest.approx([-math.exp(0.1), 0.0])


def test_on_policy_gradient_is_the_plain_policy_gradient():
    logp = tensor(-1.0, -2.0, -0.5).requires_grad_()
    advantage, weight = tensor(1.0, -2.0, 0.0), tensor(0.5, 0.25, 0.25)
    policy_loss(logp, logp.detach(), advantage, weight, **CLIP).loss.backward()
    assert logp.grad.tolist() == pytest.approx((-advantage * weight).tolist())


def test_zero_advantage_still_feels_the_kl():
    logp = tensor(math.log(0.5)).requires_grad_()
    policy_loss(
        logp,
        logp.detach(),
        tensor(0.0),
        tensor(1.0),
        **CLIP,
        ref_K=tensor(math.log(0.25)),
        kl_estimator="k3",
        kl_coefficient=2.0,
    ).loss.backward()
    assert logp.grad.item() == pytest.approx(2.0 * 0.5)


def test_entropy_bonus_raises_entropy():
    logits = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    p = torch.softmax(logits, 0)
    entropy = -(p * p.log()).sum()
    zero = tensor(0.0)
    policy_loss(
        zero, zero, zero, tensor(1.0), **CLIP, entropy_K=entropy[None], entropy_coefficient=0.5
    ).loss.backward()
    # loss = -0.5 H and dH/dz_a = -p_a (log p_a + H)
    expected = 0.5 * p * (p.log() + entropy)
    assert torch.allclose(logits.grad, expected.detach(), atol=1e-12)


def test_a_broken_ratio_is_finite_and_has_no_gradient():
    logp = tensor(0.0).requires_grad_()
    ratio(logp, tensor(-1000.0)).sum().backward()
    assert logp.grad.item() == 0.0
