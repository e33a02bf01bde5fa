"""The rewards that a run has had: looking at them, comparing with the editor, going back."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from grpo_core import rewards
from grpo_core.reader import RunReader
from grpo_core.runs import Run
from studio import data

Functions = list[rewards.RewardFunction]
MAX_LINES = 2000
"""Of a difference that is shown."""


@dataclass(frozen=True)
class Version:
    """Reward code that came into force in a run."""

    id: str
    step: int
    """The first step that it scored, or will."""
    names: tuple[str, ...]


def history(run: Run) -> list[Version]:
    """The newest first. One that came into force twice stands there twice."""

    def query(reader: RunReader) -> list[Version]:
        return [
            Version(
                str(event["detail"].get("version", "")),
                event["step"],
                tuple(map(str, event["detail"].get("names", []))),
            )
            for event in reader.events(kinds=["reward_version"])
        ]

    found: list[Version] = []
    for version in data.read(run, query, []):
        if not found or found[-1].id != version.id:
            found.append(version)
    return found[::-1]


def before(run: Run) -> Version | None:
    """The version that the one in force has replaced."""
    found = history(run)
    return found[1] if len(found) > 1 else None


def listing(functions: Functions) -> str:
    """All that a version is, as one text: a line for each function's weight, then the files."""
    lines = [
        f"# {one.name}: weight {one.weight:g}, gets {one.completion_format}" for one in functions
    ]
    files = dict.fromkeys(one.source.strip("\n") for one in functions)
    return "\n".join([*lines, "", "\n\n\n".join(files)])


def difference(old: str, new: str) -> str:
    """A unified diff, empty where there is none."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "before", "now", lineterm="", n=3
    )
    return "\n".join([*lines][2 : MAX_LINES + 2])


def show(
    run: Run, now: Functions, load: Callable[[Functions], None], undo: Callable[[Functions], None]
) -> None:
    """The versions of a run beside the editor's reward, `now` (empty while it is not ready)."""
    found = history(run)
    if not found:
        return
    titles = {_key(one): _title(found, index) for index, one in enumerate(found)}
    with st.expander("Versions of this run", icon=":material/history:"):
        # A newer version makes a new box, which shows it: what is in force must not go unseen.
        key = f"lab_version_{run.name}_{_key(found[0])}"
        chosen = st.selectbox("Version", [*titles], format_func=titles.__getitem__, key=key)
        version = next(one for one in found if _key(one) == chosen)
        try:
            functions = rewards.load_version(run.rewards, version.id)
        except ValueError as error:
            st.text(str(error))
            return
        _show_buttons(functions, load, undo, version == found[0] or run.status() == "completed")
        _show_code(functions, now)


def _show_buttons(
    functions: Functions,
    load: Callable[[Functions], None],
    undo: Callable[[Functions], None],
    is_over: bool,
) -> None:
    with st.container(horizontal=True):
        st.button(
            "Open in the editor",
            icon=":material/edit:",
            on_click=load,
            args=(functions,),
            key="lab_open_version",
        )
        st.button(
            "Go back to it",
            icon=":material/undo:",
            on_click=undo,
            args=(functions,),
            key="lab_undo_version",
            disabled=is_over,
            help="The run scores with this version from its next step on.",
        )


def _show_code(functions: Functions, now: Functions) -> None:
    """What differs from the editor's, else the version itself."""
    changed = difference(listing(functions), listing(now)) if now else ""
    if changed:
        st.caption("From this version to what stands in the editor")
        st.code(changed, language="diff", height=260)
    else:
        st.caption("The editor holds this very reward." if now else "The editor's is not ready.")
        st.code(listing(functions), language="python", height=260)


def _key(version: Version) -> str:
    return f"{version.step}_{version.id}"


def _title(found: list[Version], index: int) -> str:
    version = found[index]
    names = ", ".join(version.names)
    now = " (in force)" if index == 0 else ""
    return f"{len(found) - index} · from step {version.step} · {names}{now}"
