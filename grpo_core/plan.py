"""Who attends to whom in a packed row: each segment (a prompt, or a completion behind its prompt)
sees its prefix and itself, nothing else.

Shape letters: N tokens of the row; in a bucket S segments, L longest query, M longest prefix +
query; in the varlen form M keys of all segments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

MAX_WASTE = 1.6
"""A bucket takes segments while its padded scores are at most so many times the real ones."""


@dataclass(frozen=True)
class Segment:
    """`length` tokens from `start` on, which also see `prefix_length` tokens from
    `prefix_start` on."""

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0

    @property
    def num_keys(self) -> int:
        """Tokens that the last one sees."""
        return self.prefix_length + self.length


@dataclass
class Bucket:
    """Segments of like lengths, padded against each other."""

    num: int
    width: int
    """Queries of each segment, padding included."""
    offset: int
    """Where the first of them stands among the queries of all buckets."""
    key_SM: Tensor
    """Token of each key; padding points to token 0 and is hidden."""
    hidden_SLM: Tensor
    """True where a query must not see a key."""

    _masks: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to the scores: -inf where a query must not see a key, else 0."""
        if dtype not in self._masks:
            zeros = torch.zeros(self.hidden_SLM.shape, dtype=dtype, device=self.hidden_SLM.device)
            self._masks[dtype] = zeros.masked_fill_(self.hidden_SLM, float("-inf"))
        return self._masks[dtype]

    @property
    def queries(self) -> slice:
        """All of them, among those of all buckets."""
        return slice(self.offset, self.offset + self.num * self.width)


class AttentionPlan:
    """Who attends to whom in one row; made once, used by every layer."""

    def __init__(self, segments: list[Segment], device: torch.device) -> None:
        self.segments, self.device = segments, device
        self.windows: set[int | None] = set()
        """Those that layers have asked for, None for none."""
        self._buckets: dict[int | None, list[Bucket]] = {}

    def buckets(self, window: int | None) -> list[Bucket]:
        """Index tensors and masks; with a `window` a token sees the last so many tokens only."""
        if window not in self._buckets:
            buckets: list[Bucket] = []
            for part in self._parts:
                offset = buckets[-1].queries.stop if buckets else 0
                buckets.append(_bucket(part, offset, window, self.device))
            self._buckets[window] = buckets
        return self._buckets[window]

    @cached_property
    def place_N(self) -> Tensor:
        """Where each token of the row stands among the padded queries of all buckets."""
        place_N = torch.empty(sum(s.length for s in self.segments), dtype=torch.long)
        offset = 0
        for part in self._parts:
            width = max(segment.length for segment in part)
            for segment in part:
                own = torch.arange(segment.length)
                place_N[segment.start + own] = offset + own
                offset += width
        return place_N.to(self.device)

    @cached_property
    def varlen(self) -> Varlen:
        """The same for a kernel that takes segments without padding."""
        return Varlen.of(self.segments, self.device)

    @cached_property
    def num_queries(self) -> int:
        """Of all buckets, padding included."""
        return sum(len(part) * max(s.length for s in part) for part in self._parts)

    @cached_property
    def _parts(self) -> list[list[Segment]]:
        """Segments by size, cut into buckets of little padding."""
        parts: list[list[Segment]] = []
        real = 0
        for segment in sorted(self.segments, key=lambda s: (s.length, s.num_keys, s.start)):
            area = segment.length * segment.num_keys
            if parts:
                most = max(segment.num_keys, *(one.num_keys for one in parts[-1]))
                padded = (len(parts[-1]) + 1) * segment.length * most
                if padded <= MAX_WASTE * (real + area):
                    parts[-1].append(segment)
                    real += area
                    continue
            parts.append([segment])
            real = area
        return parts


@dataclass
class Varlen:
    """Segments in the row's order, each with its prefix in front of its own keys."""

    key_M: Tensor
    """Token of each key."""
    query_ends: Tensor
    """Where each segment's queries end, with a 0 in front; int32."""
    key_ends: Tensor
    longest_query: int
    longest_key: int

    @classmethod
    def of(cls, segments: list[Segment], device: torch.device) -> Varlen:
        """Segments must cover the row from its beginning."""
        keys: list[int] = []
        for one in segments:
            keys += range(one.prefix_start, one.prefix_start + one.prefix_length)
            keys += range(one.start, one.start + one.length)
        query_ends, key_ends = (
            torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=device)
            for sizes in ([s.length for s in segments], [s.num_keys for s in segments])
        )
        longest_query = max(s.length for s in segments)
        longest_key = max(s.num_keys for s in segments)
        key_M = torch.tensor(keys, device=device)
        return cls(key_M, query_ends, key_ends, longest_query, longest_key)


def _bucket(part: list[Segment], offset: int, window: int | None, device: torch.device) -> Bucket:
    start, length, prefix_start, prefix_length = torch.tensor(
        [[s.start, s.length, s.prefix_start, s.prefix_length] for s in part]
    ).T.unsqueeze(-1)
    step_L = torch.arange(int(length.max()))[None]
    step_M = torch.arange(int((prefix_length + length).max()))[None]
    own_SM = torch.where(step_M < prefix_length + length, start + step_M - prefix_length, 0)
    key_SM = torch.where(step_M < prefix_length, prefix_start + step_M, own_SM)
    # keys stand in the order of their positions, so causal means: none behind the query
    ahead_SLM = step_M[:, None] - (prefix_length + step_L)[:, :, None]
    hidden_SLM = ahead_SLM > 0
    if window is not None:
        hidden_SLM |= ahead_SLM <= -window
    # a padded query sees everything rather than nothing, which would give NaN; nobody asks it
    hidden_SLM &= (step_L < length)[:, :, None]
    width = step_L.shape[1]
    return Bucket(len(part), width, offset, key_SM.to(device), hidden_SLM.to(device))
