"""The first fallback, for architectures that our engine does not know: the model's own modules.

Each prompt is read once for all its completions, a static cache holds what they write, finished
rows are compacted away. Whether a model can be sampled like that is tried, not looked up.

Shape letters: P prompts, B rows (completions under way), T tokens of a row so far, padding
included, M of the longest prompt, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from grpo_core.engine import Completion, Sampling
from grpo_core.engine.architecture import rope_tables
from grpo_core.engine.chunks import generate_in_chunks, write_rows
from grpo_core.engine.hf import GenerateEngine
from grpo_core.engine.module_rows import Layer, ModuleRows
from grpo_core.engine.sampling import choose

AGREES = 1e-3
"""Largest difference of a log-prob (nats) between sampler and whole forward, in fp32, for a model
to be sampled here. Rounding makes 1e-5; whatever is wrong makes far more."""


class ModulesEngine:
    """Left-padded prompts through the model's own forward."""

    name = "modules"
    notice = (
        "this architecture is sampled through its own modules with a static cache, slower than "
        "our engine"
    )

    def __init__(self, model: PreTrainedModel, eos_ids: list[int]) -> None:
        self.model, self.eos_ids = model, sorted(eos_ids)
        self.eos = torch.tensor(self.eos_ids, device=model.device)
        self.rows_at_once: int | None = None
        config = model.config.get_text_config(decoder=True)
        self.context = getattr(config, "max_position_embeddings", None) or 2**31
        self._unturned = _unturned(config)
        self._takes = inspect.signature(model.forward).parameters.keys()

    @classmethod
    def of(cls, model: PreTrainedModel, eos_ids: list[int]) -> ModulesEngine | None:
        """The engine for `model`, None where what it samples is not what the model says of it:
        recurrent models, other layouts of the cache."""
        try:
            engine = cls(model, eos_ids)
            agrees = engine._agrees()
        except Exception:  # whatever it says, it does not take what we hand over
            return None
        return engine if agrees else None

    def refresh(self) -> None:
        """Nothing to do: the policy itself samples."""

    def release(self) -> None:
        """Nothing is kept."""

    # Not `inference_mode`: what a module puts aside for later calls must be fit for training.
    @torch.no_grad()
    def generate(
        self, prompts: list[list[int]], num: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`num` completions for each prompt; see `Engine`."""
        longest = max(map(len, prompts)) + sampling.max_new_tokens
        if self._unturned < longest <= self.context:
            return GenerateEngine(self.model, self.eos_ids).generate(prompts, num, sampling, seed)
        return generate_in_chunks(self, self.context, prompts, num, sampling, seed)

    def _sample(
        self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor, own: slice
    ) -> list[Completion]:
        """Completions `own` of all, those of `prompts`, at the same time."""
        rows, logits = self._read(prompts, len(uniform) // len(prompts), sampling)
        return write_rows(rows, logits, self._decode, sampling, uniform, own, self.eos)

    def _read(
        self, prompts: list[list[int]], num: int, sampling: Sampling
    ) -> tuple[ModuleRows, Tensor]:
        """Rows that have written nothing yet, and the logits after each prompt, `(P, V)`."""
        width, device = max(map(len, prompts)), self.model.device
        ids = [[0] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        mask_PM = torch.tensor(mask, device=device)
        position_PM = (mask_PM.cumsum(-1) - 1).clamp(min=0)
        cache = Cache(layer_class_to_replicate=Layer)
        logits_PV = self._forward(torch.tensor(ids, device=device), mask_PM, position_PM, cache)
        return ModuleRows(cache, mask_PM, num, sampling, logits_PV.dtype), logits_PV

    def _decode(self, rows: ModuleRows, step: int) -> Tensor:
        """Logits `(B, V)` of the tokens after those that were written at `step`."""
        position_B1 = rows.positions(step)[:, None]
        return self._forward(rows.last_ids[:, None], rows.seen(step), position_B1, rows.cache)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Logits after the last of the new tokens, in fp32 or better."""
        more = {"position_ids": positions, "logits_to_keep": 1}
        more = {name: value for name, value in more.items() if name in self._takes}
        output = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **more
        )
        logits = output.logits[:, -1]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    # --- does it fit? ----------------------------------------------------------------------------

    @torch.no_grad()
    def _agrees(self) -> bool:
        """Whether a few sampled tokens have the log-probs of a whole forward: two prompts, one of
        them padded, two completions each, of which two are dropped on the way."""
        size = min(int(self.model.config.get_text_config(decoder=True).vocab_size), 50)
        prompts = [[token % size for token in ids] for ids in (range(3, 12), (7, 5))]
        how = Sampling(6)
        with _widened(self.model):
            rows, logits_PV = self._read(prompts, 2, how)
            logits_BV = logits_PV.repeat_interleave(2, 0)
            uniform_B = torch.linspace(0.1, 0.9, 4, dtype=torch.float64, device=logits_BV.device)
            for step in range(how.max_new_tokens):
                rows.write(step, *choose(logits_BV, how, uniform_B[rows.index]), self.eos[:0])
                if step == 2:
                    rows._keep(rows.index[1::2])
                logits_BV = self._decode(rows, step)
            found = rows.completions()
            whole = self._whole([prompts[i // 2] + one.ids for i, one in enumerate(found)])
        for index, one in enumerate(found):
            first = len(prompts[index // 2]) - 1
            apart = whole[index, first : first + len(one.ids)].cpu() - torch.tensor(one.logp)
            if not bool((apart.abs() <= AGREES).all()):
                return False
        return True

    def _whole(self, rows: list[list[int]]) -> Tensor:
        """Log-probs of the rows' tokens but the first, by one forward without a cache."""
        width = max(map(len, rows))
        # padded on the right, where no real token sees it: that needs no mask
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).to(self.model.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1]
        logp = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        return logp.gather(-1, ids[:, 1:, None])[..., 0]


@contextmanager
def _widened(model: PreTrainedModel) -> Iterator[None]:
    """Each module works with fp32 copies of its half-precision weights, and has its own again
    after that. In bf16 rounding is as large as what a mistake does, 0.1 nats and more."""
    halves: dict[nn.Parameter, Tensor] = {}

    def widen(module: nn.Module, *_: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter.dtype in (torch.bfloat16, torch.float16):
                halves[parameter] = parameter.data
                parameter.data = parameter.data.float()

    def restore(module: nn.Module, *_: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter in halves:
                parameter.data = halves.pop(parameter)

    hooks = [module.register_forward_pre_hook(widen) for module in model.modules()]
    hooks += [module.register_forward_hook(restore) for module in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, half in halves.items():  # of modules that failed
            parameter.data = half


def _unturned(config: Any) -> int:
    """Most tokens of a sequence before `longrope` takes other frequencies, and all of its keys
    would have to be turned anew."""
    long = [table for table in rope_tables(config) if table.get("rope_type") == "longrope"]
    return min([table["original_max_position_embeddings"] for table in long], default=2**31)
