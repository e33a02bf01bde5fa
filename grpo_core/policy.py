"""Loading a policy with its tokenizer and frozen reference, and the log-probabilities of
completions.

Only safetensors are read and code from a model's repository is never run.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from grpo_core.assets import assets_dir
from grpo_core.config import DataConfig
from grpo_core.losses import entropy

# Families whose logits are exactly head(hidden): for these only the completion's positions go
# through the head. Others (soft-capped or scaled logits) take their whole forward.
PLAIN_HEAD = ("llama", "mistral", "qwen2", "qwen3")


@dataclass
class Policy:
    """The model that is trained, the one it began as, and how text becomes ids."""

    model: PreTrainedModel
    reference: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    eos_ids: list[int]
    context: int
    """Most tokens of prompt and completion together."""


def model_folder(path: str) -> str:
    """`bundled:NAME` as a folder; anything else as it is."""
    if not path.startswith("bundled:"):
        return path
    folder = assets_dir() / path.removeprefix("bundled:")
    if not (folder / "config.json").is_file():
        raise ValueError(f"model.path: there is no bundled model {path.removeprefix('bundled:')!r}")
    return str(folder)


def load_policy(path: str, device: torch.device, weights: Path | None = None) -> Policy:
    """The policy of a recipe; `weights` is a checkpoint's model folder to go on from.

    Raises ValueError in one sentence for a missing, incomplete or unsafe model.
    """
    folder = model_folder(path)
    tokenizer = _load_tokenizer(folder, path)
    initial = _load_model(folder, path, device)
    # Always a copy: tensors that lie in a file's buffer are aligned otherwise than fresh ones, and
    # matrix products round by alignment, so a resumed run would not repeat the undisturbed one.
    loaded = _load_model(str(weights), str(weights), device) if weights else initial
    model = copy.deepcopy(loaded)
    initial.requires_grad_(False)
    eos = model.generation_config.eos_token_id if model.generation_config else None
    eos_ids = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}
    if not eos_ids:
        raise ValueError(
            f"model.path: {path} names no end-of-sequence token; completions never end"
        )
    context = getattr(model.config, "max_position_embeddings", None) or 2**31
    return Policy(model.eval(), initial.eval(), tokenizer, sorted(eos_ids), context)


def _load_tokenizer(folder: str, path: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"model.path: {path} has no tokenizer that can be loaded "
            f"({_first_sentence(error)}); copy tokenizer.json and tokenizer_config.json there"
        ) from None


def _load_model(folder: str, path: str, device: torch.device) -> PreTrainedModel:
    # SDPA's backward is the slow part of an update on a CPU; on a GPU it is the fast one.
    attention = "eager" if device.type == "cpu" else "sdpa"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=attention,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"model.path: {path} cannot be loaded as a causal language model with safetensors "
            f"weights: {_first_sentence(error)}"
        ) from None
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise ValueError(f"model.path: the weights of {path} hold values that are not finite")
    model.to(device)  # type: ignore[arg-type]  # the library's decorator hides the device form
    return model


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(". ")[0][:200].rstrip(".") or type(error).__name__


# --- prompts -----------------------------------------------------------------------------------


def render_prompt(tokenizer: PreTrainedTokenizerBase, data: DataConfig, question: str) -> str:
    """The prompt as text: the model's chat template when it has one, else the bare template."""
    user = data.prompt_template.replace("{question}", question)
    if tokenizer.chat_template is None:
        return f"{data.system_prompt}\n\n{user}" if data.system_prompt else user
    messages = [{"role": "user", "content": user}]
    if data.system_prompt:
        messages.insert(0, {"role": "system", "content": data.system_prompt})
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert isinstance(rendered, str)
    return rendered


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> list[list[int]]:
    """Token ids of rendered prompts; a chat template has already put the special tokens in."""
    special = tokenizer.chat_template is None
    return tokenizer(prompts, add_special_tokens=special)["input_ids"]


# --- log-probabilities -------------------------------------------------------------------------


@dataclass
class Scored:
    """Per completion token, in the order of the rows: log-probability and entropy, in nats, and
    the policy's last hidden state at the position that predicts the token."""

    logp_K: Tensor
    entropy_K: Tensor
    hidden_KD: Tensor


def score_completions(
    model: PreTrainedModel,
    prompts: list[list[int]],
    completions: list[list[int]],
    temperature: float,
    entropy_gradient: bool = False,
) -> Scored:
    """One forward over rows of prompt + completion; flat over the K completion tokens.

    The entropy is detached unless `entropy_gradient` asks for its graph.
    """
    ids, row_K, position_K, target_K = _rows(prompts, completions, model.device)
    if model.config.model_type in PLAIN_HEAD:
        hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        hidden_KD = hidden[row_K, position_K]
        logits_KV = model.get_output_embeddings()(hidden_KD)
    else:
        output = model(input_ids=ids, use_cache=False, output_hidden_states=True)
        hidden_KD = output.hidden_states[-1][row_K, position_K]
        logits_KV = output.logits[row_K, position_K]
    # at least fp32; a float64 model stays what it is
    logits_KV = logits_KV.to(torch.promote_types(logits_KV.dtype, torch.float32)) / temperature
    logp_K = logits_KV.gather(-1, target_K[:, None])[:, 0] - logits_KV.logsumexp(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy_K = entropy(logits_KV if entropy_gradient else logits_KV.detach())
    return Scored(logp_K, entropy_K, hidden_KD)


def hidden_of_completions(
    decoder: PreTrainedModel, prompts: list[list[int]], completions: list[list[int]]
) -> Tensor:
    """A decoder's hidden state before each completion token, `(K, D)`."""
    ids, row_K, position_K, _ = _rows(prompts, completions, decoder.device)
    return decoder(input_ids=ids, use_cache=False).last_hidden_state[row_K, position_K]


def _rows(
    prompts: list[list[int]], completions: list[list[int]], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids of prompt + completion, and of each completion token its row, the position that predicts
    it, and itself.

    Rows are padded on the right: under causal attention no real token ever sees the padding, so
    no mask is needed.
    """
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    return ids, *_completion_positions(prompts, completions, device)


def _completion_positions(
    prompts: list[list[int]], completions: list[list[int]], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Row, position whose logits predict the token, and the token, of each completion token."""
    rows: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        rows += [index] * len(completion)
        positions += range(len(prompt) - 1, len(prompt) - 1 + len(completion))
        targets += completion
    row_K, position_K, target_K = (
        torch.tensor(numbers, dtype=torch.long, device=device)
        for numbers in (rows, positions, targets)
    )
    return row_K, position_K, target_K
