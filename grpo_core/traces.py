"""Per-token numbers of completions: filled from a step's flat lists, kept as one compact blob each
(exact float32, about 15 bytes a token).
"""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from collections.abc import Callable
from dataclasses import asdict

from grpo_core.records import Group, TokenTrace

_CHANNELS = ("logp", "old", "ref", "entropy", "advantage", "weight")


def fill_traces(
    groups: list[Group],
    channels: dict[str, list[float]],
    num_groups: int,
    piece: Callable[[int], str],
) -> None:
    """Keep the token numbers of the first `num_groups` groups.

    `channels`: one flat list over all completion tokens of the step for each number; `piece` gives
    a token's text.
    """
    start = 0
    for group in groups[:num_groups]:
        for rollout in group.rollouts:
            end = start + len(rollout.ids)
            numbers = {name: values[start:end] for name, values in channels.items()}
            rollout.trace = TokenTrace([piece(token) for token in rollout.ids], **numbers)
            start = end


def pack_trace(ids: list[int], trace: TokenTrace) -> bytes:
    """Header (JSON, length-prefixed) and one float32 array a channel, deflated."""
    values = asdict(trace)
    header = json.dumps({"ids": ids, "pieces": trace.pieces}).encode()
    body = b"".join(array("f", values[name]).tobytes() for name in _CHANNELS)
    return zlib.compress(struct.pack("<I", len(header)) + header + body)


def unpack_trace(blob: bytes) -> tuple[list[int], TokenTrace]:
    """The inverse of `pack_trace`."""
    data = zlib.decompress(blob)
    (size,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + size])
    floats = array("f")
    floats.frombytes(data[4 + size :])
    num = len(header["ids"])
    channels = {n: floats[i * num : (i + 1) * num].tolist() for i, n in enumerate(_CHANNELS)}
    return header["ids"], TokenTrace(pieces=header["pieces"], **channels)
