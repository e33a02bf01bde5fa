"""Log-probabilities, entropies and hidden states of completions: the one forward that the update,
the annotations and the critic share.

Packed where the model allows it (`use_packing` tries and compares), else a row each, padded.

Shape letters: K completion tokens, D width of the hidden states, V vocabulary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo_core import attention
from grpo_core.head import log_probs
from grpo_core.losses import entropy
from grpo_core.packed import Packed, pack_rows

log = logging.getLogger("grpo_core")

PACKED_AGREES = 1e-3
"""Largest difference of a log-prob (nats) between the two forwards, in fp32, for a model to be
packed. Rounding makes 1e-5; anything that attends otherwise makes far more."""


@dataclass
class Scored:
    """Per completion token, in the order of the rows: log-probability and entropy, in nats, and
    the policy's last hidden state at the position that predicts the token."""

    logp_K: Tensor
    entropy_K: Tensor
    hidden_KD: Tensor


def is_packed(model: PreTrainedModel) -> bool:
    """Whether the model's attention takes packed rows."""
    return model.config._attn_implementation == attention.NAME


def score_completions(
    model: PreTrainedModel,
    prompts: list[list[int]],
    completions: list[list[int]],
    temperature: float,
    entropy_gradient: bool = False,
) -> Scored:
    """One forward over prompts and completions; flat over the K completion tokens.

    Rows with equal prompts share it when they are neighbours. The entropy is detached unless
    `entropy_gradient` asks for its graph.
    """
    if not is_packed(model):
        return _score_padded(model, prompts, completions, temperature, entropy_gradient)
    return _score_packed(
        model, pack_rows(prompts, completions, model.device), temperature, entropy_gradient
    )


def _score_packed(
    model: PreTrainedModel, packed: Packed, temperature: float, entropy_gradient: bool
) -> Scored:
    hidden_KD = _packed_hidden(model.get_decoder(), packed)
    head = model.get_output_embeddings()
    logp_K, entropy_K = log_probs(
        hidden_KD, head.weight, packed.target_K, temperature, head.bias, entropy_gradient
    )
    return Scored(logp_K, entropy_K, hidden_KD)


def hidden_of_completions(
    decoder: PreTrainedModel, prompts: list[list[int]], completions: list[list[int]]
) -> Tensor:
    """A decoder's hidden state before each completion token, `(K, D)`."""
    if is_packed(decoder):
        return _packed_hidden(decoder, pack_rows(prompts, completions, decoder.device))
    ids, row_K, position_K, _ = _rows(prompts, completions, decoder.device)
    return decoder(input_ids=ids, use_cache=False).last_hidden_state[row_K, position_K]


def _packed_hidden(decoder: PreTrainedModel, packed: Packed) -> Tensor:
    output = decoder(
        input_ids=packed.ids_N[None],
        position_ids=packed.position_N[None],
        use_cache=False,
        **attention.packed_arguments(packed.plan),
    )
    # the prompt's last row is fetched once for every completion
    return attention.fetch(output.last_hidden_state[0], packed.source_K)


@torch.no_grad()
def use_packing(model: PreTrainedModel) -> bool:
    """Let `model` take packed rows if it then says what it says now; otherwise leave it as it is.

    Tried on a small group: a mixture of experts passes, a recurrent or otherwise particular model
    does not. The weights must be in fp32 or better.
    """
    before = model.config._attn_implementation
    if getattr(model.config.get_text_config(decoder=True), "final_logit_softcapping", None):
        return False  # small logits would not show it
    size = min(int(model.config.get_text_config(decoder=True).vocab_size), 50)
    long, short = ([token % size for token in ids] for ids in (range(3, 12), (7, 5)))
    prompts = [long, long, short]
    completions = [[token % size for token in ids] for ids in ([4, 9, 2, 6], [8, 1], [1, 9, 3])]
    expected = _score_padded(model, prompts, completions, 1.0, False).logp_K
    attention.register()
    try:
        model.set_attn_implementation(attention.NAME)
        packed = pack_rows(prompts, completions, model.device)
        found = _score_packed(model, packed, 1.0, False).logp_K
        # windows of thousands of tokens hide nothing of so short a group: they must be asked for
        if _has_window(model) and packed.plan.windows == {None}:
            found = torch.full_like(expected, torch.nan)
    except Exception as error:  # whatever it says, it does not take what we hand over
        log.info("rows are padded, as packing failed: %s: %s", type(error).__name__, error)
        found = torch.full_like(expected, torch.nan)
    if is_packed(model) and bool(((found - expected).abs() <= PACKED_AGREES).all()):
        return True
    model.set_attn_implementation(before)
    return False


def _has_window(model: PreTrainedModel) -> bool:
    """Whether some layers see the last tokens only."""
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds:
        return kinds != {"full_attention"}
    return getattr(config, "sliding_window", None) is not None


def slow_training(model: PreTrainedModel) -> str:
    """One sentence on why the update is not the fastest, empty where it is."""
    if not is_packed(model):
        return "this architecture is trained on padded rows, the slow path"
    if model.device.type != "cuda":
        return ""
    text = model.config.get_text_config(decoder=True)
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    problem = attention.why_reference(model.device, model.dtype, size)
    return f"the update goes without a fused kernel, which is slower: {problem}" if problem else ""


# --- a row each -----------------------------------------------------------------------------------


def _score_padded(
    model: PreTrainedModel,
    prompts: list[list[int]],
    completions: list[list[int]],
    temperature: float,
    entropy_gradient: bool,
) -> Scored:
    ids, row_K, position_K, target_K = _rows(prompts, completions, model.device)
    output = model(input_ids=ids, use_cache=False, output_hidden_states=True)
    hidden_KD = output.hidden_states[-1][row_K, position_K]
    logits_KV = output.logits[row_K, position_K]
    # at least fp32; a float64 model stays what it is
    logits_KV = logits_KV.to(torch.promote_types(logits_KV.dtype, torch.float32)) / temperature
    logp_K = logits_KV.gather(-1, target_K[:, None])[:, 0] - logits_KV.logsumexp(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy_K = entropy(logits_KV if entropy_gradient else logits_KV.detach())
    return Scored(logp_K, entropy_K, hidden_KD)


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
    row_K: list[int] = []
    position_K: list[int] = []
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row_K += [index] * len(completion)
        position_K += range(len(prompt) - 1, len(prompt) - 1 + len(completion))
    target_K = [token for completion in completions for token in completion]
    rows_K, positions_K, targets_K = (
        torch.tensor(numbers, dtype=torch.long, device=device)
        for numbers in (row_K, position_K, target_K)
    )
    return ids, rows_K, positions_K, targets_K
