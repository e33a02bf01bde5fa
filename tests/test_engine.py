"""Our engine against Hugging Face's `generate`, and its log-probs against the trainer's forward."""

from itertools import chain

import pytest
import torch
from families import FAMILIES, HEADS, random_model
from transformers import GPT2Config, GPT2LMHeadModel

from grpo_core.engine import Sampling, graphs, make_engine, reference, rows
from grpo_core.engine.architecture import Architecture
from grpo_core.engine.graphs import GraphEngine
from grpo_core.engine.sampling import choose
from grpo_core.forward import score_completions, use_packing

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [3]]
EOS = [0, 1, 2]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("shared_from", [1, pytest.param(99, marks=pytest.mark.slow)])
def test_greedy_tokens_equal_hugging_face(family, heads, kv_heads, shared_from, monkeypatch):
    monkeypatch.setattr(rows, "SHARED_FROM", shared_from)  # both ways to keep a prompt's keys
    model = random_model(family, heads, kv_heads)
    ours, theirs = (make_engine(model, EOS, choice) for choice in ("static", "generate"))
    how = Sampling(30, greedy=True)
    theirs = theirs.generate(PROMPTS, 1, how, 0)
    for below in (0.0, 0.75, 1.0):  # never, sometimes, and always compacted
        monkeypatch.setattr(rows, "COMPACT_BELOW", below)
        for (one,), (two,) in zip(ours.generate(PROMPTS, 1, how, 0), theirs, strict=True):
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


@pytest.mark.parametrize(
    ("choice", "shared_from"), [("static", 1), ("static", 99), ("generate", 99)]
)
def test_sampled_logp_equals_the_training_forward(choice, shared_from, monkeypatch):
    monkeypatch.setattr(rows, "SHARED_FROM", shared_from)
    model = random_model("qwen3")
    engine = make_engine(model, EOS, choice)
    groups = engine.generate(PROMPTS, 8, Sampling(40, temperature=0.7, top_p=0.9), 11)
    pairs = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
    scored = score_completions(model, [p for p, _ in pairs], [c.ids for _, c in pairs], 0.7)
    flat = [value for _, completion in pairs for value in completion.logp]
    assert scored.logp_K.tolist() == pytest.approx(flat, abs=2e-5)
    finishes = {c.finish for _, c in pairs}
    assert finishes == {"stop", "length"}  # both ends occur, so compaction was at work
    for _, c in pairs:
        assert (c.finish == "stop") == (c.ids[-1] in EOS)
        assert not set(c.ids[:-1]) & set(EOS)


@pytest.mark.parametrize("family", FAMILIES)
def test_logp_in_fp32_is_that_of_float64_as_nearly_as_the_librarys(family):
    model, exact = random_model(family), random_model(family).double()
    engine, ours, theirs = make_engine(random_model(family), EOS), [], []
    for prompt, group in zip(
        PROMPTS, engine.generate(PROMPTS, 24, Sampling(40, temperature=0.8), 2), strict=True
    ):
        for one in group:
            logp, expected = (score(which, prompt, one.ids, 0.8) for which in (model, exact))
            ours.append(torch.tensor(one.logp, dtype=torch.float64) - expected)
            theirs.append(logp.double() - expected)
    off, of_theirs = torch.cat(ours).abs(), torch.cat(theirs).abs()
    assert off.square().mean() <= 1.1**2 * of_theirs.square().mean()
    assert off.quantile(0.99) <= 1e-5 and off.max() <= 2 * of_theirs.max()


def score(model, prompt, ids, temperature):
    """Log-probs of a completion by the library's forward."""
    logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]


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


def test_unknown_architectures_take_another_path_or_are_refused():
    config = GPT2Config(vocab_size=41, n_embd=24, n_layer=2, n_head=2, n_positions=64)
    model = GPT2LMHeadModel(config).eval()
    assert make_engine(model, EOS).name == "modules"
    with pytest.raises(ValueError, match="static does not know 'gpt2'"):
        make_engine(model, EOS, "static")
    completion = make_engine(model, EOS).generate([[4, 5]], 1, Sampling(6), 0)[0][0]
    scored = score_completions(model, [[4, 5]], [completion.ids], 1.0)
    assert scored.logp_K.tolist() == pytest.approx(completion.logp, abs=1e-5)


def test_a_prompt_that_leaves_no_room_is_refused():
    engine = make_engine(random_model("llama"), EOS)
    with pytest.raises(ValueError, match="need 100 tokens, the model has a context of 96"):
        engine.generate([[3] * 90], 1, Sampling(10), 0)


