"""The engine that samples through a model's own modules, against `generate` and the trainer's
forward."""

from itertools import chain

import pytest
import torch
from families import FAMILIES, random_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)
from whole_runs import make_recipe, train

from grpo_core.engine import Sampling, make_engine, rows
from grpo_core.engine.architecture import Architecture
from grpo_core.engine.module_rows import Layer, ModuleRows
from grpo_core.engine.modules import ModulesEngine
from grpo_core.forward import score_completions, use_packing
from grpo_core.reader import RunReader

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [3]]
EOS = [0, 1, 2]
SIZES = {
    "vocab_size": 41,
    "hidden_size": 48,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GPT2_SIZES = {"vocab_size": 41, "n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 96}
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}
WINDOWS = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
SOFT_CAPS = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0, "head_dim": 16}
EXPERTS = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
OTHERS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2_SIZES, **NO_TOKENS, initializer_range=0.2)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4)),
    "qwen2_moe": lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **EXPERTS)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **WINDOWS, **SOFT_CAPS)),
}


def make(name):
    if name in FAMILIES:
        return random_model(name)
    torch.manual_seed(7)
    return OTHERS[name]().eval()


def mamba():
    torch.manual_seed(7)
    sizes = {"vocab_size": 41, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4}
    return MambaForCausalLM(MambaConfig(**sizes, initializer_range=0.2)).eval()


def ids(groups):
    return [[completion.ids for completion in group] for group in groups]


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
@pytest.mark.parametrize("packed", [False, True])
def test_greedy_tokens_equal_hugging_face(name, packed, monkeypatch):
    model = make(name)
    if packed and not use_packing(model):
        pytest.skip("is trained on padded rows")
    ours, theirs = (make_engine(model, EOS, choice) for choice in ("modules", "generate"))
    how = Sampling(30, greedy=True)
    expected = theirs.generate(PROMPTS, 1, how, 0)
    for below in (0.0, 0.75, 1.0):  # never, sometimes, and always compacted
        monkeypatch.setattr(rows, "COMPACT_BELOW", below)
        for (one,), (two,) in zip(ours.generate(PROMPTS, 1, how, 0), expected, strict=True):
            assert (one.ids, one.finish) == (two.ids, two.finish)
            assert one.logp == pytest.approx(two.logp, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "gemma2", "mistral, sliding"])
def test_sampled_logp_equals_the_training_forward(name):
    model = make(name)
    use_packing(model)
    engine = make_engine(model, EOS, "modules")
    groups = engine.generate(PROMPTS, 8, Sampling(20, temperature=0.7, top_p=0.9), 11)
    pairs = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
    scored = score_completions(model, [p for p, _ in pairs], [c.ids for _, c in pairs], 0.7)
    flat = [value for _, completion in pairs for value in completion.logp]
    assert scored.logp_K.tolist() == pytest.approx(flat, abs=2e-5)
    assert {c.finish for _, c in pairs} == {"stop", "length"}


def test_its_samples_are_those_of_our_own_engine():
    """The same random numbers, so the same tokens."""
    model, how = random_model("qwen3"), Sampling(24, temperature=0.9)
    ours, modules = (make_engine(model, EOS, choice) for choice in ("static", "modules"))
    assert ids(modules.generate(PROMPTS, 8, how, 3)) == ids(ours.generate(PROMPTS, 8, how, 3))


def test_the_samples_do_not_depend_on_how_many_are_under_way(monkeypatch):
    engine, how = make_engine(make("gpt2"), EOS), Sampling(24, temperature=0.9)
    prompts = [[3 + (7 * i + j) % 38 for j in range(1 + i % 8)] for i in range(16)]
    whole = engine.generate(prompts, 8, how, 3)
    assert engine.generate(prompts, 8, how, 3) == whole != engine.generate(prompts, 8, how, 4)
    for rows_at_once, below in ((16, 0.75), (128, 0.0), (40, 1.0)):
        engine.rows_at_once = rows_at_once
        monkeypatch.setattr(rows, "COMPACT_BELOW", below)
        parts = engine.generate(prompts, 8, how, 3)
        assert ids(parts) == ids(whole)
        for one, two in zip(chain(*parts), chain(*whole), strict=True):
            assert one.logp == pytest.approx(two.logp, abs=1e-5)


def test_when_memory_runs_out_fewer_rows_go_at_a_time_and_the_samples_stay(monkeypatch):
    engine = make_engine(make("gpt2"), EOS)
    prompts = [*PROMPTS, [7, 8], [4, 4, 4]]
    whole = engine.generate(prompts, 4, Sampling(10), 1)
    real, seen, most = engine._read, [], 1

    def read(prompts, *more):
        seen.append(len(prompts))
        if len(prompts) > most:
            raise torch.OutOfMemoryError
        return real(prompts, *more)

    monkeypatch.setattr(engine, "_read", read)
    assert ids(engine.generate(prompts, 4, Sampling(10), 1)) == ids(whole)
    assert seen == [5, 2, 1, 1, 1, 1, 1] and engine.rows_at_once == 4
    most = 0
    with pytest.raises(RuntimeError, match="no memory to sample one completion of 10 tokens"):
        engine.generate(prompts, 4, Sampling(10), 1)


