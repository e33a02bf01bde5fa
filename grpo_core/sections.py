"""What all sections of a recipe have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

LIVE: JsonDict = {"live": True}
"""Marks a knob that `grpo-studio set` may change while the run goes on."""


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change behind one's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
