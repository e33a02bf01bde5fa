"""Our engine against Hugging Face's `generate`, and its log-probs against the trainer's forward."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from grpo_core.engine import Sampling, make_engine
from grpo_core.engine.sampling import choose
from grpo_core.policy import score_completions

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [3]]
EOS = [0, 1, 2]
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
}


def random_model(family: str, heads: int = 6, kv_heads: int = 2):
    make, config, more = FAMILIES[family]
    torch.manual_seed(heads * 10 + kv_heads)
    # large weights: a model whose next token is far from certain, so that mistakes show
    model = make(
        config(
            vocab_size=41,
            hidden_size=12 * heads,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=96,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
            **more,
        )
    )
    for name, parameter in model.named_parameters():
        if "bias" in name or "norm" in name:  # their initial 0 and 1 would hide a forgotten one
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (4, 1), (7, 1)])
def test_greedy_tokens_equal_hugging_face(family, heads, kv_heads):
    model = random_model(family, heads, kv_heads)
    ours, theirs = (make_engine(model, EOS, choice) for choice in ("static", "generate"))
    how = Sampling(30, greedy=True)
    a, b = ours.generate(PROMPTS, 1, how, 0), theirs.generate(PROMPTS, 1, how, 0)
    for (one,), (two,) in zip(a, b, strict=True):
        assert (one.ids, one.finish) == (two.ids, two.finish)
        assert one.logp == pytest.approx(two.logp, abs=1e-4)


def test_what_a_models_folder_wishes_changes_nothing_of_what_is_sampled():
    """A repetition penalty or min_p would sample otherwise than the log-probs say."""
    model = random_model("llama")
    ours, theirs = (make_engine(model, EOS, choice) for choice in ("static", "generate"))
    wishes = {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "max_length": 9}
    model.generation_config.update(**wishes)
    how = Sampling(30, greedy=True)
    a, b = ours.generate(PROMPTS, 1, how, 0), theirs.generate(PROMPTS, 1, how, 0)
    assert [group[0].ids for group in a] == [group[0].ids for group in b]
    assert model.generation_config.repetition_penalty == 1.7  # and it is saved as it came


@pytest.mark.parametrize("choice", ["static", "generate"])
def test_sampled_logp_equals_the_training_forward(choice):
    model = random_model("qwen3")
    engine = make_engine(model, EOS, choice)
    groups = engine.generate(PROMPTS, 8, Sampling(40, temperature=0.7, top_p=0.9), 11)
    rows = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
    scored = score_completions(model, [p for p, _ in rows], [c.ids for _, c in rows], 0.7)
    flat = [value for _, completion in rows for value in completion.logp]
    assert scored.logp_K.tolist() == pytest.approx(flat, abs=2e-5)
    finishes = {c.finish for _, c in rows}
    assert finishes == {"stop", "length"}  # both ends occur, so compaction was at work
    for _, c in rows:
        assert (c.finish == "stop") == (c.ids[-1] in EOS)
        assert not set(c.ids[:-1]) & set(EOS)


def test_the_same_seed_gives_the_same_samples_and_another_seed_others():
    engine = make_engine(random_model("llama"), EOS)
    first, again = (engine.generate(PROMPTS, 6, Sampling(20), 5) for _ in range(2))
    assert first == again
    assert first != engine.generate(PROMPTS, 6, Sampling(20), 6)


def test_generate_leaves_the_global_random_state_alone():
    engine = make_engine(random_model("llama"), EOS, "generate")
    before = torch.get_rng_state()
    engine.generate(PROMPTS, 2, Sampling(5), 5)
    assert torch.equal(before, torch.get_rng_state())


def test_an_optimizer_step_is_seen_at_once():
    model = random_model("llama")
    engine = make_engine(model, EOS)
    before = engine.generate(PROMPTS, 1, Sampling(12, greedy=True), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    engine.refresh()
    after = engine.generate(PROMPTS, 1, Sampling(12, greedy=True), 0)
    theirs = make_engine(model, EOS, "generate").generate(PROMPTS, 1, Sampling(12, greedy=True), 0)
    assert [g[0].ids for g in after] == [g[0].ids for g in theirs]
    assert [g[0].ids for g in after] != [g[0].ids for g in before]


def test_sampled_frequencies_follow_the_probabilities():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    num, temperature = 40_000, 0.8
    uniform = torch.rand(num, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids, logp = choose(logits.expand(num, -1), Sampling(1, temperature=temperature), uniform)
    expected = torch.softmax(logits.double() / temperature, 0) * num
    observed = torch.bincount(ids, minlength=5).double()
    chi_square = ((observed - expected) ** 2 / expected).sum().item()
    assert chi_square < 18.5  # 0.1 % point of 4 degrees of freedom
    assert torch.allclose(logp, torch.log_softmax(logits / temperature, 0)[ids], atol=1e-6)


def test_top_p_keeps_the_smallest_sufficient_set():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2000, -1)
    uniform = torch.rand(2000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ids, logp = choose(logits, Sampling(1, top_p=0.7), uniform)
    assert set(ids.tolist()) == {0, 1}  # 0.5 alone is not 0.7; 0.5 + 0.3 is
    assert logp[ids == 0][0].exp().item() == pytest.approx(0.5)  # of the whole distribution


def test_unknown_architectures_take_the_slow_path_or_are_refused():
    config = GPT2Config(vocab_size=41, n_embd=24, n_layer=2, n_head=2, n_positions=64)
    model = GPT2LMHeadModel(config).eval()
    assert make_engine(model, EOS).name == "generate"
    with pytest.raises(ValueError, match="static does not know 'gpt2'"):
        make_engine(model, EOS, "static")
    completion = make_engine(model, EOS).generate([[4, 5]], 1, Sampling(6), 0)[0][0]
    scored = score_completions(model, [[4, 5]], [completion.ids], 1.0)
    assert scored.logp_K.tolist() == pytest.approx(completion.logp, abs=1e-5)


def test_a_prompt_that_leaves_no_room_is_refused():
    engine = make_engine(random_model("llama"), EOS)
    with pytest.raises(ValueError, match="need 100 tokens, the model has a context of 96"):
        engine.generate([[3] * 90], 1, Sampling(10), 0)
