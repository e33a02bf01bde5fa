"""The tokens of stored completions with the numbers that the update used: a whole group at a
glance, and one completion in every pass.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grpo_core.algorithm_config import objective_of
from grpo_core.group_reader import GroupReader
from grpo_core.objective import Objective
from grpo_core.records import TokenTrace
from grpo_core.runs import Run
from grpo_core.terms import Numbers, Terms, terms_of
from grpo_core.traces import channels_of
from studio import groups

STRIPS = ("logp", "entropy", "kl", "ratio", "loss", "advantage")
"""Channels of the overview of a group, one byte a token each: -127 … 127 is full colour."""


def strips(reader: GroupReader, run: Run, group_id: int) -> bytes:
    """An overview of all tokens of a group: a header (JSON, length-prefixed) with `id, num,
    clipped` of each completion, then its channels as signed bytes, one after another."""
    group = reader.group_of(group_id)
    found = []
    if group is not None:
        objective = objective_of(groups.config_in_force(reader, run, group["step"]).algorithm)
        for rollout_id, blob in reader.blobs(group_id).items():
            try:
                numbers = Numbers.of(**channels_of(blob))
            except ValueError:  # opening this completion says so
                continue
            found.append((rollout_id, numbers, terms_of(objective, numbers)))
    most = max((np.nanmax(np.abs(t.loss), initial=0.0) for _, _, t in found), default=0.0)
    head = [
        {"id": rollout_id, "num": len(n.logp), "clipped": int(np.count_nonzero(t.clipped))}
        for rollout_id, n, t in found
    ]
    header = json.dumps({"channels": STRIPS, "most": most, "rollouts": head}).encode()
    body = b"".join(_strip(numbers, terms, most) for _, numbers, terms in found)
    return struct.pack("<I", len(header)) + header + body


def _strip(numbers: Numbers, terms: Terms, most: float) -> bytes:
    """The channels of one completion; what is full colour is what `channels.js` says."""
    table = np.stack(
        [
            -numbers.logp / 5,
            numbers.entropy / 2,
            (numbers.logp - numbers.ref) / 1.5,
            (terms.ratio - 1) / 0.2,
            terms.loss / most if most else np.zeros_like(terms.loss),
            numbers.advantage / 2,
        ]
    )
    return (127 * np.clip(np.nan_to_num(table), -1, 1)).astype(np.int8).tobytes()


def passes_of(trace: TokenTrace) -> list[Numbers]:
    """What each pass of the update used of a completion."""
    shared = {"ref": trace.ref, "weight": trace.weight}
    names = ("logp", "old", "entropy", "advantage")
    return [
        Numbers.of(**{name: getattr(one, name) for name in names}, **shared)
        for one in (trace, *trace.later)
    ]


def tokens_view(reader: GroupReader, run: Run, rollout_id: int) -> dict[str, Any] | None:
    """The tokens of one completion with all their numbers, in each pass of the update."""
    found, place = reader.trace(rollout_id), reader.place_of(rollout_id)
    if found is None or place is None:
        return None
    objective = objective_of(groups.config_in_force(reader, run, place["step"]).algorithm)
    ids, trace = found
    return {
        "ids": ids,
        "pieces": trace.pieces,
        "ref": _digits(np.array(trace.ref)),
        "weight": _digits(np.array(trace.weight)),
        "passes": [_pass_view(objective, numbers) for numbers in passes_of(trace)],
    }


def _pass_view(objective: Objective, numbers: Numbers) -> dict[str, list[float]]:
    terms = terms_of(objective, numbers)
    shown = {
        "logp": numbers.logp,
        "old": numbers.old,
        "entropy": numbers.entropy,
        "advantage": numbers.advantage,
        "kl": numbers.logp - numbers.ref,
        "ratio": terms.ratio,
        "loss": terms.loss,
        "gradient": terms.gradient,
        "clipped": terms.clipped.astype(float),
    }
    return {name: _digits(values) for name, values in shown.items()}


def _digits(values: NDArray[np.float64]) -> list[float]:
    """Six significant digits: what a float32 holds, in half the bytes."""
    return [float(f"{value:.6g}") for value in values.tolist()]
