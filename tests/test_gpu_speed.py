"""The fast paths of a CUDA device against what they replace. Skipped without one."""

import pytest
import torch
from families import FAMILIES, HEADS, random_model
from test_packed import ragged

from grpo_core import attention
from grpo_core.config import LoraConfig
from grpo_core.engine import Sampling, kernels, make_engine
from grpo_core.engine.graphs import GraphEngine
from grpo_core.forward import score_completions, use_packing
from grpo_core.optim import AdamW
from grpo_core.policy import load_policy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [3]]
EOS = [0, 1, 2]


def test_kernels_and_fused_attention_work_here():
    assert kernels.available() and kernels.self_check(CUDA) is None
    assert attention.problem_with_kernel(torch.device("cuda", 0)) is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_graphs_are_greedy_as_hugging_face_in_fp32(family, heads, kv_heads):
    model = random_model(family, heads, kv_heads).cuda()
    how = Sampling(30, greedy=True)
    engine = make_engine(model, EOS)
    assert isinstance(engine, GraphEngine), engine.notice
    theirs = make_engine(model, EOS, "generate").generate(PROMPTS, 1, how, 0)
    for _ in range(2):  # recorded, and replayed
        for (one,), (two,) in zip(engine.generate(PROMPTS, 1, how, 0), theirs, strict=True):
            assert (one.ids, one.finish) == (two.ids, two.finish)
            assert one.logp == pytest.approx(two.logp, abs=1e-4)


def test_a_graph_sees_the_optimizers_step_and_equals_the_step_without_one(monkeypatch):
    model = random_model("qwen3").cuda()
    engine = make_engine(model, EOS)
    before = engine.generate(PROMPTS, 8, Sampling(20), 1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    engine.refresh()
    after = engine.generate(PROMPTS, 8, Sampling(20), 1)
    assert after != before
    monkeypatch.setattr(
        engine, "_replay", lambda state, size, sampling: engine._step(state, size, sampling)
    )
    plain = engine.generate(PROMPTS, 8, Sampling(20), 1)
    assert [[c.ids for c in group] for group in plain] == [[c.ids for c in g] for g in after]


def test_the_same_seed_gives_the_same_samples_at_64_and_at_512_rows():
    engine = make_engine(random_model("llama").cuda(), EOS)
    whole = engine.generate(PROMPTS * 16, 12, Sampling(24), 3)
    engine.rows_at_once = 64
    parts = engine.generate(PROMPTS * 16, 12, Sampling(24), 3)
    assert [[c.ids for c in group] for group in parts] == [[c.ids for c in g] for g in whole]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
def test_in_bf16_engine_and_trainer_agree(lora):
    policy = load_policy("bundled:tiny", CUDA, None, True, lora)
    engine = make_engine(policy.model, policy.eos_ids)
    prompts = policy.tokenizer(["<|user|>47 + 38 = ?<|assistant|>"])["input_ids"]
    (group,) = engine.generate(prompts, 64, Sampling(80), 0)
    scored = score_completions(policy.model, prompts * 64, [c.ids for c in group], 1.0)
    sampled = torch.tensor([value for c in group for value in c.logp], device=CUDA)
    difference = (scored.logp_K - sampled).abs()
    assert difference.mean() < 0.01


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "mistral, sliding"])
def test_the_packed_bf16_gradient_points_where_the_fp32_one_does(family):
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = random_model(family)
        assert use_packing(model)
        for weight in model.parameters():
            weight.data = weight.data.to(dtype)
        model.cuda()
        scored = score_completions(model, *ragged(), 0.7)
        scored.logp_K.sum().backward()
        gradients.append(torch.cat([w.grad.float().flatten() for w in model.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize("state_bits", [32, 8])
def test_masters_equal_the_fused_optimizer_of_fp32_weights(state_bits):
    torch.manual_seed(0)
    master = torch.randn(300, 257, device=CUDA)
    ours = torch.nn.Parameter(master.bfloat16())
    theirs = torch.nn.Parameter(master.clone())
    ours.grad_dtype = torch.float32
    one = AdamW([ours], lr=1e-3, state_bits=state_bits)
    one.prime(ours, master)
    two = torch.optim.AdamW([theirs], lr=1e-3, weight_decay=1e-2, fused=True)
    for _ in range(50):
        theirs.grad = torch.randn_like(theirs)
        ours.grad = theirs.grad.clone()
        one.step()
        two.step()
    if state_bits == 32:
        assert torch.equal(one.master_of(ours), theirs)
    else:
        assert (one.master_of(ours) - theirs).abs().mean() < 0.1 * 50 * 1e-3
