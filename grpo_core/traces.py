"""Per-token numbers of a completion as one compact blob: exact float32, about 15 bytes a token."""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from dataclasses import asdict

from grpo_core.records import TokenTrace

_CHANNELS = ("logp", "old", "ref", "entropy", "advantage", "weight")


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