def test_lengths_can_be_forced():
    lengths = (1, 5, 12, 3, 3, 12)
    engine = make_engine(make("gpt2"), EOS)
    groups = engine.generate(PROMPTS, 2, Sampling(12, forced_lengths=lengths), 0)
    flat = list(chain(*groups))
    assert tuple(len(c.ids) for c in flat) == lengths
    assert all(c.ids[-1] == EOS[0] and not set(c.ids[:-1]) & set(EOS) for c in flat)


def test_a_prompt_that_leaves_no_room_is_refused():
    engine = make_engine(make("gpt2"), EOS)
    with pytest.raises(ValueError, match="need 100 tokens, the model has a context of 96"):
        engine.generate([[3] * 90], 1, Sampling(10), 0)


def test_an_optimizer_step_is_seen_at_once_and_the_model_still_trains():
    model, how = make("gpt2"), Sampling(12, greedy=True)
    engine = make_engine(model, EOS)
    before = engine.generate(PROMPTS, 1, how, 0)
    model(torch.tensor(PROMPTS[:1])).logits.sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    engine.refresh()
    after = engine.generate(PROMPTS, 1, how, 0)
    assert ids(after) != ids(before)
    assert ids(after) == ids(make_engine(model, EOS, "generate").generate(PROMPTS, 1, how, 0))


def test_a_sequence_whose_frequencies_change_on_the_way_is_left_to_generate():
    """`longrope` turns keys otherwise in sequences beyond a length; those in a cache are turned."""
    factors = {"short_factor": [1.0] * 6, "long_factor": [9.0] * 6}
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 20, **factors}
    torch.manual_seed(7)
    config = Phi3Config(**SIZES, rope_parameters=rope, original_max_position_embeddings=20)
    model, how = Phi3ForCausalLM(config).eval(), Sampling(8)
    modules, generate = (make_engine(model, EOS, choice) for choice in ("modules", "generate"))
    assert modules.generate([[5] * 13], 2, how, 1) == generate.generate([[5] * 13], 2, how, 1)
    assert modules.generate([[5] * 12], 2, how, 1) != generate.generate([[5] * 12], 2, how, 1)


# --- which engine it is ---------------------------------------------------------------------------


def test_the_first_engine_that_can_sample_a_model_is_taken_and_says_so():
    known, other, recurrent = random_model("llama"), make("gpt2"), mamba()
    assert (make_engine(known, EOS).name, make_engine(known, EOS).notice) == ("static", "")
    assert make_engine(known, EOS, "modules").name == "modules"
    modules, generate = make_engine(other, EOS), make_engine(recurrent, EOS)
    assert modules.name == "modules" and "own modules with a static cache" in modules.notice
    assert generate.name == "generate" and "generate, the slow path" in generate.notice
    assert make_engine(other, EOS, "generate").name == "generate"
    with pytest.raises(ValueError, match="modules cannot sample 'mamba'"):
        make_engine(recurrent, EOS, "modules")


def shifted(method, change):
    return lambda self, value: change(self, method(self, value))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("where", "method", "broken"),
    [
        (ModuleRows, "positions", shifted(ModuleRows.positions, lambda _, x: x + 1)),
        (ModuleRows, "positions", lambda self, step: 0 * self.index + self.width + step),
        (ModuleRows, "seen", shifted(ModuleRows.seen, lambda _, mask: torch.ones_like(mask))),
        (Layer, "keep", lambda self, rows, keep=Layer.keep: keep(self, rows - 1)),
    ],
)
def test_a_model_that_would_be_sampled_wrongly_is_refused(half, where, method, broken, monkeypatch):
    model = random_model("llama")
    if half:
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
    assert ModulesEngine.of(model, EOS) is not None
    monkeypatch.setattr(where, method, broken)
    assert ModulesEngine.of(model, EOS) is None


@pytest.mark.parametrize("make_model", [mamba, lambda: make("gpt2")])
def test_trying_leaves_a_half_precision_model_and_the_random_state_as_they_were(make_model):
    model = make_model()
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    before = {name: (x.data_ptr(), x.clone()) for name, x in model.state_dict().items()}
    state = torch.get_rng_state()
    ModulesEngine.of(model, EOS)
    assert torch.equal(torch.get_rng_state(), state) and not model.training
    for name, tensor in model.state_dict().items():
        pointer, values = before[name]
        assert tensor.data_ptr() == pointer and tensor.dtype == values.dtype, name
        assert torch.equal(tensor, values), name
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


@pytest.mark.parametrize(("choice", "said"), [("auto", 1), ("modules", 0)])
def test_a_run_says_why_it_samples_slowly_unless_it_was_asked_to(
    choice, said, random_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(Architecture, "of", lambda _: None)
    recipe = make_recipe(random_model, tmp_path)
    model = {**recipe["model"], "engine": choice}
    status, run = train(tmp_path, "one", recipe, num_steps=1, model=model)
    assert status == "completed"
    with RunReader(run.db_path) as reader:
        notices = [event["detail"]["message"] for event in reader.events(kinds=["notice"])]
        assert max(value for _, value in reader.series("train/logprob_drift")) < 1e-4
    assert notices == [ModulesEngine.notice] * said
