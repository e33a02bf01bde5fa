"""The completions under way where the model's own modules sample: `Rows` with keys and values in a
cache of the library.

The library has caches for either half of that only. One copies itself for every token; the other
lets each token attend to all of its room, filled or not, and its rows cannot be selected.

Shape letters: P prompts, B rows, T tokens of a row so far, padding included, M of the longest
prompt, J key heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from grpo_core.engine import Sampling
from grpo_core.engine.rows import Rows


class ModuleRows(Rows):
    """`num` rows for each prompt that `cache` has read, the prompts padded on the left."""

    def __init__(
        self, cache: Cache, mask_PM: Tensor, num: int, sampling: Sampling, dtype: torch.dtype
    ) -> None:
        super().__init__(mask_PM.sum(-1), num, sampling, dtype)
        self.cache, self.width = cache, mask_PM.shape[1]
        # one that reads the keys of another layer holds none
        layers = [layer for layer in cache.layers if isinstance(layer, Layer)]
        self.layers = [layer for layer in layers if layer.is_initialized]
        for layer in self.layers:
            layer.spread(num, sampling.max_new_tokens)
        room = mask_PM.new_ones(len(self.index), sampling.max_new_tokens)
        self.mask = torch.cat([mask_PM.repeat_interleave(num, 0), room], 1)

    def _keep(self, rows: Tensor) -> None:
        super()._keep(rows)
        for layer in self.layers:
            layer.keep(rows)
        self.mask = self.mask[rows]

    def seen(self, step: int) -> Tensor:
        """Mask `(B, T)` of a row's tokens up to the one that was written at `step`."""
        return self.mask[:, : self.width + step + 1]


class Layer(DynamicLayer):
    """Keys and values of a layer, `(B, J, T, D)`: the filled part of tensors with room for more.

    What a window hides is left to the mask, so all layers are equally long.
    """

    _whole: tuple[Tensor, Tensor]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take in new tokens; returns all."""
        new = key_states, value_states
        if not self.is_initialized:  # the prompts, read at once
            self.lazy_initialization(*new)
            self._whole = new
            return self._fill(key_states.shape[2])
        filled = self.get_seq_length()
        end = filled + key_states.shape[2]
        for whole, part in zip(self._whole, new, strict=True):
            whole[:, :, filled:end] = part
        return self._fill(end)

    def spread(self, num: int, room: int) -> None:
        """Each row `num` times, with room for so many tokens more."""
        filled = self.get_seq_length()

        def spread(part: Tensor) -> Tensor:
            size, heads, _, width = part.shape
            whole = part.new_empty(size, num, heads, filled + room, width)
            whole[..., :filled, :] = part[:, None]
            return whole.flatten(0, 1)

        keys, values = self._whole
        self._whole = spread(keys), spread(values)
        self._fill(filled)

    def keep(self, rows: Tensor) -> None:
        """Only these rows, which move to the front."""
        filled, (keys, values) = self.get_seq_length(), self._whole
        for whole in (keys, values):
            whole[: len(rows), :, :filled] = whole[rows, :, :filled]
        self._whole = keys[: len(rows)], values[: len(rows)]
        self._fill(filled)

    def _fill(self, end: int) -> tuple[Tensor, Tensor]:
        """What the library takes for the layer's keys and values."""
        keys, values = (whole[:, :, :end] for whole in self._whole)
        self.keys, self.values = keys, values
        return keys, values
