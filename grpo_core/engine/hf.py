"""The slow path for what no other engine samples: Hugging Face's `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from grpo_core.engine import Completion, Sampling


class GenerateEngine:
    """Left-padded prompts, each repeated for its completions; a dynamic KV cache."""

    name = "generate"
    notice = "this architecture is sampled by Hugging Face's generate, the slow path"

    def __init__(self, model: PreTrainedModel, eos_ids: list[int]) -> None:
        self.model, self.eos_ids = model, eos_ids
        self.rows_at_once: int | None = None

    def refresh(self) -> None:
        """Nothing to do: `generate` runs the policy itself."""

    def release(self) -> None:
        """Nothing is kept."""

    @torch.no_grad()
    def generate(
        self, prompts: list[list[int]], num: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`num` completions for each prompt; see `Engine`. Raises ValueError for forced lengths."""
        if sampling.forced_lengths is not None:
            raise ValueError("model.engine: generate cannot force the lengths of completions")
        # `generate` draws from the global generator; what others drew from it is put back after.
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            rows = [prompt for prompt in prompts for _ in range(num)]
            completions = self._run(rows, sampling)
        return [completions[i * num : (i + 1) * num] for i in range(len(prompts))]

    def _run(self, rows: list[list[int]], sampling: Sampling) -> list[Completion]:
        width = max(map(len, rows))
        pad = self.eos_ids[0]
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        how = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        with self._only(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=not sampling.greedy,
            eos_token_id=self.eos_ids,
            pad_token_id=pad,
            return_dict_in_generate=True,
            output_logits=True,
            **({} if sampling.greedy else how),
        ):
            # the library types `generate` as a module's attribute
            out = self.model.generate(  # type: ignore[operator]
                input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device)
            )
        scale = 1.0 if sampling.greedy else sampling.temperature
        chosen = out.sequences[:, width:]
        logp = torch.stack([_logp(x, chosen[:, t], scale) for t, x in enumerate(out.logits)], 1)
        return [self._cut(i, p) for i, p in zip(chosen.tolist(), logp.tolist(), strict=True)]

    @contextmanager
    def _only(self, **settings: Any) -> Iterator[None]:
        """Generate with these settings alone. What else a model's folder asks for (a repetition
        penalty, min_p) would sample from another distribution than the log-probs are of."""
        before = self.model.generation_config
        self.model.generation_config = GenerationConfig(**settings)
        try:
            yield
        finally:
            self.model.generation_config = before

    def _cut(self, ids: list[int], logp: list[float]) -> Completion:
        """Up to and with the first end token: what follows it is padding."""
        for index, token in enumerate(ids):
            if token in self.eos_ids:
                return Completion(ids[: index + 1], logp[: index + 1], "stop")
        return Completion(ids, logp, "length")


def _logp(logits_BV: Tensor, ids_B: Tensor, temperature: float) -> Tensor:
    scaled = logits_BV.float() / temperature
    return scaled.gather(-1, ids_B[:, None])[:, 0] - scaled.logsumexp(-1)
