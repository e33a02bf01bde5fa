"""Which loss, as numbers: `losses.py` works it out, `terms.py` explains it token by token."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LOG_RATIO = 20.0
"""Beyond e^20 a ratio says only that something is broken; clamped, its gradient is zero."""


@dataclass(frozen=True)
class Objective:
    """One row of the table of algorithms; `AlgorithmConfig` says what each knob means."""

    ratio_level: str = "token"
    clipping: str = "ppo"
    clip_low: float | None = 0.2
    clip_high: float | None = 0.2
    dual_clip: float | None = None
    sapo_positive: float = 1.0
    sapo_negative: float = 1.05
    kl_estimator: str = "k3"
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0
