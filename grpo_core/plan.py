"""Who attends to whom in a packed row: each segment (a prompt, or a completion behind its prompt)
sees its prefix and itself, nothing else.

Shape letters: N tokens of the row, H query heads, J key heads, D head size; in a bucket S segments,
L longest query, M longest prefix + query; in the varlen form M keys of all segments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

ALIGN = 32
"""Keys of a bucket are padded to a multiple of so many: lines of bf16 numbers that a CPU's vectors
hold. A softmax over others takes two to five times as long."""
MAX_WASTE = 1.6
"""A bucket takes segments while its scores are at most so many times those of each by itself."""


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

    length_S: Tensor
    """Queries of each segment; the tokens in front of them, its prefix: `prefix_S`."""
    prefix_S: Tensor
    query_SL: Tensor
    """Token of each query; -1 for padding."""
    key_SM: Tensor
    """Token of each key; padding points to token 0 and is hidden."""

    _masks: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, part: list[Segment], device: torch.device) -> Bucket:
        """These segments."""
        start, length, prefix_start, prefix_length = torch.tensor(
            [[s.start, s.length, s.prefix_start, s.prefix_length] for s in part], device=device
        ).T.unsqueeze(-1)
        step_L = torch.arange(max(s.length for s in part), device=device)
        step_M = torch.arange(_aligned(max(s.num_keys for s in part)), device=device)
        query_SL = torch.where(step_L < length, start + step_L, -1)
        own_SM = torch.where(step_M < prefix_length + length, start + step_M - prefix_length, 0)
        key_SM = torch.where(step_M < prefix_length, prefix_start + step_M, own_SM)
        return cls(length[:, 0], prefix_length[:, 0], query_SL, key_SM)

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """What is added to the scores `(S, L, M)`: -inf where a query must not see a key, else 0.
        With a `window` a token sees the last so many tokens only."""
        if (window, dtype) not in self._masks:
            hidden_SLM = self.hidden(window)
            zeros = torch.zeros(hidden_SLM.shape, dtype=dtype, device=hidden_SLM.device)
            self._masks[window, dtype] = zeros.masked_fill_(hidden_SLM, float("-inf"))
        return self._masks[window, dtype]

    def hidden(self, window: int | None) -> Tensor:
        """True where a query must not see a key, `(S, L, M)`."""
        (_, width), (_, num_keys) = self.query_SL.shape, self.key_SM.shape
        step_L, step_M = (torch.arange(n, device=self.key_SM.device) for n in (width, num_keys))
        # keys stand in the order of their positions, so causal means: none behind the query
        ahead_SLM = step_M - (self.prefix_S[:, None] + step_L)[:, :, None]
        hidden_SLM = ahead_SLM > 0
        if window is not None:
            hidden_SLM |= ahead_SLM <= -window
        # a padded query sees everything rather than nothing, which would give NaN; nobody asks it
        return hidden_SLM & (self.query_SL >= 0)[:, :, None]


class AttentionPlan:
    """Who attends to whom in one row; made once, used by every layer."""

    def __init__(self, segments: list[Segment], device: torch.device) -> None:
        self.segments, self.device = segments, device
        self.windows: set[int | None] = set()
        """Those that layers have asked for, None for none."""
        self._rows: dict[tuple[int, int], HeadRows] = {}

    @cached_property
    def buckets(self) -> list[Bucket]:
        """All segments, by size."""
        return [Bucket.of(part, self.device) for part in self._parts]

    def rows(self, num_heads: int, num_kv_heads: int) -> HeadRows:
        """How the rows of so many heads are laid out for the buckets."""
        if (num_heads, num_kv_heads) not in self._rows:
            rows = HeadRows.of(self.buckets, num_heads, num_kv_heads)
            self._rows[num_heads, num_kv_heads] = rows
        return self._rows[num_heads, num_kv_heads]

    @cached_property
    def varlen(self) -> Varlen:
        """The same for a kernel that takes segments without padding."""
        return Varlen.of(self.segments, self.device)

    @cached_property
    def _parts(self) -> list[list[Segment]]:
        """Segments by size, cut into buckets of little padding."""
        parts: list[list[Segment]] = []
        real = 0
        for segment in sorted(self.segments, key=lambda s: (s.length, s.num_keys, s.start)):
            area = segment.length * _aligned(segment.num_keys)
            if parts:
                most = max(segment.num_keys, *(one.num_keys for one in parts[-1]))
                padded = (len(parts[-1]) + 1) * segment.length * _aligned(most)
                if padded <= MAX_WASTE * (real + area):
                    parts[-1].append(segment)
                    real += area
                    continue
            parts.append([segment])
            real = area
        return parts


@dataclass
class HeadRows:
    """The padded queries and keys of all buckets, the heads of one key head together: bucket after
    bucket queries as `(J, S, H/J, L)`, keys as `(J, S, M)`."""

    query: Tensor
    """Line of each in a table `(N H + 1, D)` of the tokens' queries; the last for padding."""
    place: Tensor
    """Where the lines of that table stand among them, `(N H,)`."""
    key: Tensor
    """Line of each key in a table `(N J, D)`."""
    parts: list[Part]
    """Those of each bucket."""

    @classmethod
    def of(cls, buckets: list[Bucket], num_heads: int, num_kv_heads: int) -> HeadRows:
        """Every token is a query of one bucket."""
        device = buckets[0].key_SM.device
        head = torch.arange(num_heads, device=device).view(num_kv_heads, 1, -1, 1)
        kv_head = torch.arange(num_kv_heads, device=device)[:, None, None]
        lines = []
        for bucket in buckets:
            token = bucket.query_SL[None, :, None]
            query = torch.where(token < 0, -1, token * num_heads + head).flatten()
            key = (bucket.key_SM * num_kv_heads + kv_head).flatten()
            lines.append((query, key))
        query, key = (torch.cat(one) for one in zip(*lines, strict=True))
        (real,) = (query >= 0).nonzero(as_tuple=True)
        place = torch.empty_like(real)
        place[query[real]] = real
        ends = [[0, *accumulate(map(len, one))] for one in zip(*lines, strict=True)]
        spans = ([slice(*pair) for pair in pairwise(end)] for end in ends)
        nums = [num_kv_heads * len(bucket.key_SM) for bucket in buckets]
        parts = list(map(Part, nums, *spans))
        return cls(query % (len(real) + 1), place, key, parts)


@dataclass
class Part:
    """A bucket's part of the padded queries and keys; both are `num` = J S matrices."""

    num: int
    query_lines: slice
    key_lines: slice

    def queries(self, x: Tensor) -> Tensor:
        """Of the queries of all buckets its own, `(J S, H/J L, D)`."""
        return x[self.query_lines].view(self.num, -1, x.shape[-1])

    def keys(self, x: Tensor) -> Tensor:
        """Of the keys of all buckets its own, `(J S, M, D)`."""
        return x[self.key_lines].view(self.num, -1, x.shape[-1])


def _aligned(num_keys: int) -> int:
    return -(-num_keys // ALIGN) * ALIGN


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
