"""The Algorithm tab: a named row, what it decides, and only the knobs that mean something beside
what is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import streamlit as st

from grpo_core.algorithm_config import CriticConfig
from grpo_core.algorithms import ALGORITHMS
from grpo_core.compatibility import APPLIES
from grpo_core.config import RunConfig, needs_critic
from studio import forms

NAME = "algorithm.name"
GROUPS: dict[str, tuple[str, ...]] = {
    "Advantage": (
        "advantage",
        "multi_objective_aggregation",
        "attention_temperature",
        "attention_min_samples",
    ),
    "Ratio and clip": (
        "ratio_level",
        "clipping",
        "clip_low",
        "clip_high",
        "sapo_positive",
        "sapo_negative",
    ),
    "KL": (
        "kl_coefficient",
        "kl_estimator",
        "kl_place",
        "kl_reference",
        "reference_sync_every",
        "reference_decay",
    ),
    "Aggregation and exploration": ("aggregation", "entropy_coefficient"),
    "Sampling and truncation": (
        "resample_rounds",
        "truncated",
        "overlong_penalty",
        "overlong_buffer",
    ),
}
"""The knobs of `algorithm` in the order of the formula; what is not here is rarely needed."""
CRITIC = "Critic"
RARE = "Rarely needed"


def groups_of(knobs: Iterable[forms.Knob]) -> dict[str, list[forms.Knob]]:
    """The knobs under their headings; the name of the row stands above all."""
    headings = {f"algorithm.{key}": title for title, keys in GROUPS.items() for key in keys}
    found: dict[str, list[forms.Knob]] = {title: [] for title in (*GROUPS, CRITIC, RARE)}
    for knob in knobs:
        if knob.key.startswith("critic."):
            found[CRITIC].append(knob)
        elif knob.key != NAME:
            found[headings.get(knob.key, RARE)].append(knob)
    return {title: members for title, members in found.items() if members}


def settings(name: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """What `algorithm` comes to: the row, and over it what is chosen (None leaves it to the row).

    Keys are those of the recipe: `clipping`, not `algorithm.clipping`.
    """
    given = {key: value for key, value in chosen.items() if value is not None}
    return {**ALGORITHMS[name].settings, **given}


def applies(key: str, algorithm: dict[str, Any], critic_model: str) -> bool:
    """Whether a knob (dotted path) means something beside `algorithm`, as `settings` makes it."""
    section, _, knob = key.partition(".")
    if section == "critic":
        return needs_critic(algorithm) and (knob != "value_coefficient" or critic_model == "shared")
    return knob not in APPLIES or APPLIES[knob][0](algorithm)


def draw(config: RunConfig, recipe: dict[str, Any], prefix: str) -> list[str]:
    """Draw the tab; returns what differs from the recipe."""
    knobs = forms.knobs(config, recipe, "Algorithm")
    now = {knob.key: st.session_state.get(f"{prefix}/{knob.key}", knob.value) for knob in knobs}
    name = now[NAME] = _draw_name(knobs[0], prefix)
    values: list[tuple[forms.Knob, Any]] = [(knobs[0], name)]
    chosen = {k.key.partition(".")[2]: now[k.key] for k in knobs if k.key.startswith("algorithm.")}
    algorithm = settings(name, chosen)
    open_values = {f"algorithm.{key}": v for key, v in ALGORITHMS[name].settings.items()}
    open_values["critic.value_coefficient"] = CriticConfig().value_coefficient
    shown = [k for k in knobs if applies(k.key, algorithm, str(now["critic.model"]))]
    for title, members in groups_of(shown).items():
        values += _draw_group(title, members, prefix, open_values)
    # A hidden knob says nothing; what the recipe says of it would be refused beside these choices.
    values += [(knob, None) for knob in knobs if knob not in shown and knob.is_left_open]
    return _changes(values, recipe, needs_critic(algorithm))


def _draw_name(knob: forms.Knob, prefix: str) -> str:
    assert knob.key == NAME
    with st.container(gap="xxsmall"):
        name = st.selectbox(
            knob.label,
            knob.choices,
            index=knob.choices.index(knob.value),
            key=f"{prefix}/{knob.key}",
            help=knob.help(),
            persist_state="session",
        )
        st.caption(ALGORITHMS[name].about)
        st.caption(knob.field.description or "")
    return str(name)


def _draw_group(
    title: str, knobs: list[forms.Knob], prefix: str, open_values: dict[str, Any]
) -> list[tuple[forms.Knob, Any]]:
    place = st.expander(title) if title == RARE else st.container(border=True, gap="small")
    with place:
        if title != RARE:
            st.caption(f"**{title}**")
        with st.grid(2, min_column_width=220, gap=("medium", "medium")):
            return [
                (knob, forms.draw(knob, prefix, open_values.get(knob.key), _whose(knob)))
                for knob in knobs
            ]


def _whose(knob: forms.Knob) -> str:
    return "(as the row says)" if knob.key.startswith("algorithm.") else ""


def _changes(
    values: list[tuple[forms.Knob, Any]], recipe: dict[str, Any], has_critic: bool
) -> list[str]:
    found = forms.changes(values)
    critic = [word for word in found if word.startswith("critic.")]
    rest = [word for word in found if word not in critic]
    if not has_critic:
        return [*rest, "critic=null"] if recipe.get("critic") is not None else rest
    if critic and "critic" in recipe and recipe["critic"] is None:
        return [*rest, "critic={}", *critic]  # there is no section yet to change
    return [*rest, *critic]
