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

from grpo_core.algorithm_config import CriticConfig
from grpo_core.algorithms import BASE
from grpo_core.config import RunConfig, Section
from grpo_core.data_config import own_settings
from grpo_core.recipe import section_of

SECTIONS: dict[str, tuple[str, ...]] = {
    "Basics": ("num_steps", "seed", "model"),
    "Data": ("data",),
    "Rollout": ("rollout",),
    "Algorithm": ("algorithm", "critic"),
    "Optimizer": ("optim",),
    "Evaluation": ("evaluation", "checkpoint"),
    "Limits": ("sandbox", "store"),
}
"""Tabs of the form; `rewards` is a list and has its own."""
_OF_THE_TASK = ("data.question_column", "data.answer_column", "data.prompt_template")
_LEFT_OPEN = (
    *(f"algorithm.{key}" for key in BASE),
    "critic.value_coefficient",
    *_OF_THE_TASK,
)
"""Knobs that something else fills in where the recipe leaves them open."""
_LONG = ("data.prompt_template", "data.system_prompt")
"""Text of several lines."""
MARKED = "new_knob"
"""Session key: the knob that a link led to; its place is marked."""
_SPELLED = {"kl": "KL", "sapo": "SAPO", "gae": "GAE", "lora": "LoRA"}


@dataclass(frozen=True)
class Knob:
    """One setting of the recipe."""

    key: str
    """Dotted path, as on the command line."""
    field: FieldInfo
    value: Any
    """What the recipe says; None where it leaves the choice to something else."""
    opens: FieldInfo | None = None
    """The optional section around it, where that is there only while this knob has a value."""

    @property
    def section(self) -> str:
        """`model.lora` of `model.lora.rank`."""
        return self.key.rpartition(".")[0]

    @property
    def label(self) -> str:
        """`optim.learning_rate` → `Learning rate`, `model.lora.rank` → `LoRA rank`."""
        _, *inside = self.key.split(".")
        name = " ".join(inside or [self.key]).replace("_", " ")
        name = f"number of {name[4:]}" if name.startswith("num ") else name
        name = {"model.path": "model", "algorithm.name": "algorithm"}.get(self.key, name)
        first, _, rest = name.partition(" ")
        return f"{_SPELLED.get(first, first.capitalize())} {rest}".strip()

    @property
    def about(self) -> str:
        """What it is, after what the section is that it opens."""
        fields = (self.opens, self.field)
        return " ".join(field.description for field in fields if field and field.description)

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
        inner = get_args(self.field.annotation)
        return self.opens is not None or type(None) in inner or self.key in _OF_THE_TASK

    @property
    def is_left_open(self) -> bool:
        """Whether the recipe need not say it: empty then means the value of something else."""
        return self.key in _LEFT_OPEN

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


def tab_of(key: str) -> str | None:
    """The tab with a knob; None where there is no such knob."""
    section, _, name = key.partition(".")
    if section == "rewards" and not name:
        return "Rewards"
    tab = next((tab for tab, sections in SECTIONS.items() if section in sections), None)
    inner = section_of(RunConfig.model_fields[section]) if tab else None
    first = name.partition(".")[0]
    is_there = first in inner.model_fields if inner is not None else not name
    return tab if is_there else None


def knobs(config: RunConfig, recipe: dict[str, Any], tab: str) -> list[Knob]:
    """The knobs of one tab, with the values of `config` (parsed from `recipe`)."""
    found = []
    for name in SECTIONS[tab]:
        field, value = RunConfig.model_fields[name], getattr(config, name)
        if name == "critic":
            value = value or CriticConfig()  # what a choice that needs one would begin with
        if not isinstance(value, Section):
            found.append(Knob(name, field, value))
            continue
        for key, inner in type(value).model_fields.items():
            current = getattr(value, key)
            if optional := section_of(inner):
                found += _inside(f"{name}.{key}", inner, optional, current)
                continue
            if f"{name}.{key}" in _LEFT_OPEN:
                current = _stated(recipe.get(name) or {}, key)
            found.append(Knob(f"{name}.{key}", inner, current))
    return found


def _stated(section: dict[str, Any], key: str) -> Any:
    """What the recipe says itself; what only spells out its task's own is the task's to say."""
    own = own_settings(str(section.get("task")))
    return None if key in own and section.get(key) == own[key] else section.get(key)


