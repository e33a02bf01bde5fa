"""What can be turned in an experiment: bounds and words stand with each field, and the page makes
its sliders of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Knob:
    """How one field is turned. `options` for a choice (in their order), else `low` to `high`."""

    label: str
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    options: tuple[Any, ...] = ()
    help: str = ""


def number(
    default: float, low: float, high: float, label: str, *, step: float, help: str = ""
) -> Any:
    """A field that is a slider. An int where `default` is one."""
    return field(default=default, metadata={"knob": Knob(label, low, high, step, help=help)})


def one_of(default: Any, options: Sequence[Any], label: str, *, help: str = "") -> Any:
    """A field that takes one of a few values: numbers on a slider, words as buttons, and a switch
    where it is True or False."""
    return field(default=default, metadata={"knob": Knob(label, options=(*options,), help=help)})


@dataclass(frozen=True)
class Knobs:
    """The base of all settings of experiments: frozen, so that a result is kept by its settings.

    Raises ValueError on a value out of bounds: an address in the browser can hold anything.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            knob, value = knob_of(each), getattr(self, each.name)
            if not isinstance(value, type(each.default)) or not _is_allowed(knob, value):
                allowed = knob.options or (knob.low, knob.high)
                raise ValueError(f"{each.name}: {value!r} is not within {allowed}")


def _is_allowed(knob: Knob, value: Any) -> bool:
    return value in knob.options if knob.options else bool(knob.low <= value <= knob.high)


def knob_of(each: Field[Any]) -> Knob:
    """How a field of `Knobs` is turned."""
    knob: Knob = each.metadata["knob"]
    return knob
