"""Numbers inside formulas, with digits enough to work them out again."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def n(value: float, digits: int = 4) -> str:
    """A number inside a formula: significant digits, a real minus."""
    if not np.isfinite(value):
        return "—"
    size = abs(value)
    value *= 1 + 1e-13  # a tie is rounded away from 0, as everywhere on the page
    is_short = size and (size < 1e-3 or size >= 10 ** max(5, digits))
    text = f"{value:.{max(2, digits - 2)}e}" if is_short else f"{value:.{digits}g}"
    return text.replace("-", "−")


def signed(value: float, digits: int = 4) -> str:
    """A number after a minus sign."""
    return f"({n(value, digits)})" if value < 0 else n(value, digits)


def near_1(ratio: float) -> str:
    """A ratio; some rows clip at ten thousandths."""
    return n(ratio, 7) if abs(ratio - 1) < 0.01 else n(ratio)


def enough(R: NDArray[np.float64]) -> int:
    """So many that differences between large rewards are seen."""
    spread, size = float(np.ptp(R)), float(np.abs(R).max())
    return 4 if spread == 0 else min(15, 4 + max(0, math.ceil(math.log10(size / spread))))