def _inside(key: str, field: FieldInfo, section: type[Section], value: Any) -> list[Knob]:
    """The knobs of an optional section inside another. Its first knob opens it; the others begin
    with their defaults where it is closed."""
    found: list[Knob] = []
    for name, inner in section.model_fields.items():
        first = not found
        closed = None if first else inner.default
        current = closed if value is None else getattr(value, name)
        found.append(Knob(f"{key}.{name}", inner, current, field if first else None))
    return found


def draw_all(found: list[Knob], prefix: str) -> list[tuple[Knob, Any]]:
    """Draw knobs in their order; returns those that are shown, with their values.

    A knob of a section that is closed leaves its place empty, so that opening it moves nothing.
    """
    values: list[tuple[Knob, Any]] = []
    closed: set[str] = set()
    for knob in found:
        if knob.section in closed:
            st.empty()
            continue
        values.append((knob, draw(knob, prefix)))
        if knob.opens is not None and values[-1][1] is None:
            closed.add(knob.section)
    return values


def draw(
    knob: Knob,
    prefix: str,
    open_value: Any = None,
    whose: str = "",
    options: tuple[str, ...] | None = None,
) -> Any:
    """The knob's widget over its description; returns its value.

    `open_value`: what the knob comes to where it is left open, and `whose` word that is.
    `options`: texts to choose from, beside any that is typed.
    """
    with st.container(gap="xxsmall", border=st.session_state.get(MARKED) == knob.key):
        if options is None:
            value = _draw_widget(knob, f"{prefix}/{knob.key}", open_value, whose)
        else:
            value = _draw_options(knob, f"{prefix}/{knob.key}", f"{open_value} {whose}", options)
        st.caption(knob.about)
    return value


def _draw_widget(knob: Knob, key: str, open_value: Any, whose: str) -> Any:
    value = knob.value
    shared: dict[str, Any] = {"key": key, "help": knob.help(), "persist_state": "session"}
    if knob.is_optional and (knob.choices or knob.kind in (int, float)):
        # Streamlit lets nobody empty a widget that has a default: give it its first value so
        st.session_state.setdefault(key, value)
        value = None
        said = f"{open_value:g}" if isinstance(open_value, int | float) else str(open_value)
        shared["placeholder"] = "none" if open_value is None else f"{said} {whose}".strip()
    if knob.choices:
        index = None if value is None else knob.choices.index(value)
        return st.selectbox(knob.label, knob.choices, index=index, **shared)
    if knob.kind is bool:
        return st.toggle(knob.label, value=value, **shared)
    if knob.kind in (int, float):
        begins = knob.value or open_value
        stride = _stride(begins if isinstance(begins, int | float) else None)
        return _draw_number(knob, value, stride, shared)
    if knob.key in _LONG:
        shared["placeholder"] = open_value
        text = st.text_area(knob.label, value=value or "", height=120, **shared)
    else:
        text = st.text_input(knob.label, value=value or "", **shared)
    return None if knob.is_optional and not text.strip() else text


def _draw_options(knob: Knob, key: str, placeholder: str, options: tuple[str, ...]) -> Any:
    st.session_state.setdefault(key, knob.value)  # as above: so that it can be emptied
    chosen = st.session_state[key]
    return st.selectbox(
        knob.label,
        list(dict.fromkeys([*options, *([chosen] if chosen else [])])),
        index=None,
        key=key,
        placeholder=placeholder,
        accept_new_options=True,
        help=knob.help(),
        persist_state="session",
    )


def _draw_number(
    knob: Knob, value: Any, stride: float, shared: dict[str, Any]
) -> int | float | None:
    bounds = knob.bound("ge", "gt"), knob.bound("le", "lt")
    if knob.kind is int:
        low, high = bounds
        return st.number_input(knob.label, low, high, value, step=1, **shared)
    # Streamlit takes no mixture of int and float
    low, high, value = (None if n is None else float(n) for n in (*bounds, value))
    return st.number_input(knob.label, low, high, value, step=stride, format="%g", **shared)


def _stride(value: float | None) -> float:
    """A tenth of the value's own size, so that the buttons change it sensibly."""
    return float(f"{abs(value) / 10:.0e}") if value else 0.01


def changes(values: list[tuple[Knob, Any]]) -> list[str]:
    """`key=value` for everything that differs from the recipe, as `--set` takes it."""
    return [
        f"{knob.section if knob.opens and value is None else knob.key}={to_word(value)}"
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
