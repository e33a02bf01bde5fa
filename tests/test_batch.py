"""Groups to flat tensors, and the forward over them against one unpadded row at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo_core.batch import pack, per_token
from grpo_core.forward import score_completions
from grpo_core.metrics import describe
from grpo_core.packed import pack_rows
from grpo_core.policy import load_policy
from grpo_core.records import Group, Problem, Rollout


def make_groups() -> list[Group]:
    def rollout(ids, **more):
        return Rollout(ids, [-0.5] * len(ids), "x", "stop", **more)

    one = [
        rollout([5, 6, 7], reward=1.0, outcome="ok", correct=True),
        rollout([8], outcome="error"),
    ]
    two = [rollout([9, 10], reward=0.5, outcome="ok"), rollout([11] * 5, reward=0.0, outcome="ok")]
    problem = Problem("p", "q", "a")
    return [Group(problem, "q", [1, 2], one), Group(problem, "q", [3], two)]


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.lists(st.integers(0, 60), min_size=1, max_size=6)),
        min_size=1,
        max_size=12,
    ),
    st.integers(5, 200),
)
def test_micro_batches_keep_the_budget_and_their_groups_together(shapes, budget):
    groups = [
        Group(
            Problem("p", "q", "a"),
            "q",
            [index] * length,
            [Rollout([7] * size, [0.0] * size, "x", "stop") for size in sizes],
        )
        for index, (length, sizes) in enumerate(shapes)
    ]
    batch = pack(groups, torch.device("cpu"))
    parts = batch.micro_batches(range(len(groups)), budget)
    assert sorted(row for part in parts for row in part) == list(range(len(batch.prompts)))
    for part in parts:
        packed = pack_rows(
            [batch.prompts[row] for row in part],
            [batch.completions[row] for row in part],
            torch.device("cpu"),
        )
        assert batch.num_tokens(part) == len(packed.ids_N)
        assert len(packed.ids_N) <= budget or len(part) == 1
    for rows in batch.group_rows:
        if batch.num_tokens(list(rows)) <= budget:
            assert sum(bool(set(rows) & set(part)) for part in parts) == 1


def test_flat_tensors_by_hand():
    batch = pack(make_groups(), torch.device("cpu"))
    assert batch.offsets == [0, 3, 4, 6, 11]
    assert batch.sequence_K.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 3]
    assert batch.tokens_of([2, 0]).tolist() == [4, 5, 0, 1, 2]
    assert (
        per_token([1.0, 2.0, 3.0, 4.0], batch, torch.float32).tolist()
        == [1.0] * 3 + [2.0, 3.0, 3.0] + [4.0] * 5
    )


def test_the_padded_forward_equals_one_row_at_a_time(random_model):
    model = load_policy(str(random_model), torch.device("cpu")).model.double()
    batch = pack(make_groups(), torch.device("cpu"))
    scored = score_completions(model, batch.prompts, batch.completions, 0.7)
    expected, entropies = [], []
    for prompt, completion in zip(batch.prompts, batch.completions, strict=True):
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / 0.7
        logp = torch.log_softmax(logits, -1)
        expected.append(logp[torch.arange(len(completion)), torch.tensor(completion)])
        entropies.append(torch.distributions.Categorical(logits=logits).entropy())
    assert torch.allclose(scored.logp_K, torch.cat(expected), atol=1e-12)
    assert torch.allclose(scored.entropy_K, torch.cat(entropies), atol=1e-12)


def test_the_entropy_has_a_gradient_only_when_asked_for(random_model):
    model = load_policy(str(random_model), torch.device("cpu")).model
    without = score_completions(model, [[1]], [[2, 3]], 1.0)
    assert without.logp_K.requires_grad and not without.entropy_K.requires_grad
    assert score_completions(model, [[1]], [[2, 3]], 1.0, True).entropy_K.requires_grad


def test_metrics_of_groups_by_hand():
    got = describe(make_groups(), [])
    assert got == {
        "train/accuracy": 0.25,
        "reward/error_fraction": 0.25,
        "completion/length_mean": 11 / 4,
        "completion/truncated_fraction": 0.0,
        "reward/mean": 0.5,
        "reward/std": pytest.approx(0.25),  # of the one group with two rewards: 0.5 and 0
        "reward/zero_variance_fraction": 0.0,
    }
