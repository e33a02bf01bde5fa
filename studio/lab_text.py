"""What stands in the Reward lab's editor: where it came from, with which weights, as which file.

Loading another text never loses one that was worked on: it is kept, and can be brought back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from grpo_core import rewards
from grpo_core.assets import assets_dir
from grpo_core.runs import Run
from studio import components, data, lab, own_rewards, widgets

EDITOR, FORMAT, CHOICE, ADD, FILE_NAME = (
    "lab_editor", "lab_format", "lab_source", "lab_add", "lab_file",
)  # fmt: skip
WEIGHT = "lab_weight_"
"""Keys of widgets; the last one begins those of the weights."""
FIELDS = {FORMAT: "text", FILE_NAME: "", ADD: False}
"""What the fields around the editor hold at first."""
TEXT, LOADED, LOADED_FOR = "lab_text", "lab_loaded", "lab_loaded_for"
WEIGHTS, REVISION, FILE_DIGEST = "lab_weights", "lab_revision", "lab_file_digest"
ORIGINS, WARNING = "lab_origins", "lab_warning"
BEFORE, SESSION, SAVING, SAVED = "lab_before", "lab_session", "lab_saving", "lab_saved"
THE_RUNS, THE_LAST = "the run's reward", "the text from before"


@dataclass
class Draft:
    """A text with all that belongs to it."""

    text: str
    weights: dict[str, float] = field(default_factory=dict)
    completion_format: str = "text"
    file_name: str = ""
    """Of one's own, without its ending; empty where it is none."""
    file_digest: str | None = None
    """Of what that file held when it was opened or saved last."""
    origins: tuple[str, ...] = ()
    """Runs that it came from, if only in part."""
    warning: str = ""
    """Why it is not the reward that it stands for."""


def of_functions(functions: list[rewards.RewardFunction], origin: str) -> Draft:
    """Reward functions of a run as a draft."""
    warning = lab.why_not_one_text(functions)
    return Draft(*lab.as_text(functions), origins=(origin,), warning=warning)


def of_run(run: Run) -> Draft:
    """The reward that is in force in a run, an example where there is none."""
    functions = lab.current_functions(run)
    return of_functions(functions, run.name) if functions else Draft(lab.EXAMPLE)


def _take_in() -> None:
    """What was typed since the script ran last: callbacks come before it does."""
    if REVISION in st.session_state:
        known, revision = st.session_state.get(TEXT, ""), st.session_state[REVISION]
        st.session_state[TEXT] = components.draft(EDITOR, known, revision)


def current() -> Draft:
    """What stands in the editor now."""
    _take_in()
    state = st.session_state
    given = {
        str(key).removeprefix(WEIGHT): state[key] for key in state if str(key).startswith(WEIGHT)
    }
    return Draft(
        state.get(TEXT, ""), state.get(WEIGHTS, {}) | given, state.get(FORMAT) or "text",
        state.get(FILE_NAME, ""), state.get(FILE_DIGEST), tuple(state.get(ORIGINS, ())),
    )  # fmt: skip


def is_worked_on() -> bool:
    """Whether loading something else would replace what somebody has typed."""
    _take_in()
    return bool(st.session_state.get(TEXT) != st.session_state.get(LOADED))


def put(draft: Draft) -> None:
    """Let another text stand in the editor; one that was worked on can be brought back."""
    if is_worked_on():
        st.session_state[BEFORE] = current()
    st.session_state[TEXT] = st.session_state[LOADED] = draft.text
    st.session_state[REVISION] = st.session_state.get(REVISION, 0) + 1
    st.session_state[WARNING] = draft.warning
    _set_around(draft)


def _set_around(draft: Draft) -> None:
    st.session_state[WEIGHTS], st.session_state[FORMAT] = draft.weights, draft.completion_format
    st.session_state[FILE_NAME] = draft.file_name
    st.session_state[FILE_DIGEST] = draft.file_digest
    st.session_state[ORIGINS] = draft.origins
    for key in [key for key in st.session_state if str(key).startswith(WEIGHT)]:
        del st.session_state[key]


