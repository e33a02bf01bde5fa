"""Pieces that several pages use. Text of users, models and trainers only goes through widgets that
show text: never Markdown, never HTML (an image in Markdown would make the browser call its host).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import streamlit as st

from grpo_core.runs import Command, Run
from grpo_core.sandbox_probe import Protection, Tier, probe
from studio import data, inspected

RUNS_PAGE = "app_pages/runs.py"
NEW_RUN_PAGE = "app_pages/new_run.py"
LIVE_PAGE = "app_pages/live.py"
INSPECTOR_PAGE = "app_pages/inspector.py"
LAB_PAGE = "app_pages/reward_lab.py"
COMPARE_PAGE = "app_pages/compare.py"
EVALUATE_PAGE = "app_pages/evaluate.py"
THEORY_PAGE = "app_pages/theory.py"

MAX_TEXT = 20_000
"""Characters of one text on a page."""
CHOSEN = "runs_chosen"
"""Session key: somebody chose the runs to compare."""
PROBLEM = "problem"
"""Session key: what went wrong with the last click, one sentence."""


LOOKS: dict[Tier, tuple[str, Literal["green", "orange", "red"]]] = {
    "isolated": (":material/lock:", "green"),
    "limited": (":material/lock_open:", "orange"),
    "off": (":material/block:", "red"),
}
"""Icon and colour of a sandbox's tier."""


CAVEAT = (
    "This is access control by the system's kernel, not a virtual machine: a bug of the kernel or "
    "a hardware side channel can defeat it. Reward code can always lie about its own rewards."
)


def cut(text: str) -> str:
    """The text, or its beginning where it is longer than a person reads and a browser likes; half
    characters, which no browser takes, are replaced."""
    text = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
    more = len(text) - MAX_TEXT
    return text if more <= 0 else f"{text[:MAX_TEXT]}\n… {more:,} more characters"


# A widget that is not drawn, on another page or beside another choice, loses its value.


def recall(defaults: dict[str, Any]) -> None:
    """Before these widgets are drawn: what they held when they were drawn last."""
    for key, value in defaults.items():
        st.session_state.setdefault(key, st.session_state.get(f"{key}_kept", value))


def remember(keys: Iterable[str]) -> None:
    """After they are drawn: what they hold."""
    for key in keys:
        st.session_state[f"{key}_kept"] = st.session_state[key]


def short(name: str, most: int = 18) -> str:
    """A name that fits on a label, its middle left out where it is long."""
    half = most // 2
    return name if len(name) <= most else f"{name[:half]}…{name[1 - half :]}"


def label(name: str) -> str:
    """A name of somebody else's as the label of a field, which is Markdown."""
    return re.sub(r"([^\w\s])", r"\\\1", cut(short(name)))


def problem(message: str, title: str = "That did not work") -> None:
    """A sentence about what is wrong and what to do, shown as plain text."""
    with st.container(border=True):
        st.badge(title, icon=":material/error:", color="red")
        st.text(message)


def show_problem() -> None:
    """What went wrong with the last click, once."""
    message = st.session_state.pop(PROBLEM, None)
    if message:
        problem(message)


def pick_run(evaluations: Sequence[str] = ()) -> Run | None:
    """The run selector that the pages share; its choice stands in the address (`?run=…`). The
    Inspector offers `evaluations` too; other pages show the run from before in their place."""
    runs = data.run_names()
    names = [*runs, *(name for name in evaluations if name not in runs)]
    if not names:
        nothing_yet("There is no run to show yet.")
        return None
    wanted = _from_address("run") or inspected.chosen(bool(evaluations))
    st.session_state["run"] = wanted if wanted in names else names[0]
    name = st.selectbox(
        "Run",
        names,
        key="run",
        format_func=lambda name: name if name in runs else f"{name} (evaluation)",
        persist_state="session",
        width=320,
        label_visibility="collapsed",
    )
    if wanted and wanted not in names:
        st.caption(inspected.absent(wanted, label(wanted)))
    inspected.keep(name, bool(evaluations))
    _to_address("run", name)
    return data.get_stored(name)


def pick_runs(default: Callable[[], list[str]]) -> list[str]:
    """The runs to compare; a choice of one's own stands in the address (`?runs=a,b`)."""
    names = data.run_names()
    wanted = _from_address("runs")
    if wanted is not None:
        st.session_state["runs"], st.session_state[CHOSEN] = wanted.split(","), True
    if not st.session_state.get(CHOSEN):
        st.session_state["runs"] = default()  # again each time: a new run joins its like
    st.session_state["runs"] = [name for name in st.session_state["runs"] if name in names]
    chosen = st.multiselect(
        "Runs",
        names,
        key="runs",
        on_change=lambda: st.session_state.update({CHOSEN: True}),
        persist_state="session",
        placeholder="Choose the runs to compare",
    )
    if st.session_state.get(CHOSEN):
        _to_address("runs", ",".join(chosen))
    return chosen


