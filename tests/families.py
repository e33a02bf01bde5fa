"""Tiny random models of every family that the engine and the packed forward know."""

from __future__ import annotations

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

# shorter than the longest prompt, and than most completions
SLIDING = {
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, {"head_dim": 16, **SLIDING}),
    "mistral, sliding": (MistralForCausalLM, MistralConfig, {"sliding_window": 5}),
    "qwen2, sliding": (Qwen2ForCausalLM, Qwen2Config, {"use_sliding_window": True, **SLIDING}),
}
HEADS = [(4, 4), (6, 2), (4, 1), (6, 1), (7, 1)]
"""Query and key heads: each key head serves 1, 3, 4, 6 and 7 queries."""


def random_model(family: str, heads: int = 6, kv_heads: int = 2) -> PreTrainedModel:
    """Three layers, 41 tokens; large weights, so that the next token is far from certain and
    mistakes show."""
    make, config, more = FAMILIES[family]
    torch.manual_seed(heads * 10 + kv_heads)
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