@pytest.mark.parametrize("shared_from", [1, pytest.param(99, marks=pytest.mark.slow)])
def test_the_samples_do_not_depend_on_how_many_are_under_way(shared_from, monkeypatch):
    """512 completions at once, 64 at a time, and with more or less compaction: the same."""
    monkeypatch.setattr(rows, "SHARED_FROM", shared_from)
    engine = make_engine(random_model("qwen3"), EOS)
    generator = torch.Generator().manual_seed(4)
    prompts = [
        torch.randint(3, 41, (length,), generator=generator).tolist()
        for length in torch.randint(1, 9, (64,), generator=generator).tolist()
    ]
    how = Sampling(24, temperature=0.9)
    whole = engine.generate(prompts, 8, how, 3)
    for rows_at_once, below in ((64, 0.75), (512, 0.0), (72, 1.0)):
        engine.rows_at_once = rows_at_once
        monkeypatch.setattr(rows, "COMPACT_BELOW", below)
        parts = engine.generate(prompts, 8, how, 3)
        assert [[c.ids for c in group] for group in parts] == [[c.ids for c in g] for g in whole]
        for one, two in zip(chain(*parts), chain(*whole), strict=True):
            assert one.logp == pytest.approx(two.logp, abs=1e-5)


def test_when_memory_runs_out_fewer_rows_go_at_a_time_and_the_samples_stay(monkeypatch):
    engine = make_engine(random_model("llama"), EOS)
    prompts = [*PROMPTS, [7, 8], [4, 4, 4]]
    whole = engine.generate(prompts, 4, Sampling(10), 1)
    real, seen = engine.prefill, []

    def prefill(ids):
        seen.append(len(ids))
        if len(ids) > 1:
            raise torch.OutOfMemoryError
        return real(ids)

    monkeypatch.setattr(engine, "prefill", prefill)
    found = engine.generate(prompts, 4, Sampling(10), 1)
    assert [[c.ids for c in group] for group in found] == [[c.ids for c in g] for g in whole]
    assert seen == [5, 2, 1, 1, 1, 1, 1] and engine.rows_at_once == 4
    monkeypatch.setattr(engine, "prefill", lambda ids: prefill([0, 0]))
    with pytest.raises(RuntimeError, match="no memory to sample one completion of 10 tokens"):
        engine.generate(prompts, 4, Sampling(10), 1)


def test_a_group_that_does_not_fit_is_sampled_in_parts():
    engine = make_engine(random_model("llama"), EOS)
    whole = engine.generate(PROMPTS, 7, Sampling(10), 1)
    for rows_at_once in (1, 3, 5, 9):
        engine.rows_at_once = rows_at_once
        parts = engine.generate(PROMPTS, 7, Sampling(10), 1)
        assert [[c.ids for c in group] for group in parts] == [[c.ids for c in g] for g in whole]


def test_lengths_can_be_forced():
    engine = make_engine(random_model("llama"), EOS)
    lengths = (1, 5, 12, 3, 3, 12)
    groups = engine.generate(PROMPTS, 2, Sampling(12, forced_lengths=lengths), 0)
    flat = list(chain(*groups))
    assert tuple(len(c.ids) for c in flat) == lengths
    assert all(c.ids[-1] == EOS[0] and not set(c.ids[:-1]) & set(EOS) for c in flat)
    with pytest.raises(ValueError, match="generate cannot force"):
        make_engine(random_model("llama"), EOS, "generate").generate(
            PROMPTS, 2, Sampling(12, forced_lengths=lengths), 0
        )


def test_weights_lie_in_memory_once_and_a_second_engine_reads_the_same():
    model = random_model("qwen2")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    attention = model.get_decoder().layers[0].self_attn
    first = make_engine(model, EOS).architecture.layers[0].qkv
    second = make_engine(model, EOS).architecture.layers[0].qkv
    assert first.weight.data_ptr() == second.weight.data_ptr() == attention.q_proj.weight.data_ptr()
    assert first.bias.data_ptr() == second.bias.data_ptr()
    with torch.no_grad():
        attention.v_proj.weight.add_(1)
    joined = [attention.q_proj, attention.k_proj, attention.v_proj]
    for one in (first, second):
        assert torch.equal(one.weight, torch.cat([module.weight for module in joined]))
        assert torch.equal(one.bias, torch.cat([module.bias for module in joined]))
    with torch.no_grad():
        attention.v_proj.weight.copy_(before["model.layers.0.self_attn.v_proj.weight"])
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_model_that_an_engine_reads_is_saved_and_copied_as_it_is(tmp_path):
    import copy

    model = random_model("qwen2")
    engine = make_engine(model, EOS)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_decoder().layers[0].self_attn.q_proj.weight.zero_()
    assert engine.architecture.layers[0].qkv.weight[0].any()


# --- the engine of the GPU, its kernels replaced by what they compute -----------------------------


def graph_engine(model):
    return GraphEngine(Architecture.of(model), EOS, reference)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.slow
