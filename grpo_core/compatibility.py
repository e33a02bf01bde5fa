"""Which settings of an algorithm go together. What an impossible combination would do is said when
the recipe is read, not found out in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Values = Mapping[str, Any]
NEEDS_NO_GROUP = ("none", "batch_z", "gae")
"""Advantages for which equal rewards in a group still teach, and a group of one is enough."""

Applies = Callable[[Values], bool]
_HAS_CLIP = "it needs clipping: ppo and a ratio_level of token or sequence"
APPLIES: dict[str, tuple[Applies, str]] = {
    "clip_low": (lambda v: v["clipping"] == "ppo", _HAS_CLIP),
    "clip_high": (lambda v: v["clipping"] in ("ppo", "cispo"), "it needs clipping: ppo or cispo"),
    "dual_clip": (lambda v: v["clipping"] == "ppo", _HAS_CLIP),
    "sapo_positive": (lambda v: v["clipping"] == "sapo", "it needs clipping: sapo"),
    "sapo_negative": (lambda v: v["clipping"] == "sapo", "it needs clipping: sapo"),
    "reference_sync_every": (
        lambda v: v["kl_reference"] == "synced",
        "it needs kl_reference: synced",
    ),
    "reference_decay": (
        lambda v: v["kl_reference"] == "average",
        "it needs kl_reference: average",
    ),
    "overlong_penalty": (lambda v: v["truncated"] == "penalize", "it needs truncated: penalize"),
    "overlong_buffer": (lambda v: v["truncated"] == "penalize", "it needs truncated: penalize"),
    "attention_temperature": (
        lambda v: v["advantage"] == "prefix_attention",
        "it needs advantage: prefix_attention",
    ),
    "attention_min_samples": (
        lambda v: v["advantage"] == "prefix_attention",
        "it needs advantage: prefix_attention",
    ),
}
"""Knobs that mean something only beside others, and beside which."""

IMPOSSIBLE: tuple[tuple[Callable[[Values], bool], str], ...] = (
    (
        lambda v: v["kl_place"] == "loss" and v["kl_estimator"] == "k1",
        "kl_estimator: k1 in the loss has zero expected gradient; "
        "use k2, k3 or k3_is, or kl_place: reward",
    ),
    (
        lambda v: v["kl_place"] == "reward" and v["kl_estimator"] != "k1",
        "kl_place: reward takes kl_estimator: k1",
    ),
    (
        lambda v: v["kl_place"] == "reward" and v["kl_reference"] == "old",
        "kl_reference: old is zero in the reward; use kl_place: loss with k2, k3 or k3_is",
    ),
    (
        lambda v: v["ratio_level"] == "none" and v["clipping"] != "none",
        "ratio_level: none leaves nothing to clip; set clipping: none too",
    ),
    (
        lambda v: v["ratio_level"] == "sequence" and v["clipping"] in ("cispo", "sapo"),
        "clipping: cispo and sapo are made for the ratio of each token; use ratio_level: token, "
        "or clipping: ppo",
    ),
    (
        lambda v: v["ratio_level"] == "sequence" and v["advantage"] in ("prefix_attention", "gae"),
        "ratio_level: sequence weighs a completion as a whole and takes one advantage for it; use "
        "ratio_level: token with prefix_attention and gae",
    ),
    (
        lambda v: v["dual_clip"] is not None and v["dual_clip"] <= 1 + (v["clip_high"] or 0),
        "dual_clip must be larger than 1 + clip_high, or it would cut what the clip allows",
    ),
    (
        lambda v: bool(v["resample_rounds"]) and v["advantage"] in NEEDS_NO_GROUP,
        "resample_rounds drops groups with equal rewards, which still teach with advantage: none, "
        "batch_z and gae; set resample_rounds: 0",
    ),
    (
        lambda v: (
            v["multi_objective_aggregation"] == "normalize_then_sum"
            and (
                v["advantage"] != "zscore"
                or v["kl_place"] == "reward"
                or v["truncated"] == "penalize"
            )
        ),
        "multi_objective_aggregation: normalize_then_sum takes each reward's own z-score; use it "
        "with advantage: zscore, kl_place: loss and truncated: keep or mask",
    ),
)
"""Combinations that cannot mean what they say, and what to do instead."""
