"""GRPO against PPO on the bundled model: what was measured before, what was trained here, and the
series of runs that measures it again.
"""

from __future__ import annotations

import json
from functools import cache

import streamlit as st

from grpo_core.assets import assets_dir
from grpo_core.recipe import parse_config
from studio import charts, compare_view, components, data, series, widgets
from studio.compare import Recorded
from studio.run_groups import groups_of
from studio.theory_markdown import ours

REFRESH_S = 3
SHIPPED, HERE = "Measured before", "Trained here"
ARMS = {
    "GRPO and PPO with a value head": ("grpo", "ppo"),
    "GRPO and PPO with a critic of its own": ("grpo", "ppo-own"),
}
TARGET = 0.9
INTRO = """\
The picture that texts on GRPO promise and leave empty: accuracy against training for GRPO
(`deepseekmath`, as published) and PPO. Both recipes have the same model, prompts, 128 completions
a step, optimizer and evaluation; only the advantage differs. The learning rate is the best of
three for either, chosen on another seed, and PPO has $\\lambda = 1$, which was best for it. Bands
are over seeds, and the verdict counts a difference from two standard errors on.
"""


@cache
def shipped() -> tuple[str, list[Recorded]]:
    """How the runs that come with the studio were made, and their numbers."""
    found = json.loads((assets_dir() / "studies" / "pair.json").read_text(encoding="utf-8"))
    runs = [
        Recorded(
            row["name"],
            parse_config(row["config"]),
            {name: (steps, values) for name, (steps, values) in row["series"].items()},
            tuple(row["tokens"]),
            row["device"],
            tuple(row["span"]),
        )
        for row in found["runs"]
    ]
    return found["made"], runs


def show() -> None:
    """The topic."""
    ours(INTRO)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.segmented_control(
            "Runs", [SHIPPED, HERE], default=SHIPPED, required=True, key="pair_source",
            persist_state="session",
        )  # fmt: skip
        arms = st.selectbox("Pair", list(ARMS), key="pair_arms", persist_state="session", width=320)
        y = st.selectbox(
            "Curve", list(compare_view.Y_AXES), key="pair_y", persist_state="session", width=220
        )
        x = st.segmented_control(
            "Against", list(compare_view.X_AXES), default="Step", required=True, key="pair_x",
            persist_state="session",
        )  # fmt: skip
    if source == SHIPPED:
        made, runs = shipped()
        draw([run for run in runs if arm_of(run.name) in ARMS[arms]], str(x), y)
        st.caption(made)
    else:
        every = REFRESH_S if series.is_busy(data.runs_dir()) else None
        st.fragment(here, run_every=every)(arms, str(x), y)


def arm_of(name: str) -> str:
    """`ppo-own` of `pair-ppo-own-2`."""
    return name.removeprefix("pair-").rpartition("-")[0]


def draw(runs: list[Recorded], x: str, y: str) -> None:
    """Curves with bands, verdicts by iteration and by time, and the table with time and memory."""
    view = compare_view.view(groups_of(runs), x, y, TARGET)
    components.compare(key="pair", view=view)


def here(arms: str, x: str, y: str) -> None:
    """Runs of the series on this machine, and the buttons that make them."""
    folder = data.runs_dir()
    known = {one.name: one for one in series.pair(series.MOST_SEEDS, own_critic=True)}
    runs = [
        found
        for name in known
        if arm_of(name) in ARMS[arms]
        and (run := data.get_run(name)) is not None
        and (found := data.recorded(run, compare_view.METRICS)) is not None
    ]
    if runs:
        draw(runs, x, y)
    else:
        with st.container(border=True):
            st.text("None of these runs is here yet. Train them below; each takes a few minutes.")
    planned = series.plan(folder)
    busy = series.is_busy(folder)
    if busy != st.session_state.get("pair_busy", False):
        # how often this part is drawn is decided where the whole page is
        st.session_state["pair_busy"] = busy
        st.rerun()
    progress(planned)
    widgets.show_problem()
    if problem := series.problem(folder):
        widgets.problem(widgets.cut(problem), "The series ended early")
    buttons(planned, busy, "ppo-own" in ARMS[arms])


def progress(planned: list[series.Planned]) -> None:
    """Each run of the series with its steps."""
    if not planned:
        return
    rows = []
    for one in planned:
        run = data.get_run(one.name)
        now = data.now(run) if run is not None else None
        rows.append((one.name, now["status"] if now else "waiting", now))
    done = sum(status == "completed" for _, status, _ in rows)
    share = sum(_share(now) for _, _, now in rows) / len(rows)
    st.progress(share, f"{done} of {len(rows)} runs done")
    st.dataframe(
        {
            "Run": [name for name, _, _ in rows],
            "Status": [status for _, status, _ in rows],
            "Step": [f"{n['step']} of {n['num_steps']}" if n else charts.NONE for _, _, n in rows],
        },
        hide_index=True,
        height="content",
    )


def _share(now: dict | None) -> float:
    return min(1.0, now["step"] / now["num_steps"]) if now and now["num_steps"] else 0.0


def buttons(planned: list[series.Planned], busy: bool, own_critic: bool) -> None:
    """Begin, go on, stop. With `own_critic` all three arms are trained."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        num = st.number_input(
            "Seeds", 2, series.MOST_SEEDS, 3, key="pair_seeds", width=110, disabled=busy
        )
        wanted = series.pair(int(num), own_critic)
        st.button(
            f"Train {len(wanted)} runs", type="primary", icon=":material/play_arrow:",
            disabled=busy, on_click=_begin, args=(wanted,), key="pair_begin",
            help="One after another, so that their times can be compared; two or three minutes "
            "each on two cores. What is there already is not trained again.",
        )  # fmt: skip
        st.button(
            "Stopping …" if series.is_stopping(data.runs_dir()) else "Stop",
            icon=":material/stop:", disabled=not busy, on_click=series.stop,
            args=(data.runs_dir(),), key="pair_stop",
        )  # fmt: skip
        unfinished = [one for one in planned if not _is_done(one)]
        if unfinished and not busy:
            st.button(
                f"Go on with {len(unfinished)} left", key="pair_go_on", on_click=_begin,
                args=(planned,),
            )  # fmt: skip


def _is_done(one: series.Planned) -> bool:
    run = data.get_run(one.name)
    return run is not None and run.status() == "completed"


def _begin(wanted: list[series.Planned]) -> None:
    try:
        series.begin(data.runs_dir(), wanted)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
