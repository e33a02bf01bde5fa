"""The weights of a Hugging Face decoder as our engine reads them: by reference, never copied.

Known are Llama, SmolLM2, Mistral, Qwen2/2.5 and Qwen3 in their plain form. Because the tensors
*are* the policy's parameters, an optimizer step is seen at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

KNOWN = ("llama", "mistral", "qwen2", "qwen3")


@dataclass
class Layer:
    """One decoder block."""

    attention_norm: Tensor
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    mlp_norm: Tensor
    gate: nn.Linear
    up: nn.Linear
    down: nn.Linear


@dataclass
class Architecture:
    """All that a decode step needs to know of a model."""

    layers: list[Layer]
    embedding: Tensor
    final_norm: Tensor
    head: nn.Linear
    rotary: nn.Module
    epsilon: float
    num_heads: int
    num_kv_heads: int
    head_size: int
    context: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> Architecture | None:
        """The view on `model`, None when its form is not one that the engine computes."""
        config = model.config
        if config.model_type not in KNOWN or not _is_plain(config):
            return None
        decoder = model.get_decoder()
        heads = config.num_attention_heads
        return cls(
            layers=[_layer(block) for block in decoder.layers],
            embedding=decoder.embed_tokens.weight,
            final_norm=decoder.norm.weight,
            head=model.get_output_embeddings(),
            rotary=decoder.rotary_emb,
            epsilon=config.rms_norm_eps,
            num_heads=heads,
            num_kv_heads=config.num_key_value_heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            context=config.max_position_embeddings,
        )

    def rotation(self, positions: int) -> tuple[Tensor, Tensor]:
        """cos and sin of the rotary embedding, `(positions, head_size)`, in fp32."""
        index = torch.arange(positions, device=self.embedding.device)[None]
        dummy = torch.empty(1, dtype=torch.float32, device=self.embedding.device)
        cos, sin = self.rotary(dummy, index)
        return cos[0], sin[0]


def _is_plain(config: object) -> bool:
    """Whether nothing about the model asks for more than causal attention and SwiGLU."""
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True):
        return False
    rope = getattr(config, "rope_parameters", None) or {}
    # `dynamic` and `longrope` change their frequencies with the sequence length
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3"):
        return False
    return getattr(config, "hidden_act", "") == "silu"


def _layer(block: Any) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    query_norm, key_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    return Layer(
        attention_norm=block.input_layernorm.weight,
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        output=attention.o_proj,
        query_norm=None if query_norm is None else query_norm.weight,
        key_norm=None if key_norm is None else key_norm.weight,
        mlp_norm=block.post_attention_layernorm.weight,
        gate=mlp.gate_proj,
        up=mlp.up_proj,
        down=mlp.down_proj,
    )
