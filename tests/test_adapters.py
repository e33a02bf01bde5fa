"""Low-rank adapters: what is trained, what is sampled, and what a run with them leaves."""

import pytest
import torch
from accelerate import Accelerator
from families import FAMILIES, random_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from whole_runs import assert_same_run, changed, make_recipe, tensors, train, train_and_kill

from grpo_core import checkpoint, launch, worker
from grpo_core.adapters import add_adapters
from grpo_core.checkpoint import Position
from grpo_core.config import LoraConfig
from grpo_core.engine import Sampling, make_engine
from grpo_core.forward import score_completions, use_packing
from grpo_core.learner import make_learner
from grpo_core.policy import load_policy
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config

CPU = torch.device("cpu")
LORA = LoraConfig(rank=4, alpha=8)
PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [3]]
COMPLETIONS = [[4, 9, 2], [8, 1, 3, 3], [6]]
EOS = [0, 1, 2]


def adapted(family="llama", half=False):
    """A packed random model with new adapters, and its log-probs before it got them."""
    model = random_model(family)
    assert use_packing(model)
    if half:
        for weight in model.parameters():
            weight.data = weight.data.bfloat16()
    before = log_probs(model)
    add_adapters(model, LORA, seed=3)
    return model, before


def log_probs(model):
    return score_completions(model, PROMPTS, COMPLETIONS, 1.0).logp_K.detach()