MAX_OTHERS = 7
"""Runs drawn over another one: there are eight colours."""


def pick_others(run: Run) -> list[str]:
    """Runs to be drawn over this one; the choice stands in the address (`?with=a,b`)."""
    names = [name for name in data.run_names() if name != run.name]
    wanted = _from_address("with")
    chosen = wanted.split(",") if wanted is not None else st.session_state.get("with") or []
    st.session_state["with"] = [name for name in chosen if name in names][:MAX_OTHERS]
    found = st.multiselect(
        "Compare with",
        names,
        key="with",
        persist_state="session",
        max_selections=MAX_OTHERS,
        placeholder="Compare with …",
        label_visibility="collapsed",
        width=360,
        disabled=not names,
    )
    if found or "with" in st.query_params:
        _to_address("with", ",".join(found))
    return found


# Not `bind="query-params"`: with a bound widget on the page `st.switch_page` raises, whatever it is
# given, so that no button and no point of a curve could lead to another page (Streamlit 1.67).


def _from_address(name: str) -> str | None:
    """What the address says, if a link or a person changed it since we last wrote it."""
    text = st.query_params.get(name)
    return text if text != st.session_state.get(f"address_{name}") else None


def _to_address(name: str, value: object) -> None:
    st.session_state[f"address_{name}"] = str(value)
    if st.query_params.get(name) != str(value):
        st.query_params[name] = str(value)


def choice_from_address(key: str) -> None:
    """Before a selector is drawn: what a link or a person has put into the address."""
    wanted = _from_address(key)
    if wanted is not None:
        st.session_state[key] = wanted


def choice_to_address(key: str) -> None:
    """After it is drawn."""
    _to_address(key, st.session_state[key])


def _go_to(step: int) -> None:
    """Show this step (for callbacks)."""
    st.session_state["step"] = step


def pick_step(run: Run) -> int | None:
    """The step selector; its choice stands in the address (`?step=…`). None before the first."""
    bounds = data.read(run, lambda reader: reader.step_range(), None)
    if bounds is None:
        return None
    first, last = bounds
    text = _from_address("step") or ""
    is_number = text.isdecimal() and len(text) < 10
    wanted = int(text) if is_number else st.session_state.get("step") or last
    found = data.read(run, lambda reader: reader.step_at(wanted), None)
    st.session_state["step"] = first if found is None else found
    step = int(
        st.number_input(
            "Step",
            min_value=first,
            max_value=last,
            step=1,
            key="step",
            persist_state="session",
            width=150,
            label_visibility="collapsed",
            icon=":material/footprint:",
        )
    )
    st.button("Latest", on_click=_go_to, args=(last,), disabled=step == last)
    _to_address("step", step)
    return step


@st.cache_data(ttl=600, show_spinner=False)
def protection() -> Protection:
    """What the sandbox keeps out here; tried anew now and then, as a person may have changed the
    machine."""
    return probe()


def show_protection() -> None:
    """What keeps the reward code that is tried here from the rest of the machine."""
    found = protection()
    icon, color = LOOKS[found.tier]
    st.badge(found.tier.capitalize(), icon=icon, color=color, help=f"{found.sentence} {CAVEAT}")


def nothing_yet(sentence: str) -> None:
    """The empty state of a page, with the way out of it. `sentence` is a constant."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.text(sentence)
        st.page_link(NEW_RUN_PAGE, label="Start a run", icon=":material/add_circle:")
        st.space("small")


def request_id(key: str) -> str:
    """The id of the next start from this place; the same until `forget_request` is called."""
    if key not in st.session_state:
        st.session_state[key] = secrets.token_hex(16)
    return str(st.session_state[key])


def forget_request(key: str) -> None:
    """The next start is a new one."""
    st.session_state.pop(key, None)


def command(name: str, kind: str) -> None:
    """Send pause, continue or stop to a run; what goes wrong is shown by `show_problem`."""
    run = data.get_run(name)
    if run is None:
        st.session_state[PROBLEM] = f"{name}: this run is gone"
    elif not run.is_live():
        st.session_state[PROBLEM] = f"{name}: is {run.status()}; there is nothing to {kind}"
    else:
        send(run, Command(kind))


def send(run: Run, wish: Command) -> bool:
    """Leave a command for the trainer; False, and a sentence, where the disk refuses."""
    try:
        run.send(wish)
    except OSError as error:
        st.session_state[PROBLEM] = f"{run.inbox}: {error.strerror}"
        return False
    return True


def open_run(page: str, name: str, step: int | None = None) -> None:
    """Go to a page of a run; for callbacks and scripts."""
    # Not as query parameters: the selectors write those when they are drawn.
    inspected.leave()
    st.session_state["run"] = name
    if step is not None:
        st.session_state["step"] = step
    st.switch_page(page)