def test_the_gpus_engine_is_greedy_as_hugging_face(family, heads, kv_heads, monkeypatch):
    monkeypatch.setattr(graphs, "LOOK_EVERY", 3)
    model = random_model(family, heads, kv_heads)
    how = Sampling(30, greedy=True)
    theirs = make_engine(model, EOS, "generate").generate(PROMPTS, 1, how, 0)
    for (one,), (two,) in zip(
        graph_engine(model).generate(PROMPTS, 1, how, 0), theirs, strict=True
    ):
        assert (one.ids, one.finish) == (two.ids, two.finish)
        assert one.logp == pytest.approx(two.logp, abs=1e-4)


def test_the_gpus_engine_samples_from_the_policy_and_uses_its_caches_again():
    model = random_model("qwen3")
    engine = graph_engine(model)
    how = Sampling(20, temperature=0.8)
    groups = engine.generate(PROMPTS, 8, how, 2)
    pairs = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
    scored = score_completions(model, [p for p, _ in pairs], [c.ids for _, c in pairs], 0.8)
    flat = [value for _, completion in pairs for value in completion.logp]
    assert scored.logp_K.tolist() == pytest.approx(flat, abs=2e-5)
    assert {c.finish for _, c in pairs} == {"stop", "length"}
    state = engine._state
    assert engine.generate(PROMPTS[:2], 3, Sampling(5), 0) and engine._state is state
    assert engine.generate(PROMPTS, 8, how, 2) == groups and engine._state is state
    engine.release()
    assert engine.generate(PROMPTS, 8, how, 2) == groups and engine._state is not state


def test_the_gpus_samples_do_not_depend_on_how_many_are_under_way(monkeypatch):
    engine = graph_engine(random_model("llama"))
    whole = engine.generate(PROMPTS * 4, 4, Sampling(20), 3)
    for rows_at_once, look_every in ((8, 16), (48, 1), (20, 5)):
        engine.rows_at_once = rows_at_once
        monkeypatch.setattr(graphs, "LOOK_EVERY", look_every)
        parts = engine.generate(PROMPTS * 4, 4, Sampling(20), 3)
        assert [[c.ids for c in group] for group in parts] == [[c.ids for c in g] for g in whole]


def test_the_gpus_engine_takes_forced_lengths_and_leaves_top_p_to_the_other():
    model = random_model("llama")
    lengths = (1, 5, 12, 3, 3, 12)
    groups = graph_engine(model).generate(PROMPTS, 2, Sampling(12, forced_lengths=lengths), 0)
    flat = list(chain(*groups))
    assert tuple(len(c.ids) for c in flat) == lengths
    assert all(c.ids[-1] == EOS[0] and not set(c.ids[:-1]) & set(EOS) for c in flat)
    how = Sampling(9, top_p=0.8)
    assert graph_engine(model).generate(PROMPTS, 2, how, 1) == make_engine(
        model, EOS, "static"
    ).generate(PROMPTS, 2, how, 1)


def test_training_and_evaluation_share_the_gpus_caches_and_full_memory_gives_them_back(monkeypatch):
    engine = graph_engine(random_model("llama"))
    engine.generate(PROMPTS, 8, Sampling(9), 0)
    engine.generate([[3]] * 9, 1, Sampling(12), 0)  # more prompts, fewer slots
    state = engine._state
    assert state.sizes == (24, 9, 64, 12)
    engine.generate(PROMPTS, 8, Sampling(9), 0)
    assert engine._state is state
    real, limit = engine.prefill, 2

    def prefill(ids):
        if len(ids) > limit:
            raise torch.OutOfMemoryError
        return real(ids)

    monkeypatch.setattr(engine, "prefill", prefill)
    engine.generate([[3]] * 9, 1, Sampling(12), 0)
    assert engine.rows_at_once == 2 and engine._state.sizes == (2, 2, 64, 12)


def test_graphs_come_in_few_sizes_and_are_not_much_too_large():
    sizes = {graphs._graph_size(num, 1024) for num in range(1, 1025)}
    assert len(sizes) < 32 and max(sizes) == 1024
    for num in range(33, 1025):
        assert num <= graphs._graph_size(num, 1024) <= 1.25 * num


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_in_bf16_on_a_cpu_the_engine_says_what_the_trainer_says(family):
    model = random_model(family)
    assert use_packing(model)
    for weight in model.parameters():
        weight.data = (0.3 * weight.data).bfloat16()
    groups = make_engine(model, EOS).generate(PROMPTS, 8, Sampling(30), 3)
    pairs = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
    scored = score_completions(model, [p for p, _ in pairs], [c.ids for _, c in pairs], 1.0)
    sampled = torch.tensor([value for _, c in pairs for value in c.logp])
    assert (scored.logp_K - sampled).abs().mean() < 0.01
