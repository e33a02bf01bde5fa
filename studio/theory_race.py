"""The full comparison of GRPO and PPO on the toy, beneath its card: all regimes and arms, tuned and
run on new seeds, in a process of its own. Its results are kept beside the runs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import streamlit as st

from studio import data, jobs, theory_verdict, widgets
from studio.theory import plots
from studio.theory.cards.race_study import draw_study, verdict_of
from studio.theory.plots import Palette
from studio.theory.race_prompts import REGIMES
from studio.theory.race_run import ARMS
from studio.theory.race_study import AXES, key_of, read_progress, read_study, worker_of
from studio.theory_markdown import ours

REFRESH_S = 2
BUSY = "race_busy"
"""Session key: whether it was at work when the whole page was drawn last."""
AHEAD = ("GRPO", "PPO", "nobody")
_processes: dict[Path, jobs.Process] = {}


def folder() -> Path:
    """Where this protocol's results are; another protocol has another folder."""
    return data.runs_dir() / ".studio" / "theory" / f"race-{key_of()}"


def is_busy() -> bool:
    """Whether a process is at it: one of this server, or one that another server began."""
    process = _processes.get(folder())
    begun = process is not None and process.poll() is None
    return begun or worker_of(folder()) is not None


def show() -> None:
    """The part beneath the card."""
    st.markdown("#### The full comparison")
    st.markdown(
        "Seven kinds of prompts, six estimators and no baseline, step sizes and critic rates tuned "
        "for each on eight seeds, then frozen and run on 24 new ones. It takes some minutes of one "
        "core in the background, and goes on where it was ended."
    )
    busy = is_busy()
    st.session_state[BUSY] = busy
    found = None if busy else _results_of(folder())
    st.fragment(_progress, run_every=REFRESH_S if busy else None)(found is not None)
    if found is not None:
        _show(found)


def _begin() -> None:
    try:
        with jobs.locked(folder()):
            if not is_busy():
                _processes[folder()] = jobs.study(folder())
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)


def _stop() -> None:
    process, other = _processes.get(folder()), worker_of(folder())
    if process is not None and process.poll() is None:
        process.terminate()
    elif other is not None:
        jobs.end(other)


def _progress(is_finished: bool) -> None:
    """How far it is, and its buttons."""
    now, busy = _now(), is_busy()
    if busy != st.session_state.get(BUSY):
        # how often this part is drawn is decided where the whole page is
        st.rerun()
    widgets.show_problem()
    process = _processes.get(folder())
    if process is not None and process.poll() not in (None, 0, -15):
        said = jobs.said(folder() / "console.txt")
        widgets.problem(widgets.cut(said or "It ended without a word."), "The comparison ended")
    if is_finished:
        return
    if now is not None:
        done, total = now
        st.progress(done / total, f"{done} of {total} parts")
    with st.container(horizontal=True):
        st.button(
            "Go on" if now else "Run it", icon=":material/play_arrow:", key="race_begin",
            on_click=_begin, disabled=busy,
        )  # fmt: skip
        if busy:
            st.button("Stop", icon=":material/stop:", key="race_stop", on_click=_stop)


def _now() -> tuple[int, int] | None:
    """Parts done and all of them; None where nothing says so."""
    now = read_progress(folder()) or {}
    done, total = now.get("done"), now.get("total")
    if isinstance(done, int) and isinstance(total, int) and 0 <= done <= total and total:
        return done, total
    return None


def _results_of(place: Path) -> dict[str, Any] | None:
    """The finished study, None where there is none that is whole. Its names are taken from here:
    the folder may come from elsewhere, and names become Markdown."""
    found = read_study(place, key_of())
    try:
        if found is None or not set(found["regimes"]) <= set(REGIMES) or not found["regimes"]:
            return None
        for regime in found["regimes"].values():
            if set(regime["arms"]) != set(ARMS):
                return None
            numbers = [arm["iterations"]["value"] for arm in regime["arms"].values()]
            for one in regime["best"].values():
                numbers += [one["value"], one["se"]]
                if one["ahead"] not in AHEAD or one["by"] not in AXES:
                    return None
            if set(regime["best"]) != set(AXES) or not all(map(_is_number, numbers)):
                return None
        is_whole = _is_number(found["seconds"]) and isinstance(found["protocol"]["seeds"], list)
        return found if is_whole else None
    except (KeyError, TypeError, AttributeError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# --- its results ---------------------------------------------------------------------------------


def _show(found: dict[str, Any]) -> None:
    palette = Palette.of(st.context.theme.type or "light")
    st.plotly_chart(draw_study(found, palette), key="race_leads", config=plots.BARE)
    theory_verdict.show(verdict_of(found))
    ours(table(found))
    num = len(found["protocol"]["seeds"])
    st.caption(
        f"Mean height of $V / V^*$ over the run ± standard error over {num} seeds; by compute "
        "PPO's critic is as large as the actor. GRPO − PPO compares the best of each side by the "
        "tuning seeds; who is ahead is said from two standard errors on. "
        f"{found['seconds']:.0f} s of processor time."
    )


def table(found: dict[str, Any]) -> str:
    """Every regime and arm by iterations, and the differences on both axes."""
    head = [
        "Prompts",
        *(arm.name for arm in ARMS.values()),
        "GRPO − PPO by iterations",
        "by compute",
    ]
    lines = [f"| {' | '.join(head)} |", "|:--" + "|--:" * (len(head) - 1) + "|"]
    for name, regime in found["regimes"].items():
        top = max(arm["iterations"]["value"] for arm in regime["arms"].values())
        cells = [_bold(regime["arms"][key]["iterations"]["value"], top) for key in ARMS]
        differences = [_difference(regime["best"][by]) for by in ("iterations", "compute")]
        lines.append(f"| {name} | {' | '.join([*cells, *differences])} |")
    return "\n".join(lines)


def _bold(value: float, top: float) -> str:
    text = f"{value:.3f}"
    return f"**{text}**" if value == top else text


def _difference(one: dict[str, Any]) -> str:
    return f"{one['value']:+.4f} ± {one['se']:.4f}: {one['ahead']}".replace("-", "−")
