"""Compare: runs of several algorithms side by side, by step, by time and by memory."""

from __future__ import annotations

import streamlit as st

from studio import compare_view, components, data, widgets
from studio.compare import Recorded
from studio.run_groups import groups_of, kind_of

HOW_TO = """\
for seed in 0 1 2; do
  grpo-studio train compare_grpo --set seed=$seed --name grpo-$seed
  grpo-studio train compare_ppo --set seed=$seed --name ppo-$seed
done"""
REFRESH_S = 5


def like_the_newest() -> list[str]:
    """The newest run and all that ask the same of the same model."""
    kinds = {}
    for name in data.run_names():
        run = data.get_run(name)
        config = data.config_of(run) if run else None
        if config is not None:
            kinds[name] = kind_of(config)
    newest = next(iter(kinds.values()), None)
    return [name for name, kind in kinds.items() if kind == newest]


def how_to() -> None:
    """How to come by runs that compare."""
    with st.expander("How to make runs that compare", icon=":material/terminal:"):
        st.caption(
            "Same model, task and rewards; several seeds each, as one seed proves little. One run "
            "after another: runs that share the machine slow each other down, and their times say "
            "nothing."
        )
        st.code(HOW_TO, language="bash")
        st.caption(
            "Any two recipes will do. Runs that differ in their seed only become one line here."
        )


def controls() -> tuple[str, str, float]:
    """Which curve against what, and the accuracy to reach (0..1)."""
    with st.container(horizontal=True, vertical_alignment="top"):
        y = st.selectbox(
            "Curve", list(compare_view.Y_AXES), key="compare_y", persist_state="session", width=220
        )
        x = st.segmented_control(
            "Against",
            list(compare_view.X_AXES),
            key="compare_x",
            default="Step",
            required=True,
            persist_state="session",
        )
        st.space("stretch")
        target = st.number_input(
            "Target accuracy, %",
            min_value=1,
            max_value=100,
            value=90,
            step=1,
            key="compare_target",
            persist_state="session",
            width=170,
            help="The table says when held-out accuracy first reached it.",
        )
    return x or "Step", y, target / 100


def show(names: list[str]) -> None:
    """The page below the choice of runs."""
    recorded: list[Recorded] = []
    empty = []
    for name in names:
        run = data.get_run(name)
        found = data.recorded(run, compare_view.METRICS) if run else None
        if found is None:
            empty.append(name)
        else:
            recorded.append(found)
    x, y, target = controls()
    groups = groups_of(recorded)
    if groups:
        view = compare_view.view(groups, x, y, target, empty)
        components.compare(key="compare", view=view)
    else:
        with st.container(border=True):
            st.text("None of these runs has a number yet. The first comes before step 1.")


def is_live(name: str) -> bool:
    """Whether the run may still bring numbers."""
    run = data.get_run(name)
    return run is not None and run.is_live()


st.title("Compare")
if not data.run_names():
    widgets.nothing_yet("There is no run to compare yet.")
else:
    chosen = widgets.pick_runs(like_the_newest)
    if chosen:
        every = REFRESH_S if any(is_live(name) for name in chosen) else None
        st.fragment(show, run_every=every)(chosen)
    else:
        with st.container(border=True):
            st.text("Choose the runs to compare.")
how_to()
