"""Numbers of the Theory page: as many digits as their band makes sensible."""

from __future__ import annotations

import math

from studio.charts import NONE
from studio.theory.sampled import Estimate

DIGITS = 4
ROUNDING = 1e-12
"""What is smaller is 0 but for the rounding of sums in double precision."""
MOST_PLACES = 6
"""Behind the point; smaller bands are written with a power of ten."""


def number(value: float | None, form: str = "number") -> str:
    """Four significant digits; `percent` of a share, `count` whole."""
    if value is None or not math.isfinite(value):
        return NONE if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if abs(value) < ROUNDING:
        value = 0.0
    if form == "percent":
        return f"{_signed(_significant(100 * value, 3))} %"
    if form == "count":
        return _signed(f"{value:,.0f}")
    return _signed(_significant(value, DIGITS))


def estimate(found: Estimate | float | None, form: str = "number") -> str:
    """`0.4987 ± 0.0062`: half of the 95 % band with two digits, the value as far as they go."""
    if not isinstance(found, Estimate):
        return number(found, form)
    scale = 100.0 if form == "percent" else 1.0
    value, half = scale * found.value, scale * (found.band[1] - found.value)
    unit = " %" if form == "percent" else ""
    if not (math.isfinite(value) and math.isfinite(half)):
        return number(found.value, form)
    if half == 0:
        return number(found.value, form)
    places = 1 - math.floor(math.log10(half))
    if not 0 <= places <= MOST_PLACES:
        return f"{_signed(_significant(value, DIGITS))} ± {_significant(half, 2)}{unit}"
    return f"{_signed(f'{value:,.{places}f}')} ± {half:.{places}f}{unit}"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{places}f}"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa} · 10{str(int(power)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _signed(text: str) -> str:
    return text.replace("-", "−")
