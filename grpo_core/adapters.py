"""Low-rank adapters (LoRA, arXiv 2106.09685) in place of trained weights.

The library's own integration: a saved policy is then the adapters alone, in the form that every
tool reads, and the model without them is the policy that the run began with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from grpo_core.config import LoraConfig

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def add_adapters(
    model: PreTrainedModel, lora: LoraConfig, seed: int, saved: Path | None = None
) -> None:
    """Freeze `model` and add adapters to all its linear layers but the head: of a `saved` folder,
    else new ones, which change nothing yet.

    Raises ValueError where a saved folder holds adapters of another shape.
    """
    model.requires_grad_(False)
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=_linear_layers(model), lora_dropout=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(settings)
    for parameter in model.parameters():
        if parameter.requires_grad:  # few, and trained at full precision
            parameter.data = parameter.data.float()
    if saved is not None:
        _restore(model, saved)


def _linear_layers(model: PreTrainedModel) -> list[str]:
    """Last names of the blocks' linear layers (`q_proj`, …), which is what an adapter's
    configuration lists."""
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if not names:
        raise ValueError(
            f"model.lora: {model.config.model_type} has no linear layers to adapt; "
            "train its weights (model.lora: null)"
        )
    return sorted(names)


def check_saved(saved: Path, lora: LoraConfig | None) -> None:
    """ValueError where a checkpoint's model folder was not made with this `model.lora`: the library
    would load it all the same."""
    path = saved / SETTINGS
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    has = f"rank {found['r']}, alpha {found['lora_alpha']}" if found else "null"
    wanted = f"rank {lora.rank}, alpha {lora.alpha}" if lora else "null"
    if has != wanted:
        raise ValueError(
            f"{saved}: was saved with model.lora: {has}, the recipe has {wanted}; make them equal"
        )


def _restore(model: PreTrainedModel, saved: Path) -> None:
    tensors = load_file(saved / WEIGHTS)
    refusal = ValueError(f"{saved}: its adapters belong to another model")
    try:
        result: Any = peft.set_peft_model_state_dict(model, tensors, adapter_name="default")
    except RuntimeError:  # the library says which of a hundred shapes do not fit
        raise refusal from None
    if result.unexpected_keys or any("lora_" in key for key in result.missing_keys):
        raise refusal
