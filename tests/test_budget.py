"""Memory that runs out in the middle of an update: the same samples go through in smaller parts."""

import copy

import pytest
import torch
from test_update import Setup

from grpo_core.engine import Sampling, make_engine
from grpo_core.forward import score_completions


class Memory:
    """A forward that fails above so many tokens, as a full GPU does."""

    def __init__(self, setup, limit, monkeypatch, checkpointed_limit=None):
        self.sizes, self.failures, self.recomputes = [], 0, False
        self.learner, self.limit = setup.learner, limit
        self.checkpointed_limit = checkpointed_limit or limit
        monkeypatch.setattr("grpo_core.learner.score_completions", self.score)

    def score(self, model, prompts, completions, *args):
        size = sum(map(len, completions))
        blocks = self.learner.policy.model.get_decoder().layers
        limit = self.checkpointed_limit if blocks[0].gradient_checkpointing else self.limit
        self.recomputes = self.recomputes or blocks[0].gradient_checkpointing
        if torch.is_grad_enabled():
            self.sizes.append(size)
            if size > limit:
                self.failures += 1
                raise torch.OutOfMemoryError("no memory left")
        return score_completions(model, prompts, completions, *args)


def make(random_model, **more):
    setup = Setup(random_model, algorithm={"name": "deepseekmath", "kl_coefficient": 0.7}, **more)
    setup.learner.budget.tokens = 10_000
    return setup


def test_the_update_is_the_same_with_smaller_micro_batches(random_model, monkeypatch):
    whole = make(random_model)
    expected = whole.run()
    gradients, weights = whole.gradients(), whole.policy.model.state_dict()
    setup = make(random_model)
    memory = Memory(setup, 9, monkeypatch)
    result = setup.run()
    assert memory.failures and max(memory.sizes[-3:]) <= 9
    assert torch.allclose(result.logp_K, expected.logp_K, atol=1e-6)
    assert result.metrics["train/loss"] == pytest.approx(expected.metrics["train/loss"], abs=1e-6)
    for name, gradient in setup.gradients().items():
        assert torch.allclose(gradient, gradients[name], atol=1e-6), name
    for name, weight in setup.policy.model.state_dict().items():
        assert torch.allclose(weight, weights[name], atol=1e-4), name
    events = setup.learner.budget.take_events()
    assert [event.kind for event in events] == ["oom"] * memory.failures
    assert events[-1].detail["micro_batch_tokens"] == setup.learner.budget.tokens
    assert not setup.learner.budget.take_events()


def test_what_was_learned_of_the_memory_holds_for_the_next_step(random_model, monkeypatch):
    setup = make(random_model)
    memory = Memory(setup, 12, monkeypatch)
    setup.run()
    failures = memory.failures
    setup.run()
    assert memory.failures == failures > 0


def test_activations_are_checkpointed_before_a_group_is_split(random_model, monkeypatch):
    expected = make(random_model)
    expected.run()
    setup = make(random_model)
    memory = Memory(setup, 6, monkeypatch, checkpointed_limit=10)
    setup.run()
    blocks = setup.policy.model.get_decoder().layers
    # off again: a block that recomputes takes no cache, and another engine could not sample
    assert memory.recomputes and not any(b.gradient_checkpointing or b.training for b in blocks)
    assert max(memory.sizes) > 10 and sorted(memory.sizes[-3:]) == [4, 6, 10]  # whole groups
    for name, gradient in setup.gradients().items():
        assert torch.allclose(gradient, expected.gradients()[name], atol=1e-6), name
    told = [event.detail["message"] for event in setup.learner.budget.take_events()]
    assert "activations are recomputed" in told[-1]


def test_one_completion_that_does_not_fit_is_said_in_one_sentence(random_model, monkeypatch):
    setup = make(random_model)
    Memory(setup, 0, monkeypatch)
    with pytest.raises(RuntimeError, match="no memory for one completion of 5 tokens; lower"):
        setup.run()


def test_an_architecture_that_is_padded_keeps_the_budget_too(random_model):
    setup = make(random_model)
    rows = range(len(setup.batch.prompts))
    for budget in (5, 12, 40, 1000):
        parts = setup.batch.micro_batches(range(3), budget, packed=False)
        assert sorted(row for part in parts for row in part) == list(rows)
        for part in parts:
            widths = [len(setup.batch.prompts[r]) + len(setup.batch.completions[r]) for r in part]
            assert len(part) == 1 or len(part) * max(widths) <= budget


@pytest.mark.parametrize("choice", ["modules", "generate"])
def test_sampling_is_the_same_after_memory_has_run_out(random_model, monkeypatch, choice):
    setup = make(random_model)
    engine = make_engine(setup.policy.model.float(), setup.policy.eos_ids, choice)
    how = Sampling(12, greedy=True)
    setup.policy.model.double()
    Memory(setup, 6, monkeypatch, checkpointed_limit=10)
    setup.run()
    setup.policy.model.float()
    found = engine.generate([[5, 6, 7]], 1, how, 0)
    fresh = make_engine(copy.deepcopy(setup.policy.model), setup.policy.eos_ids, "static")
    assert found[0][0].ids == fresh.generate([[5, 6, 7]], 1, how, 0)[0][0].ids
