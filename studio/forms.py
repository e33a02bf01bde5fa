"""A form made from the recipe's own models: every knob with its description, its bounds and the
value it has in the recipe. What differs from the recipe becomes `key.path=value`, as on the command
line, so the page can show and start exactly what a person would type.
"""

from __future__ import annotations

import json
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import streamlit as st
import yaml
from pydantic.fields import FieldInfo

from grpo_core.config import ALGORITHMS, RunConfig, Section

SECTIONS: dict[str, tuple[str, ...]] = {
    "Basics": ("num_steps", "seed", "model"),
    "Data": ("data",),
    "Rollout": ("rollout",),
    "Algorithm": ("algorithm",),
    "Optimizer": ("optim",),
    "Evaluation": ("evaluation", "checkpoint"),
    "Limits": ("sandbox", "store"),
}
"""Tabs of the form; `rewards` is a list and has its own."""
_FROM_ROW = tuple(next(iter(ALGORITHMS.values())))


@dataclass(frozen=True)
class Knob:
    """One setting of the recipe."""

    key: str
    """Dotted path, as on the command line."""
    field: FieldInfo
    value: Any
    """What the recipe says; None where it leaves the choice to something else."""

    @property
    def label(self) -> str:
        """`optim.learning_rate` → `Learning rate`."""
        name = self.key.rpartition(".")[2].replace("_", " ")
        name = f"number of {name[4:]}" if name.startswith("num ") else name
        name = {"model.path": "model", "algorithm.name": "algorithm"}.get(self.key, name)
        return f"{name[0].upper()}{name[1:]}".replace("Kl ", "KL ")

    @property
    def choices(self) -> list[Any]:
        """The allowed values of a knob with a fixed set of them, else nothing."""
        return [v for kind in _kinds(self.field) for v in get_args(kind) if _is_literal(kind)]

    @property
    def kind(self) -> type:
        """The plain type of the value."""
        return next(k for k in _kinds(self.field) if not _is_literal(k))

    @property
    def is_optional(self) -> bool:
        """Whether it may be left empty."""
        return type(None) in get_args(self.field.annotation)

    def bound(self, *names: str) -> Any:
        """The limit that one of the constraints `ge`, `gt`, … states, else None."""
        found = [getattr(c, n) for c in self.field.metadata for n in names if hasattr(c, n)]
        return found[0] if found else None

    def help(self) -> str:
        """Key and bounds, for the knob's tooltip."""
        lines = [f"`{self.key}`{self._bounds()}"]
        extra = self.field.json_schema_extra
        if isinstance(extra, dict) and extra.get("live"):
            lines.append("Can be changed while the run goes on.")
        return "\n\n".join(lines)

    def _bounds(self) -> str:
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        found = [(signs[n], self.bound(n)) for n in signs if self.bound(n) is not None]
        return ": " + " and ".join(f"{sign} {value:g}" for sign, value in found) if found else ""


def knobs(config: RunConfig, recipe: dict[str, Any], tab: str) -> list[Knob]:
    """The knobs of one tab, with the values of `config` (parsed from `recipe`)."""
    found = []
    for name in SECTIONS[tab]:
        field, value = RunConfig.model_fields[name], getattr(config, name)
        if not isinstance(value, Section):
            found.append(Knob(name, field, value))
            continue
        for key, inner in type(value).model_fields.items():
            current = getattr(value, key)
            if name == "algorithm" and key in _FROM_ROW:
                current = (recipe.get(name) or {}).get(key)  # else the named row decides
            found.append(Knob(f"{name}.{key}", inner, current))
    return found


def draw(knob: Knob, prefix: str, row: dict[str, Any]) -> Any:
    """The knob's widget over its description; returns its value.

    `row`: what the named algorithm says.
    """
    with st.container(gap="xxsmall"):
        value = _draw_widget(knob, prefix, row)
        st.caption(knob.field.description or "")
    return value


def _draw_widget(knob: Knob, prefix: str, row: dict[str, Any]) -> Any:
    key = f"{prefix}/{knob.key}"
    shared: dict[str, Any] = {"key": key, "help": knob.help(), "persist_state": "session"}
    if knob.choices:
        return _draw_choice(knob, row, shared)
    if knob.kind is int:
        low, high = knob.bound("ge", "gt"), knob.bound("le", "lt")
        return st.number_input(
            knob.label, min_value=low, max_value=high, value=knob.value, step=1, **shared
        )
    if knob.kind is float:
        return _draw_float(knob, shared)
    text = st.text_input(knob.label, value=knob.value or "", **shared)
    return None if knob.is_optional and not text.strip() else text


def _draw_choice(knob: Knob, row: dict[str, Any], shared: dict[str, Any]) -> Any:
    name = knob.key.rpartition(".")[2]
    if not knob.is_optional:
        return st.selectbox(
            knob.label, knob.choices, index=knob.choices.index(knob.value), **shared
        )
    options = [None, *knob.choices]
    return st.selectbox(
        knob.label,
        options,
        index=options.index(knob.value),
        format_func=lambda value: f"{row.get(name)} (as the row says)" if value is None else value,
        **shared,
    )


def _draw_float(knob: Knob, shared: dict[str, Any]) -> float | None:
    low, high = knob.bound("ge", "gt"), knob.bound("le", "lt")
    return st.number_input(
        knob.label,
        min_value=None if low is None else float(low),
        max_value=None if high is None else float(high),
        value=float(knob.value),
        step=_stride(knob.value),
        format="%g",
        **shared,
    )


def _stride(value: float) -> float:
    """A tenth of the value's own size, so that the buttons change it sensibly."""
    return float(f"{abs(value) / 10:.0e}") if value else 0.01


def changes(values: list[tuple[Knob, Any]]) -> list[str]:
    """`key=value` for everything that differs from the recipe, as `--set` takes it."""
    return [
        f"{knob.key}={to_word(value)}"
        for knob, value in values
        if value is not None or knob.is_optional
        if value != knob.value
    ]


def to_word(value: Any) -> str:
    """A value as YAML on one line, which is what `--set` reads."""
    if isinstance(value, str) and len(value.splitlines()) > 1:
        return json.dumps(value)  # JSON is YAML, and escapes line breaks
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()


def _kinds(field: FieldInfo) -> list[Any]:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for kind in get_args(annotation) if kind is not type(None)]
    return [annotation]


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal
