"""Per-token numbers of completions: filled from a step's flat lists, kept as one compact blob each
(exact float32, about 15 bytes a token; a further pass of the update adds about 8).
"""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from grpo_core.records import Group, TokenPass, TokenTrace

MAX_BYTES = 1 << 28
"""Of one completion's numbers, unpacked: a run folder may come from anybody."""
_FIRST = ("logp", "old", "ref", "entropy", "advantage", "weight")
_LATER = ("logp", "old", "entropy", "advantage")


def fill_traces(
    groups: list[Group],
    ref: list[float],
    weight: list[float],
    passes: list[list[list[float]]],
    decode: Callable[[list[int]], str],
    piece: Callable[[int], str],
) -> None:
    """Keep the token numbers of `groups`.

    All lists are flat over these groups' tokens; `passes` holds the channels `logp`, `old`,
    `entropy` and `advantage` of each pass of the update; `piece` gives a token's text, `decode`
    that of several.
    """
    start = 0
    for rollout in (rollout for group in groups for rollout in group.rollouts):
        part = slice(start, start + len(rollout.ids))
        seen = [TokenPass(*(channel[part] for channel in one)) for one in passes]
        first = seen[0]
        rollout.trace = TokenTrace(
            pieces_of(rollout.ids, decode, piece),
            first.logp,
            first.old,
            ref[part],
            first.entropy,
            first.advantage,
            weight[part],
            seen[1:],
        )
        start = part.stop


HALF = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer gives for bytes that are no whole character."""


def pieces_of(
    ids: list[int], decode: Callable[[list[int]], str], piece: Callable[[int], str]
) -> list[str]:
    """The text of each token; of a character that is split over tokens the last one has it all."""
    pieces = [piece(token) for token in ids]
    start = 0
    while start < len(ids):
        end = start
        while end < len(ids) and HALF in pieces[end]:
            end += 1
            text = decode(ids[start:end])
            if not text.endswith(HALF):
                pieces[start:end] = [""] * (end - start - 1) + [text]
                break
        start = max(end, start + 1)
    return pieces


def pack_trace(ids: list[int], trace: TokenTrace) -> bytes:
    """Header (JSON, length-prefixed) and one float32 array a channel, deflated."""
    header = json.dumps({"ids": ids, "pieces": trace.pieces}).encode()
    lists = [getattr(trace, name) for name in _FIRST]
    lists += [getattr(one, name) for one in trace.later for name in _LATER]
    body = b"".join(array("f", values).tobytes() for values in lists)
    return zlib.compress(struct.pack("<I", len(header)) + header + body)


def unpack_trace(blob: bytes) -> tuple[list[int], TokenTrace]:
    """The inverse of `pack_trace`. Raises ValueError on anything else."""
    header, values = _parts(blob)
    first, later = values[: len(_FIRST)].tolist(), values[len(_FIRST) :].tolist()
    passes = [TokenPass(*later[i : i + len(_LATER)]) for i in range(0, len(later), len(_LATER))]
    named = dict(zip(_FIRST, first, strict=True))
    return header["ids"], TokenTrace(header["pieces"], **named, later=passes)


def channels_of(blob: bytes) -> dict[str, NDArray[np.float32]]:
    """`logp`, `old`, `ref`, `entropy`, `advantage` and `weight` of a packed trace, `(T,)` each, as
    the last pass of the update that looked at a token used them. Raises ValueError."""
    _, values = _parts(blob)
    found = dict(zip(_FIRST, values, strict=False))
    for start in range(len(_FIRST), len(values), len(_LATER)):
        later = dict(zip(_LATER, values[start : start + len(_LATER)], strict=True))
        seen = ~np.isnan(later["logp"])
        found |= {name: np.where(seen, channel, found[name]) for name, channel in later.items()}
    return found


def first_pass_of(blob: bytes) -> dict[str, NDArray[np.float32]]:
    """The channels of a packed trace, `(T,)` each, as the first pass of the update used them: with
    the policy that sampled. Raises ValueError."""
    _, values = _parts(blob)
    return dict(zip(_FIRST, values, strict=False))


def _parts(blob: bytes) -> tuple[dict[str, list], NDArray[np.float32]]:
    """The header, and all channels as one table with a row each."""
    try:
        data = zlib.decompressobj().decompress(blob, MAX_BYTES)
        (size,) = struct.unpack_from("<I", data)
        header = json.loads(data[4 : 4 + size])
        num = len(header["ids"])
        table = np.frombuffer(data[4 + size :], dtype="<f4")
        table = table.reshape(-1, num) if num else np.zeros((len(_FIRST), 0), dtype="<f4")
        is_whole = len(header["pieces"]) == num and len(table) >= len(_FIRST)
        is_whole &= all(isinstance(piece, str) for piece in header["pieces"])
    except (zlib.error, struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not the numbers of a completion: {error}") from None
    if not is_whole or (len(table) - len(_FIRST)) % len(_LATER):
        raise ValueError("not the numbers of a completion: their count is wrong")
    return header, table