def begin(run: Run) -> None:
    """On each visit: show the reward of a run that is shown for the first time, unless somebody
    has worked on the text."""
    widgets.recall(FIELDS)
    st.session_state.setdefault(SESSION, secrets.token_hex(8))
    if st.session_state.get(LOADED_FOR) != run.name:
        if not is_worked_on():
            put(of_run(run))
        st.session_state[LOADED_FOR] = run.name


# --- choosing ------------------------------------------------------------------------------------


def choices() -> list[str]:
    """What can be loaded."""
    last = [THE_LAST] if BEFORE in st.session_state else []
    return [THE_RUNS, *last, *own_rewards.names(), *rewards.builtin_names()]


def load_choice() -> None:
    """The choice under `Start from` was made; the box empties, so that it can be made again."""
    choice, st.session_state[CHOICE] = str(st.session_state[CHOICE] or ""), None
    run = data.get_run(st.session_state.get("run"))
    try:
        draft = _chosen(choice, run)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
        return
    if draft is not None and st.session_state.get(ADD):
        draft = _beside(current(), draft)
    if draft is not None:
        put(draft)


def _chosen(choice: str, run: Run | None) -> Draft | None:
    if choice == THE_RUNS and run is not None:
        return of_run(run)
    if choice == THE_LAST:
        return st.session_state.get(BEFORE)
    if choice in rewards.builtin_names():
        path = assets_dir() / "rewards" / f"{choice}.py"
        return Draft(path.read_text(encoding="utf-8"))
    if choice.endswith(".py"):
        text = own_rewards.read(choice)
        return Draft(
            text, file_name=choice.removesuffix(".py"), file_digest=own_rewards.digest(text)
        )
    return None


def _beside(now: Draft, more: Draft) -> Draft:
    """Both texts, one below the other, as a text that is in no file."""
    text = f"{now.text.rstrip()}\n\n\n{more.text.lstrip()}" if now.text.strip() else more.text
    origins = tuple(dict.fromkeys([*now.origins, *more.origins]))
    return Draft(text, now.weights | more.weights, now.completion_format, origins=origins)


def put_version(run: Run, functions: list[rewards.RewardFunction]) -> None:
    """Let a version of the run stand in the editor."""
    put(of_functions(functions, run.name))


def warning() -> str:
    """Why what stands in the editor is not the reward that it was loaded for, while it is that."""
    _take_in()
    loaded = st.session_state.get(TEXT) == st.session_state.get(LOADED)
    return str(st.session_state.get(WARNING, "")) if loaded else ""


# --- what survives a reload ----------------------------------------------------------------------


def context() -> dict[str, Any]:
    """What the browser keeps beside a draft, for a session that does not know it."""
    now = current()
    return {
        "session": st.session_state[SESSION],
        "weights": now.weights,
        "completion_format": now.completion_format,
        "file_name": now.file_name,
        "file_digest": now.file_digest,
        "origins": list(now.origins),
    }


def take_back(kept: dict[str, Any]) -> None:
    """Set what belongs to a draft that the browser has kept over a reload of the page."""
    weights = kept.get("weights")
    numbers = weights.items() if isinstance(weights, dict) else ()
    origins = kept.get("origins")
    form, name, digest = (
        kept.get(key) for key in ("completion_format", "file_name", "file_digest")
    )
    _set_around(
        Draft(
            "",
            {str(key): float(one) for key, one in numbers if isinstance(one, int | float)},
            "messages" if form == "messages" else "text",
            name if isinstance(name, str) else "",
            digest if isinstance(digest, str) else None,
            tuple(map(str, origins)) if isinstance(origins, list) else (),
        )
    )


# --- keeping -------------------------------------------------------------------------------------


def ask_to_save() -> None:
    """The text is known when the script has run."""
    st.session_state[SAVING] = True


def save() -> None:
    """Keep the text as a file of one's own."""
    now = current()
    try:
        name = own_rewards.save(now.file_name, now.text, now.file_digest)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
        return
    st.session_state[FILE_DIGEST] = own_rewards.digest(now.text)
    st.session_state[LOADED] = now.text
    st.session_state[SAVED] = str(own_rewards.folder() / name)
