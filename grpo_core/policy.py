"""Loading a policy with its tokenizer and the policy it began as.

Only safetensors are read and code from a model's repository is never run.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from grpo_core import prompts
from grpo_core.adapters import add_adapters, check_saved
from grpo_core.assets import assets_dir
from grpo_core.config import DataConfig, LoraConfig
from grpo_core.forward import use_packing
from grpo_core.optim import split


@dataclass
class Policy:
    """The model that is trained, the one it began as, and how text becomes ids."""

    model: PreTrainedModel
    reference: PreTrainedModel | None
    """Frozen, as the run began; None with adapters, which are switched off for it."""
    tokenizer: PreTrainedTokenizerBase
    eos_ids: list[int]
    context: int
    """Most tokens of prompt and completion together."""
    masters: dict[str, Tensor] = field(default_factory=dict)
    """What trained bf16 weights are the rounding of, in fp32, until an optimizer takes it over."""

    @contextmanager
    def as_it_began(self) -> Iterator[PreTrainedModel]:
        """The policy that the run began with."""
        if self.reference is not None:
            yield self.reference
            return
        self.model.disable_adapters()
        try:
            yield self.model
        finally:
            self.model.enable_adapters()


def model_folder(path: str) -> str:
    """`bundled:NAME` as a folder; anything else as it is."""
    if not path.startswith("bundled:"):
        return path
    folder = assets_dir() / path.removeprefix("bundled:")
    if not (folder / "config.json").is_file():
        raise ValueError(f"model.path: there is no bundled model {path.removeprefix('bundled:')!r}")
    return str(folder)


def load_policy(
    path: str,
    device: torch.device,
    weights: Path | None = None,
    half: bool = False,
    lora: LoraConfig | None = None,
    seed: int = 0,
    is_trained: bool = True,
) -> Policy:
    """The policy of a recipe; `weights` is a checkpoint's model folder to go on from, `half` puts
    the weights into bf16, `lora` trains adapters instead of them. One that is not trained has no
    reference and no masters.

    Raises ValueError in one sentence for a missing, incomplete or unsafe model.
    """
    if weights is not None:
        check_saved(weights, lora)
    folder = model_folder(path)
    tokenizer = load_tokenizer(path)
    initial = load_model(folder, path)
    masters: dict[str, Tensor] = {}
    if lora is not None or not is_trained:
        model, reference = initial, None
        if half:
            halve(model)
        if lora is not None:
            add_adapters(model, lora, seed, weights)
        else:
            assert weights is None  # its folder is the path
            _take_out_of_file(model)
    else:  # always a copy, see `_take_out_of_file`
        model = copy.deepcopy(load_model(str(weights), str(weights)) if weights else initial)
        reference = initial.requires_grad_(False)
        masters = halve(model) if half else {}
        if half:
            halve(reference)
    for one in (model, reference):
        if one is not None:
            one.to(device).eval()  # type: ignore[arg-type]  # the library hides the device form
    eos_ids = _eos_ids(model, tokenizer, path)
    return Policy(model, reference, tokenizer, eos_ids, _context(model), masters)


def _context(model: PreTrainedModel) -> int:
    text = model.config.get_text_config(decoder=True)
    return getattr(text, "max_position_embeddings", None) or 2**31


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str) -> list[int]:
    """Tokens that end a completion, of tokenizer and model together."""
    eos = model.generation_config.eos_token_id if model.generation_config else None
    eos_ids = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}
    if not eos_ids:
        raise ValueError(
            f"model.path: {path} names no end-of-sequence token; completions never end"
        )
    return sorted(eos_ids)


def _take_out_of_file(model: PreTrainedModel) -> None:
    """Copy each weight: tensors that lie in a file's buffer are aligned otherwise than fresh ones,
    and products round by alignment, so one model would say two things."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def halve(model: PreTrainedModel) -> dict[str, Tensor]:
    """Parameters to bf16; returns what they were, by name.

    Parameters only: a model's `.to(bfloat16)` also rounds the rotary frequencies, which turns
    positions beyond a few hundred into others.
    """
    masters = {}
    for name, parameter in model.named_parameters():
        masters[name] = parameter.data
        parameter.data = split(parameter.data)[0]
    return masters


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a recipe's model. Raises ValueError in one sentence where there is none."""
    try:
        return AutoTokenizer.from_pretrained(model_folder(path), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"model.path: {path} has no tokenizer that can be loaded "
            f"({_first_sentence(error)}); copy tokenizer.json and tokenizer_config.json there"
        ) from None


def load_model(folder: str, path: str) -> PreTrainedModel:
    """The weights of a folder or of the hub, in fp32; `path` is what errors call it."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            # its backward is faster than sdpa's on a CPU; most models are packed anyway
            attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"model.path: {path} cannot be loaded as a causal language model with safetensors "
            f"weights: {_first_sentence(error)}"
        ) from None
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise ValueError(f"model.path: the weights of {path} hold values that are not finite")
    use_packing(model)
    return model


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(". ")[0][:200].rstrip(".") or type(error).__name__


# --- prompts -----------------------------------------------------------------------------------


def render_prompt(
    tokenizer: PreTrainedTokenizerBase,
    data: DataConfig,
    question: str,
    examples: Sequence[tuple[str, str]] = (),
) -> str:
    """The prompt as text: system prompt, worked examples (`(question, solution)`, each a turn of
    user and assistant) and question, in the model's chat template where it has one, else as
    `prompts.plain` writes them. ValueError where the template refuses such turns."""
    chat = prompts.turns(data, question, examples)
    if tokenizer.chat_template is None:
        return prompts.plain(chat)
    try:
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ValueError(
            f"data: the model's chat template refuses the prompt ({_first_sentence(error)}); some "
            "take no system turn: put data.system_prompt into data.prompt_template"
        ) from None
    assert isinstance(text, str)
    return text


def encode_prompts(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Token ids of rendered prompts; a chat template has already put the special tokens in."""
    special = tokenizer.chat_template is None
    return tokenizer(texts, add_special_tokens=special)["input_ids"]
