"""What every metric that the trainer writes is, for the charts of the Live page."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from studio.explained import PART, Explanation
from studio.explained_outcome import OUTCOME
from studio.explained_training import TRAINING

EXPLANATIONS: dict[str, Explanation] = OUTCOME | TRAINING


def explanation(name: str) -> Explanation | None:
    """Of a metric; None where nobody knows it."""
    found = EXPLANATIONS.get(name)
    return found or (EXPLANATIONS[PART] if re.fullmatch(r"reward/.+/mean", name) else None)


def payload() -> dict[str, dict[str, Any]]:
    """All of them, for the page."""
    return {name: asdict(one) for name, one in EXPLANATIONS.items()}
