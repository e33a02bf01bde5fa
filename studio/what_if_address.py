"""What is chosen under What if, as an address has it, so that a link opens that too. The component
writes the address; a text of the Reward lab is in no address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import streamlit as st

from grpo_core.algorithm_config import Advantage
from grpo_core.algorithms import ALGORITHMS
from studio import what_if_page
from studio.what_if_page import (
    AS_IT_WAS,
    AS_STORED,
    ASKED,
    ESTIMATOR,
    OF_THE_ROW,
    OPEN,
    REWARD,
    ROW,
    THE_LABS,
    USED,
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
    known = {
        "if_algorithm": tuple(ALGORITHMS),
        "if_advantage": get_args(Advantage),
        "if_reward": what_if_page.rewards_to_choose(),
    }
    for name, (key, _) in _CHOICES.items():
        if values.get(name) in known[name]:
            st.session_state[f"{key}_kept"] = values[name]
    size, weights = values.get("if_size", ""), _weights(values.get("if_weights", ""))
    asked: dict[str, Any] = {"weights": weights} if weights else {}
    if size.isdecimal() and len(size) < 6:
        asked["size"] = int(size)
    forget()
    st.session_state[ASKED] = asked


def forget() -> None:
    """Another run: what was asked about the one before counts no more."""
    st.session_state.pop(ASKED, None)
    st.session_state.pop(USED, None)


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
    """What an address says of the choices as they were drawn, or are about to be."""
    state = st.session_state
    said = {name: "1" for name, key in _PARTS.items() if state.get(key)}
    if "what_if" not in said:
        return said
    for name, (key, default) in _CHOICES.items():
        choice = state.get(key, state.get(f"{key}_kept", default))
        if choice not in (default, THE_LABS):
            said[name] = choice
    chosen = state.get(USED) or state.get(ASKED) or {}
    if "size" in chosen:
        said["if_size"] = str(chosen["size"])
    if "weights" in chosen:
        said["if_weights"] = ",".join(f"{name}:{one!r}" for name, one in chosen["weights"].items())
    return said
