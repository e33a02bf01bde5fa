"""The packed forward against padded rows of the same library model, in float64."""

import pytest
import torch
from families import FAMILIES, HEADS, random_model
from hypothesis import given
from hypothesis import strategies as st
from transformers import BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from grpo_core import attention, head
from grpo_core.forward import hidden_of_completions, is_packed, score_completions, use_packing
from grpo_core.head import log_probs
from grpo_core.packed import pack_rows
from grpo_core.plan import ALIGN, MAX_WASTE, AttentionPlan, Segment

CPU = torch.device("cpu")


@pytest.fixture
def norms_in_float64(monkeypatch):
    """The library computes norms in fp32 whatever the weights are; two orders of the same sum then
    differ by 1e-7, which would hide ours."""

    def plain(self, hidden):
        scale = torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * hidden * scale

    def gemma(self, hidden):
        scale = torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.eps)
        return hidden * scale * (1 + self.weight)

    for norm in (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm):
        monkeypatch.setattr(norm, "forward", plain)
    monkeypatch.setattr(Gemma3RMSNorm, "forward", gemma)


def ragged():
    """Three groups: prompts of 9, 2 and 1 tokens, completions of 0 to 23."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda num: torch.randint(0, 41, (num,), generator=generator).tolist()  # noqa: E731
    prompts, completions = [], []
    for length, sizes in ((9, [23, 1, 7, 0]), (2, [4, 12]), (1, [1, 2, 15])):
        prompt = draw(length)
        for size in sizes:
            prompts.append(list(prompt))
            completions.append(draw(size))
    return prompts, completions


def scored_with_gradients(model, temperature=0.7):
    """Log-probs, entropies, hidden states and all gradients of a sum that weighs each otherwise."""
    model.zero_grad()
    scored = score_completions(model, *ragged(), temperature, entropy_gradient=True)
    weight_K = torch.linspace(-1, 2, len(scored.logp_K), dtype=torch.float64)
    hidden = (scored.hidden_KD * weight_K[:, None]).sum()
    ((scored.logp_K + 0.3 * scored.entropy_K) @ weight_K + 0.1 * hidden).backward()
    return scored, {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_log_probs_and_every_gradient_equal_padded_rows(
    family, heads, kv_heads, norms_in_float64, monkeypatch
):
    monkeypatch.setitem(head.PIECE_BYTES, "cpu", 4 * 41 * 10)  # ten tokens a piece
    model = random_model(family, heads, kv_heads).double()
    assert not is_packed(model)
    expected, gradients = scored_with_gradients(model)
    assert use_packing(model) and is_packed(model)
    found, packed_gradients = scored_with_gradients(model)
    for name in ("logp_K", "entropy_K", "hidden_KD"):
        one, two = getattr(expected, name), getattr(found, name)
        assert one.dtype == two.dtype == torch.float64
        assert (one - two).abs().max() < 1e-9, name
    for name, gradient in gradients.items():
        scale = max(gradient.abs().max().item(), 1.0)
        assert (gradient - packed_gradients[name]).abs().max() < 1e-9 * scale, name


def test_in_float32_it_is_as_near_as_rounding_allows():
    model = random_model("qwen3")
    exact = scored_with_gradients(random_model("qwen3").double())[0]
    use_packing(model)
    found = score_completions(model, *ragged(), 0.7)
    assert (found.logp_K - exact.logp_K).abs().max() < 1e-5


def test_the_row_by_hand():
    packed = pack_rows([[5, 6, 7], [5, 6, 7], [8]], [[1, 2, 3], [4], [9, 9]], CPU)
    #                             prompt   1, 2  8  9: a last token is never an input
    assert packed.ids_N.tolist() == [5, 6, 7, 1, 2, 8, 9]
    assert packed.position_N.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert packed.source_K.tolist() == [2, 3, 4, 2, 5, 6]
    assert packed.target_K.tolist() == [1, 2, 3, 4, 9, 9]
    assert packed.plan.segments == [
        Segment(0, 3),
        Segment(3, 2, 0, 3),
        Segment(5, 1),
        Segment(6, 1, 5, 1),
    ]


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="a prompt has no tokens"):
        pack_rows([[]], [[1]], CPU)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=4)), min_size=1),
    st.sampled_from([None, 1, 4]),
)
def test_every_query_sees_its_prefix_itself_and_nothing_else(groups, window):
    segments, start = [], 0
    for length, own in groups:
        prompt = Segment(start, length)
        segments.append(prompt)
        start += length
        for size in own:
            segments.append(Segment(start, size, prompt.start, length))
            start += size
    plan = AttentionPlan(segments, CPU)
    seen = {}
    for bucket in plan.buckets:
        assert bucket.key_SM.shape[1] % ALIGN == 0
        hidden_SLM = bucket.hidden(window)
        assert torch.equal(hidden_SLM, bucket.mask(window, torch.float32).isinf())
        for s, query_L in enumerate(bucket.query_SL.tolist()):
            for q, token in enumerate(query_L):
                if token >= 0:
                    assert token not in seen
                    seen[token] = bucket.key_SM[s][~hidden_SLM[s, q]].tolist()
    for segment in segments:
        before = [segment.prefix_start + i for i in range(segment.prefix_length)]
        for i in range(segment.length):
            whole = before + [segment.start + j for j in range(i + 1)]
            assert seen.pop(segment.start + i) == (whole if window is None else whole[-window:])
    assert not seen


def test_padding_is_bounded():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 200, (64,), generator=generator).tolist()
    segments, start = [], 0
    for length in lengths:
        segments.append(Segment(start, length))
        start += length
    plan = AttentionPlan(segments, CPU)
    assert sum(len(bucket.key_SM) for bucket in plan.buckets) == len(lengths)
    padded = sum(b.query_SL.numel() * b.key_SM.shape[1] for b in plan.buckets)
    assert padded <= MAX_WASTE * sum(n * -(-n // ALIGN) * ALIGN for n in lengths)
    assert len(plan.buckets) < 12


def test_heads_in_buckets_by_hand():
    """Two segments of 2 and 1 tokens behind a prompt of 1, which is the third; 4 heads on 2."""
    plan = AttentionPlan([Segment(0, 1), Segment(1, 2, 0, 1), Segment(3, 1, 0, 1)], CPU)
    rows = plan.rows(4, 2)
    (bucket,) = plan.buckets
    assert bucket.query_SL.tolist() == [[0, -1], [3, -1], [1, 2]]
    # table lines 4 token + head, 16 for padding; by key head, segment, head, query
    assert rows.query.view(2, 3, 2, 2).tolist() == [
        [[[0, 16], [1, 16]], [[12, 16], [13, 16]], [[4, 8], [5, 9]]],
        [[[2, 16], [3, 16]], [[14, 16], [15, 16]], [[6, 10], [7, 11]]],
    ]
    assert rows.query[rows.place].tolist() == list(range(16))
    assert rows.key.view(2, 3, ALIGN)[:, :, :3].tolist() == [
        [[0, 0, 0], [0, 6, 0], [0, 2, 4]],
        [[1, 1, 1], [1, 7, 1], [1, 3, 5]],
    ]


def test_what_attends_otherwise_is_not_packed():
    """Gemma 2 soft-caps its logits; Bloom has biases in place of positions and does not take the
    keywords."""
    gemma = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=41,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            initializer_range=0.5,
            final_logit_softcapping=2.0,
        )
    ).eval()
    bloom = BloomForCausalLM(BloomConfig(vocab_size=41, hidden_size=24, n_layer=2, n_head=2)).eval()
    for model in (gemma, bloom):
        before = model.config._attn_implementation
        assert not use_packing(model)
        assert model.config._attn_implementation == before
        scored = score_completions(model, *ragged(), 1.0)
        for row, (prompt, ids) in enumerate(zip(*ragged(), strict=True)):
            if row == 0:
                logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
                logp = logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]
                assert torch.allclose(scored.logp_K[: len(ids)], logp, atol=1e-5)


def test_a_critics_trunk_sees_the_same_states():
    model = random_model("llama").double()
    padded = hidden_of_completions(model.get_decoder(), *ragged())
    use_packing(model)
    packed = hidden_of_completions(model.get_decoder(), *ragged())
    assert (padded - packed).abs().max() < 1e-5  # norms in fp32


def test_a_packed_model_still_generates_from_padded_prompts():
    model = random_model("mistral, sliding")
    ids = torch.tensor([[0, 0, 5, 6, 7], [9, 8, 7, 6, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
    how = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    before = model.generate(input_ids=ids, attention_mask=mask, **how)
    assert use_packing(model)
    assert torch.equal(model.generate(input_ids=ids, attention_mask=mask, **how), before)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_chunked_head_equals_a_softmax(bias, temperature, monkeypatch):
    monkeypatch.setitem(head.PIECE_BYTES, "cpu", 4 * 50 * 7)  # seven tokens a piece
    torch.manual_seed(1)
    inputs = [torch.randn(30, 12), torch.randn(50, 12), torch.randn(50)]
    targets = torch.randint(0, 50, (30,))
    results = []
    for function in (log_probs, plain_log_probs):
        leaves = [x.double().requires_grad_() for x in inputs]
        bias_V = leaves[2] if bias else None
        logp, entropy = function(leaves[0], leaves[1], targets, temperature, bias_V, True)
        weight = torch.linspace(-1, 3, 30, dtype=torch.float64)
        (logp @ weight + entropy @ weight.flip(0)).backward()
        results.append([logp, entropy, *(leaf.grad for leaf in leaves[: 2 + bias])])
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, atol=1e-12)


def plain_log_probs(hidden, weight, targets, temperature, bias, entropy_gradient):
    logits = hidden @ weight.T if bias is None else hidden @ weight.T + bias
    found = torch.distributions.Categorical(logits=logits / temperature)
    return found.log_prob(targets), found.entropy()


def test_the_head_in_bf16_keeps_logits_in_fp32():
    """bf16 logits around 20 are up to 0.06 off; from the same bf16 numbers in fp32 they are not."""
    torch.manual_seed(2)
    hidden, weight = (5 * torch.randn(40, 64)).bfloat16(), torch.randn(300, 64).bfloat16()
    targets = torch.randint(0, 300, (40,))
    logp, entropy = log_probs(hidden, weight, targets, 1.0)
    exact = plain_log_probs(hidden.double(), weight.double(), targets, 1.0, None, False)
    assert logp.dtype == entropy.dtype == torch.float32
    assert (logp - exact[0]).abs().max() < 1e-4
    assert (entropy - exact[1]).abs().max() < 1e-4
    rounded = (hidden @ weight.T).float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    assert (rounded - exact[0]).abs().max() > 0.02


def test_a_logit_of_minus_infinity_has_no_share():
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [0.0], [float("-inf")]], requires_grad=True)
    logp, entropy = log_probs(hidden, weight, torch.tensor([1]), 1.0)
    assert logp.item() == pytest.approx(-0.6931472)
    assert entropy.item() == pytest.approx(0.6931472)


def test_the_settings_of_products_are_put_back():
    before = torch.backends.mkldnn.matmul.fp32_precision
    hidden, weight = torch.randn(3, 8).bfloat16(), torch.randn(9, 8).bfloat16()
    log_probs(hidden, weight, torch.tensor([1, 2, 3]), 1.0)
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_what_the_fused_kernel_is_given_means_the_same(norms_in_float64, monkeypatch):
    """The kernel itself runs on a GPU only; here its place is taken by what it is said to do."""

    def varlen(query, keys, values, plan, scale, window):
        outputs = []
        query_ends, key_ends = plan.query_ends.tolist(), plan.key_ends.tolist()
        for index in range(len(query_ends) - 1):
            own = query[query_ends[index] : query_ends[index + 1]]
            part = slice(key_ends[index], key_ends[index + 1])
            ratio = query.shape[1] // keys.shape[1]
            key, value = (x[part].repeat_interleave(ratio, 1) for x in (keys, values))
            assert len(own) <= plan.longest_query and len(key) <= plan.longest_key
            ahead = torch.arange(len(key)) - torch.arange(len(key) - len(own), len(key))[:, None]
            hidden = ahead > 0
            if window is not None:
                hidden |= ahead < -(window - 1)
            scores = torch.einsum("qhd,khd->hqk", own, key) * scale
            share = scores.masked_fill(hidden, float("-inf")).softmax(-1)
            outputs.append(torch.einsum("hqk,khd->qhd", share, value))
        return torch.cat(outputs)

    for family in ("qwen3", "gemma3"):
        model = random_model(family, 6, 2).double()
        assert use_packing(model)
        expected, gradients = scored_with_gradients(model)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "_varlen", varlen)
            patch.setattr(attention, "_takes_kernel", lambda query: True)
            found, others = scored_with_gradients(model)
        assert (expected.logp_K - found.logp_K).abs().max() < 1e-6  # keys' gradients are in fp32
        for name, gradient in gradients.items():
            scale = max(gradient.abs().max().item(), 1.0)
            assert (gradient - others[name]).abs().max() < 1e-5 * scale, name


def test_the_trial_of_the_kernel_compares_what_it_should():
    """The same trial with the reference in both places, in two precisions."""
    for window in (None, 20):
        exact = attention._trial(attention._Reference.apply, CPU, torch.float32, window)
        rough = attention._trial(attention._Reference.apply, CPU, torch.bfloat16, window)
        assert len(exact) == len(rough) == 4
        for one, two in zip(exact, rough, strict=True):
            assert 0 < (one - two.float()).abs().max() < 0.03 * one.abs().max()


def test_a_window_that_only_the_mask_knows_is_not_packed():
    """Qwen2-MoE hands its window to the mask alone, which a packed row has none of."""
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    shape = {"vocab_size": 41, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "intermediate_size": 48, "moe_intermediate_size": 16}
    shape |= {"num_experts": 4, "shared_expert_intermediate_size": 16}
    whole = Qwen2MoeForCausalLM(Qwen2MoeConfig(**shape)).eval()
    assert use_packing(whole)
    window = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 0}
    kinds = {"layer_types": ["sliding_attention"] * 2}
    sliding = Qwen2MoeForCausalLM(Qwen2MoeConfig(**shape, **window, **kinds)).eval()
    assert not use_packing(sliding)


def test_a_frozen_head_gets_no_gradient():
    hidden = torch.randn(6, 8, requires_grad=True)
    weight = torch.randn(9, 8)
    logp, _ = log_probs(hidden, weight, torch.arange(6), 1.0)
    logp.sum().backward()
    assert hidden.grad is not None and weight.grad is None
