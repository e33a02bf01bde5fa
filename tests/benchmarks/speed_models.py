"""The models of the speed benchmark as folders: the bundled one, SmolLM2, or random weights."""

from __future__ import annotations

import sys
from pathlib import Path

from speed_workloads import Model


def model_path(model: Model, folder: Path) -> str:
    """What a recipe calls the model; made in `folder` where it is not there yet."""
    if model.source == "bundled":
        return "bundled:tiny"
    if (folder / "config.json").is_file():
        return str(folder)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import smollm2

    source = smollm2.gguf_file() if model.source == "smollm2" else None
    if source is None:
        _random(model.shape, folder)
    else:
        smollm2.make_folder(source, folder)
    return str(folder)


def _random(shape: dict, folder: Path) -> None:
    """Random weights, and a byte-level tokenizer without merges whose other tokens are `t0`, `t1`,
    … : transformers reads a Qwen2 folder as byte-level whatever its files say."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = AutoConfig.for_model(**shape)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    others = [f"t{index}" for index in range(shape["vocab_size"] - len(alphabet) - 2)]
    ids = {token: index for index, token in enumerate(alphabet + others)}
    special = {"<pad>": shape["pad_token_id"], "<end>": shape["eos_token_id"]}
    tokenizer = Tokenizer(models.BPE({**ids, **special}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>"
    ).save_pretrained(folder)
