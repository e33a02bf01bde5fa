"""The loss taken apart, against the loss itself: its value, its gradient by autograd, its clip."""

import numpy as np
import pytest
import torch

from grpo_core.algorithm_config import AlgorithmConfig, objective_of
from grpo_core.algorithms import ALGORITHMS
from grpo_core.losses import policy_loss, token_weights
from grpo_core.terms import Numbers, terms_of, weights_of

MORE = {
    "k2": {"name": "deepseekmath", "kl_estimator": "k2", "kl_coefficient": 0.3},
    "k3_is": {"name": "gspo", "kl_estimator": "k3_is", "kl_coefficient": 0.3},
    "dual": {"name": "dapo", "dual_clip": 1.5, "entropy_coefficient": 0.2},
    "plain": {"name": "dr_grpo", "clipping": "none"},
    "wide": {"name": "cispo", "clip_high": 0.3},
}
ROWS = {name: {"name": name} for name in ALGORITHMS} | MORE


def draw(seed, per_token, num=24):
    """Numbers of a completion whose ratios go well beyond every clip; some weigh nothing."""
    rng = np.random.default_rng(seed)
    logp = -rng.gamma(1.0, 1.0, num)
    advantage = rng.normal(size=num) if per_token else np.full(num, rng.normal())
    weight = np.full(num, 0.37)
    weight[rng.random(num) < 0.2] = 0.0
    logp[3] = -45.0  # a ratio that is held
    return Numbers.of(
        logp=logp,
        old=logp + 0.6 * rng.normal(size=num) + np.where(np.arange(num) == 3, 30.0, 0.0),
        ref=logp + 0.5 * rng.normal(size=num),
        entropy=rng.gamma(1.0, 0.5, num),
        advantage=advantage,
        weight=weight,
    )


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_terms_are_the_loss_and_its_gradient(name, per_token):
    objective = objective_of(AlgorithmConfig.model_validate(ROWS[name]))
    for seed in range(5):
        numbers = draw(seed, per_token)
        tensors = {name: torch.tensor(values) for name, values in vars(numbers).items()}
        logp = tensors["logp"].requires_grad_()
        parts = policy_loss(
            objective,
            logp,
            tensors["old"],
            tensors["advantage"],
            tensors["weight"],
            torch.zeros(len(logp), dtype=torch.long),
            ref_K=tensors["ref"],
            entropy_K=tensors["entropy"],
        )
        parts.loss.backward()
        terms = terms_of(objective, numbers)
        assert terms.loss.sum() == pytest.approx(parts.loss.item(), rel=1e-12)
        assert terms.gradient == pytest.approx(logp.grad.numpy(), rel=1e-9, abs=1e-15)
        assert (terms.clipped == 1).sum() == parts.num_high
        assert (terms.clipped == -1).sum() == parts.num_low


def test_a_token_by_hand():
    """PPO's clip at ratio 1.5 and advantage 2: held at 1.2, so no gradient from the policy."""
    objective = objective_of(AlgorithmConfig(name="deepseekmath", kl_coefficient=0.1))
    one = {"logp": [np.log(0.6)], "old": [np.log(0.4)], "ref": [np.log(0.3)], "entropy": [0.0]}
    terms = terms_of(objective, Numbers.of(**one, advantage=[2.0], weight=[0.25]))
    k3 = 0.5 - 1 - np.log(0.5)
    assert terms.ratio == pytest.approx([1.5]) and list(terms.clipped) == [1]
    assert terms.loss == pytest.approx([0.25 * (-1.2 * 2 + 0.1 * k3)])
    assert terms.gradient == pytest.approx([0.25 * 0.1 * (1 - 0.5)])
    low = terms_of(objective, Numbers.of(**one, advantage=[-2.0], weight=[0.25]))
    assert list(low.clipped) == [0], "a bad token that became likelier is pushed back"
    assert low.gradient == pytest.approx([0.25 * (1.5 * 2 + 0.1 * 0.5)])


@pytest.mark.parametrize("aggregation", ["seq_sum", "seq_mean", "token_mean", "dr_grpo"])
def test_weights_are_those_of_the_loss(aggregation):
    for lengths in ([3, 0, 5, 1], [0, 0], [7]):
        expected = token_weights(torch.tensor(lengths, dtype=torch.float64), aggregation, 9)
        assert weights_of(lengths, aggregation, 9) == pytest.approx(expected.numpy(), rel=1e-15)