def trained_names(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def move(model, size=0.2):
    """Adapters as after some training: new ones are a product with 0."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight += size * torch.randn(weight.shape, generator=generator)


# --- what they are --------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapters_of_all_linear_layers_but_the_head_are_trained(family, half):
    model, before = adapted(family, half)
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    names = trained_names(model)
    places = {name.split(".lora_")[0].rpartition(".")[2] for name in names}
    assert places == set(linear) and len(names) == 3 * len(linear) * 2
    base = torch.bfloat16 if half else torch.float32
    for name, weight in model.named_parameters():
        assert weight.dtype == (torch.float32 if name in names else base), name
    assert torch.equal(log_probs(model), before), "new adapters change nothing, to the last bit"


def test_the_seed_decides_how_adapters_begin():
    def begin(seed):
        model = random_model("llama")
        torch.rand(seed)  # whatever has been drawn before
        before = torch.get_rng_state()
        add_adapters(model, LORA, seed)
        assert torch.equal(before, torch.get_rng_state()), "and nobody else notices"
        return {name: weight for name, weight in model.named_parameters() if "lora_A" in name}

    one, again, other = begin(5), begin(5), begin(6)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_without_its_adapters_it_is_the_policy_that_the_run_began_with(random_model, half):
    policy = load_policy(str(random_model), CPU, half=half, lora=LORA)
    assert policy.reference is None and policy.masters == {}
    first = log_probs(policy.model)
    move(policy.model)
    moved = log_probs(policy.model)
    assert (moved - first).abs().max() > 0.01
    with policy.as_it_began() as model:
        assert torch.equal(log_probs(model), first)
    assert torch.equal(log_probs(policy.model), moved), "they are on again"
    with pytest.raises(KeyError), policy.as_it_began():
        raise KeyError
    assert torch.equal(log_probs(policy.model), moved), "also after a failure"
    assert trained_names(policy.model) == {
        n for n, _ in policy.model.named_parameters() if "lora_" in n
    }


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_samples_from_weights_and_adapters(family):
    model, _ = adapted(family)
    ours, theirs = (make_engine(model, EOS, choice) for choice in ("static", "generate"))
    how = Sampling(30, greedy=True)
    before = ours.generate(PROMPTS, 1, how, 0)
    move(model)
    for engine in (ours, theirs):
        engine.refresh()
    after, expected = ours.generate(PROMPTS, 1, how, 0), theirs.generate(PROMPTS, 1, how, 0)
    assert [g[0].ids for g in after] == [g[0].ids for g in expected]
    assert after != before, "the adapters count"
    sampled = ours.generate(PROMPTS, 4, Sampling(30, temperature=0.7), 5)
    pairs = [(p, c) for p, group in zip(PROMPTS, sampled, strict=True) for c in group]
    scored = score_completions(model, [p for p, _ in pairs], [c.ids for _, c in pairs], 0.7)
    flat = [value for _, completion in pairs for value in completion.logp]
    assert scored.logp_K.tolist() == pytest.approx(flat, abs=5e-5)


def test_merging_leaves_the_weights_themselves_alone():
    """What is saved and trained are base and adapters, not the sum that the engine reads."""
    model, _ = adapted()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    engine = make_engine(model, EOS)
    engine.refresh()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    addresses = [layer.qkv.weight.data_ptr() for layer in engine.architecture.layers]
    move(model)
    engine.refresh()
    assert addresses == [layer.qkv.weight.data_ptr() for layer in engine.architecture.layers]
    move(model)
    first = engine.generate(PROMPTS, 1, Sampling(12, greedy=True), 0)
    for _ in range(3):
        engine.refresh()  # not added again and again
    again = engine.generate(PROMPTS, 1, Sampling(12, greedy=True), 0)
    assert again == make_engine(model, EOS).generate(PROMPTS, 1, Sampling(12, greedy=True), 0)
    assert first != again, "and nothing is seen before a refresh"


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture
def recipe(random_model, tmp_path):
    lora = {"model": {"lora": LORA.model_dump()}, "optim": {"learning_rate": 1e-2}}
    return changed(make_recipe(random_model, tmp_path), lora)


def newest(run):
    return sorted(run.checkpoints.glob("step_*"))[-1]


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "bf16"])
def test_a_run_learns_and_leaves_its_adapters(
    recipe, random_model, tmp_path, monkeypatch, precision
):
    seen, real = [], worker.annotate
    monkeypatch.setattr(worker, "annotate", lambda *given: (seen.append(given[0]), real(*given))[1])
    recipe = changed(recipe, {"model": {"precision": precision}, "num_steps": 30})
    more = {"rollout": {**recipe["rollout"], "group_size": 8}, "optim": {"learning_rate": 3e-2}}
    status, run = train(tmp_path, "one", recipe, **more)
    assert status == "completed"
    with RunReader(run.db_path) as reader:
        rewards = [value for _, value in reader.series("reward/mean")]
        assert sum(rewards[-5:]) > 3 * sum(rewards[:5]) > 0
        drift = max(value for _, value in reader.series("train/logprob_drift"))
        assert drift < (1e-4 if precision == "fp32" else 0.05)
        kl = dict(reader.series("train/kl"))
        assert abs(kl[1]) < 1e-6 and kl[30] > 0.1, "KL is to the model without adapters"
    base = load_policy(str(random_model), CPU, half=precision == "bf16").reference.state_dict()
    for name, weight in seen[0].policy.model.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(weight, base[name.replace("base_layer.", "")]), name
    folder = newest(run) / "model"
    names = {file.name for file in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.startswith("model")], "the base is not kept again"
    saved = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert all(tensor.any() for tensor in saved.values()), "all have learned"
    moments = [tensor for name, tensor in tensors(run).items() if name.endswith(".exp_avg")]
    assert sum(map(torch.numel, moments)) == sum(map(torch.numel, saved.values()))


def test_every_tool_reads_what_a_run_leaves(recipe, random_model, tmp_path):
    """The base with the saved adapters, as the library loads them, is the policy."""
    _, run = train(tmp_path, "one", recipe)
    folder = newest(run) / "model"
    ours = load_policy(str(random_model), CPU, folder, lora=LORA)
    theirs = AutoModelForCausalLM.from_pretrained(random_model, dtype=torch.float32)
    theirs.load_adapter(str(folder))
    assert torch.allclose(log_probs(ours.model), log_probs(theirs), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        pytest.param(
            {
                "model": {"precision": "bf16"},
                "algorithm": {
                    "kl_reference": "average",
                    "reference_decay": 0.5,
                    "kl_coefficient": 1,
                },
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "algorithm": {
                    "kl_reference": "synced",
                    "reference_sync_every": 2,
                    "kl_coefficient": 1,
                },
                "optim": {"learning_rate": 1e-2, "updates_per_rollout": 2},
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"algorithm": {"name": "ppo"}, "critic": {"model": "own"}}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"algorithm": {"name": "ppo"}, "critic": {"model": "shared"}}, marks=pytest.mark.slow
        ),
    ],
    ids=["plain", "bf16_average", "synced", "own", "shared"],
)
def test_a_killed_run_resumes_bit_identically(recipe, tmp_path, more):
    recipe = changed(recipe, more)
    _, undisturbed = train(tmp_path, "undisturbed", recipe)
    killed = train_and_kill(tmp_path, "killed", recipe, after=5)
    assert launch.resume(killed) == "completed"
    assert_same_run(undisturbed, killed)


def saved(folder, policy):
    learner = make_learner(Accelerator(cpu=True), policy, parse_config({}))
    return checkpoint.save(folder, learner, Position(1, "abc", {})) / "model"


@pytest.mark.parametrize("lora", [LoraConfig(rank=8, alpha=8), LoraConfig(rank=4, alpha=16), None])
def test_a_checkpoint_of_other_adapters_is_refused(random_model, tmp_path, lora):
    folder = saved(tmp_path, load_policy(str(random_model), CPU, lora=LORA))
    load_policy(str(random_model), CPU, folder, lora=LORA)
    with pytest.raises(ValueError, match=r"model\.lora") as caught:
        load_policy(str(random_model), CPU, folder, lora=lora)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_checkpoint_without_adapters_is_refused(random_model, tmp_path):
    folder = saved(tmp_path, load_policy(str(random_model), CPU))
    with pytest.raises(ValueError, match=r"model\.lora"):
        load_policy(str(random_model), CPU, folder, lora=LORA)


def test_adapters_of_another_model_are_refused(random_model, tmp_path):
    folder = saved(tmp_path, load_policy("bundled:tiny", CPU, lora=LORA))
    with pytest.raises(ValueError, match="its adapters belong to another model"):
        load_policy(str(random_model), CPU, folder, lora=LORA)


def test_a_model_without_linear_layers_is_refused():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=41, n_embd=24, n_layer=2, n_head=2))
    with pytest.raises(ValueError, match="gpt2 has no linear layers to adapt"):
        add_adapters(model, LORA, 0)
