"""The page's own components: their scripts, and one Python function for each.

Streamlit looks for a packaged component's files in a package named like the distribution, which
does not exist here. So each component's script is one line that imports the built file from our own
route: it works from a checkout, an editable install and a wheel alike, a browser loads the file
once, and it passes the guard. The sources are in `src/`, `npm ci && npm run build` makes `built/`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

BUILT = Path(__file__).parent / "built"
NAMES = ("bars", "compare", "editor", "inspector", "live", "pairs", "runs", "shares", "versus")


@cache
def asset(file: str) -> bytes | None:
    """The content of a built script, None for any other name."""
    if file not in [f"{name}.js" for name in NAMES]:
        return None
    return (BUILT / file).read_bytes()


def _loader(name: str) -> str:
    content = asset(f"{name}.js") or b""
    version = hashlib.sha256(content).hexdigest()[:12]
    # Streamlit takes a text with a line break for a script, any other for a path.
    return (
        f"const url = window.location.origin + '/api/assets/{name}.js?v={version}';\n"
        "export default async (component) => (await import(url)).default(component);\n"
    )


@cache
def _component(name: str) -> Callable[..., Any]:
    return st.components.v2.component(f"grpo_studio_{name}", js=_loader(name))


def _nothing() -> None:
    """A component's value is only there when a callback is named."""


def runs(*, key: str, on_action: Callable[[], None]) -> None:
    """The table of runs. `on_action`: `st.session_state[key].action` is `{kind, run}`."""
    _component("runs")(key=key, data={"url": "/api/runs"}, on_action_change=on_action)


def live(
    *,
    key: str,
    run: str,
    others: list[str],
    charts: list[dict[str, Any]],
    tiles: list[dict[str, str]],
    explanations: dict[str, dict[str, Any]],
    on_action: Callable[[], None],
) -> None:
    """The live view of a run, `others` drawn over it. `on_action`:
    `st.session_state[key].action` is `{kind, step}`.

    The page runs again when the run's status changes, and not otherwise.
    """
    data = {
        "run": run,
        "others": others,
        "charts": charts,
        "tiles": tiles,
        "explanations": explanations,
    }
    _component("live")(key=key, data=data, on_action_change=on_action, on_status_change=_nothing)


def inspector(
    *, key: str, run: str, algorithms: list[str], goto: dict[str, Any], below: dict[str, str]
) -> None:
    """The groups of a run. `goto`: `{id, view}`, opened when its id changes; `below`: what the
    address says of the parts under the component. `st.session_state[key].view` says where one is:
    `{run, group, step, prompt, completion, …}`, as an address has it."""
    data: dict[str, Any] = {"run": run, "url": f"/api/runs/{run}", "algorithms": algorithms}
    data |= {"goto": goto, "below": below}
    _component("inspector")(key=key, data=data, on_view_change=_nothing)


def versus(*, key: str, view: dict[str, Any]) -> None:
    """Advantages side by side; `view` as `what_if_page.show` makes it."""
    _component("versus")(key=key, data=view)


def compare(*, key: str, view: dict[str, Any]) -> None:
    """Groups of runs side by side; `view` as `compare_view.view` makes it."""
    _component("compare")(key=key, data=view)


def shares(*, key: str, sections: list[dict[str, Any]], on_action: Callable[[], None]) -> None:
    """Shares with their intervals; `sections` as `evaluation_view` makes them. `on_action`:
    `st.session_state[key].action` is `{kind, id}`."""
    _component("shares")(key=key, data={"sections": sections}, on_action_change=on_action)


def pairs(*, key: str, view: dict[str, Any]) -> None:
    """Two evaluations problem by problem; `view` as `evaluation_view.pairs` makes it."""
    _component("pairs")(key=key, data=view)


def bars(*, key: str, view: dict[str, Any]) -> None:
    """How often each value came up; `view` as `lab_numbers.histogram` makes it, with a title."""
    _component("bars")(key=key, data=view)


def draft(key: str, code: str, revision: int) -> str:
    """The text in the editor, before it is drawn: what was typed since, else `code`."""
    typed = (st.session_state.get(key) or {}).get("draft") or {}
    return str(typed["text"]) if typed.get("revision") == revision else code


def restored(key: str, revision: int) -> dict[str, Any] | None:
    """What the browser kept beside a draft that it brought back after a reload; once."""
    typed = (st.session_state.get(key) or {}).get("draft") or {}
    kept = typed.get("kept")
    if typed.get("revision") != revision or not isinstance(kept, dict):
        return None
    done = f"{key}_restored"
    if st.session_state.get(done) == revision:
        return None
    st.session_state[done] = revision
    return kept


def editor(
    *,
    key: str,
    code: str,
    revision: int,
    problems: list[dict[str, Any]],
    words: list[dict[str, str]],
    kept: dict[str, Any],
    on_run: Callable[[], None],
    on_save: Callable[[], None],
    height: int = 320,
) -> None:
    """A Python editor; `draft` reads it. `code` replaces the text only when `revision` changes.

    `problems`: `{line, message, severity}` each, shown at the line. `words`: completions.
    `kept` comes back from `restored` when the page was reloaded amid a draft; its `session` tells
    one session from the next. `on_run` is called on Ctrl-Enter, `on_save` on Ctrl-S.
    """
    _component("editor")(
        key=key,
        data={
            "code": code,
            "revision": revision,
            "problems": problems,
            "words": words,
            "kept": kept,
            "height": height,
        },
        default={"draft": None},
        on_draft_change=_nothing,
        on_run_change=on_run,
        on_save_change=on_save,
    )
