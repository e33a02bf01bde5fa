"""What the address says of the Theory page, so that a link shows exactly what its sender saw:
`?topic=…&card=…&knobs=size:8,p:0.1&seed=3`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import streamlit as st

from studio.theory.knobs import Knobs

NAMES = ("topic", "card", "knobs", "seed")
MAX_SEED = 9999
"""Four digits."""
_WRITTEN = "theory_address"


def arrived() -> dict[str, str]:
    """What a link or a person has put there since it was written last, empty if nobody has."""
    now = _now()
    return now if now and now != st.session_state.get(_WRITTEN) else {}


def write(**values: str) -> None:
    """Put these there and take the others of ours away, in one go: each change of the address is a
    step of the browser's Back."""
    others = {name: st.query_params[name] for name in st.query_params if name not in NAMES}
    wanted = {name: value for name in NAMES if (value := values.get(name, ""))}
    if _now() != wanted:
        st.query_params.from_dict({**others, **wanted})
    st.session_state[_WRITTEN] = wanted


def _now() -> dict[str, str]:
    return {name: st.query_params[name] for name in NAMES if name in st.query_params}


def text_of(knobs: Knobs) -> str:
    """What differs from the defaults: `size:8,p:0.1`."""
    values = {each.name: (getattr(knobs, each.name), each.default) for each in fields(knobs)}
    return ",".join(f"{name}:{value}" for name, (value, usual) in values.items() if value != usual)


def knobs_of(kind: type[Knobs], text: str) -> Knobs | None:
    """The settings that a text says; None where it says anything that there is not."""
    types = {each.name: type(each.default) for each in fields(kind)}
    given: dict[str, Any] = {}
    try:
        for part in filter(None, text.split(",")):
            name, _, value = part.partition(":")
            given[name] = _read(types[name], value)
        return kind(**given)
    except (KeyError, ValueError):
        return None


def _read(kind: type, text: str) -> Any:
    if kind is bool:
        return {"True": True, "False": False}[text]
    return kind(text)


def seed_of(text: str) -> int:
    """The seed that a text says, 0 where it says none."""
    return int(text) if len(text) <= 4 and text.isdecimal() else 0
