"""The weights of a Hugging Face decoder as our engine reads them.

Known are Llama, SmolLM2, Mistral, Qwen2/2.5, Qwen3 and Gemma 3's text model. Query, key and value
become one matrix, gate and up another: the model's own parameters are then rows of these, nothing
is stored twice, and an optimizer step is seen at once. Low-rank adapters are the exception: their
sum with the weight is a copy of its own, made again by `refresh`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

KNOWN = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


class Projection:
    """Linear maps of one input as a single matrix: `weight` (out, in) and `bias` (out) or None."""

    def __init__(self, modules: list[Any]) -> None:
        self._modules = modules
        self._adapted = any(hasattr(module, "get_delta_weight") for module in modules)
        if self._adapted:
            self.weight, self.bias = self._merged(), _joined([_base(m).bias for m in modules])
        else:
            self.weight = _share([module.weight for module in modules])
            self.bias = _share([module.bias for module in modules])

    def refresh(self) -> None:
        """The weights have changed: add the adapters to them anew.

        In bf16 the sum is rounded: what adapters change by less than half a bf16 step is not
        sampled with until they have grown. `train/logprob_drift` shows the difference.
        """
        if self._adapted:
            self.weight.copy_(self._merged())

    @torch.no_grad()
    def _merged(self) -> Tensor:
        weights = []
        for module in self._modules:
            weight = _base(module).weight
            if hasattr(module, "get_delta_weight"):
                deltas = [module.get_delta_weight(name) for name in module.active_adapters]
                weight = torch.stack([weight.float(), *deltas]).sum(0).to(weight.dtype)
            weights.append(weight)
        return torch.cat(weights)


@dataclass
class Layer:
    """One decoder block."""

    attention_norm: Tensor
    qkv: Projection
    query_norm: Tensor | None
    key_norm: Tensor | None
    output: Projection
    post_attention_norm: Tensor | None
    mlp_norm: Tensor
    gate_up: Projection
    down: Projection
    post_mlp_norm: Tensor | None
    window: int | None
    """A token sees the last so many tokens only, itself included."""
    rotary: str
    """Which of the tables of `rotations`."""


@dataclass
class Architecture:
    """All that a decode step needs to know of a model."""

    layers: list[Layer]
    embedding: Tensor
    embedding_scale: float
    final_norm: Tensor
    norm_offset: float
    """Gemma's norms multiply by 1 + weight, in fp32."""
    head: nn.Linear
    rotary: nn.Module
    activation: str
    epsilon: float
    scale: float
    """Of the attention's scores."""
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
        decoder, is_gemma = model.get_decoder(), config.model_type == "gemma3_text"
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        scalar = getattr(config, "query_pre_attn_scalar", None) or size
        return cls(
            layers=[_layer(block, config) for block in decoder.layers],
            embedding=decoder.embed_tokens.weight,
            embedding_scale=config.hidden_size**0.5 if is_gemma else 1.0,
            final_norm=decoder.norm.weight,
            norm_offset=1.0 if is_gemma else 0.0,
            head=model.get_output_embeddings(),
            rotary=decoder.rotary_emb,
            activation=ACTIVATIONS[_activation(config)],
            epsilon=config.rms_norm_eps,
            scale=scalar**-0.5,
            num_heads=heads,
            num_kv_heads=config.num_key_value_heads,
            head_size=size,
            context=config.max_position_embeddings,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and caches."""
        return self.embedding.dtype

    def rotations(self, positions: int) -> dict[str, tuple[Tensor, Tensor]]:
        """cos and sin of each rotary embedding, `(positions, head_size)`, in fp32."""
        index = torch.arange(positions, device=self.device)[None]
        dummy = torch.empty(1, dtype=torch.float32, device=self.device)
        tables = {}
        for kind in sorted({layer.rotary for layer in self.layers}):
            cos, sin = self.rotary(dummy, index, kind) if kind else self.rotary(dummy, index)
            tables[kind] = (cos[0], sin[0])
        return tables

    def refresh(self) -> None:
        """The policy's weights have changed."""
        for layer in self.layers:
            for projection in (layer.qkv, layer.output, layer.gate_up, layer.down):
                projection.refresh()


def _is_plain(config: Any) -> bool:
    """Whether nothing about the model asks for more than what the engine computes."""
    if any(getattr(config, f"{name}_logit_softcapping", None) for name in ("attn", "final")):
        return False
    if getattr(config, "use_bidirectional_attention", False):
        return False
    # `dynamic` and `longrope` change their frequencies with the sequence length
    kinds = {table.get("rope_type", "default") for table in rope_tables(config)}
    return kinds <= {"default", "linear", "llama3"} and _activation(config) in ACTIVATIONS


def rope_tables(config: Any) -> list[dict[str, Any]]:
    """Settings of the rotary embeddings: those of all layers, and those of each kind."""
    rope = getattr(config, "rope_parameters", None) or {}
    return [rope, *(table for table in rope.values() if isinstance(table, dict))]


def _activation(config: Any) -> str:
    return str(getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", ""))


def _layer(block: Any, config: Any) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    is_gemma = config.model_type == "gemma3_text"
    mlp_norm = block.pre_feedforward_layernorm if is_gemma else block.post_attention_layernorm
    whole = config.sliding_window if config.model_type == "mistral" else None
    return Layer(
        attention_norm=block.input_layernorm.weight,
        qkv=Projection([attention.q_proj, attention.k_proj, attention.v_proj]),
        query_norm=_weight_of(attention, "q_norm"),
        key_norm=_weight_of(attention, "k_norm"),
        output=Projection([attention.o_proj]),
        post_attention_norm=block.post_attention_layernorm.weight if is_gemma else None,
        mlp_norm=mlp_norm.weight,
        gate_up=Projection([mlp.gate_proj, mlp.up_proj]),
        down=Projection([mlp.down_proj]),
        post_mlp_norm=_weight_of(block, "post_feedforward_layernorm"),
        window=getattr(attention, "sliding_window", whole),
        rotary=attention.layer_type if is_gemma else "",
    )


def _weight_of(module: nn.Module, name: str) -> Tensor | None:
    child = getattr(module, name, None)
    return None if child is None else child.weight


# --- several parameters in one tensor -------------------------------------------------------------


def _base(module: Any) -> Any:
    """The linear layer under an adapter."""
    return getattr(module, "base_layer", module)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known).detach() if known else None


def _share(parameters: list[Any]) -> Any:
    """The parameters as rows of one tensor, which they are views of from now on."""
    if parameters[0] is None or len(parameters) == 1:
        return parameters[0]
    first = parameters[0]
    rows = sum(len(parameter) for parameter in parameters)
    if not _are_neighbours(parameters):  # otherwise another engine has put them together
        buffer = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(
            parameters, buffer.split([len(p) for p in parameters]), strict=True
        ):
            parameter.data = part
        return buffer
    return first.data.as_strided((rows, *first.shape[1:]), first.stride())


def _are_neighbours(parameters: list[Tensor]) -> bool:
    """Whether each begins in memory where the one before it ends."""
    storage = parameters[0].untyped_storage().data_ptr()
    place = parameters[0].data_ptr()
    for parameter in parameters:
        if parameter.untyped_storage().data_ptr() != storage or parameter.data_ptr() != place:
            return False
        place += parameter.numel() * parameter.element_size()
    return True
