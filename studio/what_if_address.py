"""What is chosen under What if, as an address has it, so that a link opens that too. The component
writes the address; a text of the Reward lab is in no address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import streamlit as st

from grpo_core.algorithm_config import Advantage
from grpo_core.algorithms import ALGORITHMS
from studio.what_if_page import (
    AS_IT_WAS,
    AS_STORED,
    ASKED_SIZE,
    ASKED_WEIGHTS,
    ESTIMATOR,
    OF_THE_ROW,
    OPEN,
    REWARD,
    ROW,
    SIZE,
    THE_LABS,
    WEIGHT,
)

MAX_WORD, MAX_WEIGHTS = 100, 16
FIGURES = "figures_open"
_PARTS = {"what_if": OPEN, "figures": FIGURES}
_CHOICES = {
    "if_algorithm": (ROW, AS_IT_WAS),
    "if_advantage": (ESTIMATOR, OF_THE_ROW),
    "if_reward": (REWARD, AS_STORED),
}


def arrive(values: Mapping[str, str]) -> None:
    """Let the page open as an address says, as far as it can be meant."""
    for name, key in _PARTS.items():
        if values.get(name) == "1":
            st.session_state[key] = True
    known = {"if_algorithm": tuple(ALGORITHMS), "if_advantage": get_args(Advantage)}
    for name, (key, _) in _CHOICES.items():
        word = values.get(name, "")[:MAX_WORD]
        if word and word != THE_LABS and word in known.get(name, (word,)):
            st.session_state[f"{key}_kept"] = word
    if values.get("if_size", "").isdecimal():
        st.session_state[ASKED_SIZE] = int(values["if_size"][:6])
    st.session_state[ASKED_WEIGHTS] = _weights(values.get("if_weights", ""))


def _weights(text: str) -> dict[str, float]:
    """`name:0.5,other:2` as numbers; what is none is left out."""
    found = {}
    for part in text.split(",")[:MAX_WEIGHTS]:
        name, _, number = part.rpartition(":")
        try:
            found[name[:MAX_WORD]] = float(number)
        except ValueError:
            continue
    return {name: value for name, value in found.items() if abs(value) < 1e9}


def told() -> dict[str, str]:
    """What an address says of the choices as they stand."""
    state = st.session_state
    said = {name: "1" for name, key in _PARTS.items() if state.get(key)}
    if "what_if" not in said:
        return said
    for name, (key, default) in _CHOICES.items():
        choice = state.get(key, state.get(f"{key}_kept", default))
        if choice not in (default, THE_LABS):
            said[name] = choice
    sizes = [(key, value) for key, value in state.items() if str(key).startswith(f"{SIZE}_")]
    fewer = [str(value) for key, value in sizes if str(value) != str(key).rpartition("_")[2]]
    if fewer or state.get(ASKED_SIZE):
        said["if_size"] = (fewer or [str(state[ASKED_SIZE])])[0]
    changed = dict(state.get(ASKED_WEIGHTS) or {}) | _changed_weights()
    if changed:
        said["if_weights"] = ",".join(f"{name}:{value:g}" for name, value in changed.items())
    return said


def _changed_weights() -> dict[str, float]:
    """Of the fields that are drawn; their keys hold the weight that was stored."""
    found = {}
    for key, value in st.session_state.items():
        if str(key).startswith(WEIGHT):
            name, _, stored = str(key)[len(WEIGHT) :].rpartition("_")
            if float(stored) != value:
                found[name] = float(value)
    return found
