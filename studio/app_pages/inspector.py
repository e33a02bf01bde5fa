"""Inspector: a step, its prompts, and what was sampled for a prompt, best to worst, down to the
token; of an evaluation a batch, its problems, and what was answered. The component asks for the
groups on its own; this script keeps the address.
"""

from __future__ import annotations

import streamlit as st

from grpo_core.algorithms import ALGORITHMS
from grpo_core.evaluations import Evaluation
from grpo_core.runs import Run
from studio import (
    components,
    data,
    figures,
    inspector_address,
    what_if_address,
    what_if_page,
    widgets,
)

VIEW = "inspector"


OTHER_PAGES = (
    (widgets.LIVE_PAGE, "Live", ":material/show_chart:"),
    (widgets.LAB_PAGE, "Reward lab", ":material/science:"),
)
OF_EVALUATIONS = ((widgets.EVALUATE_PAGE, "Evaluate", ":material/quiz:"),)


def head() -> Run | None:
    """Which run or evaluation, and the way to its other pages."""
    with st.container(horizontal=True, vertical_alignment="center"):
        run = widgets.pick_run(data.evaluation_names())
        if run is not None:
            st.space("stretch")
            is_run = not isinstance(run, Evaluation)
            for page, label, icon in OTHER_PAGES if is_run else OF_EVALUATIONS:
                query = {"run" if is_run else "evaluation": run.name}
                st.page_link(page, label=label, icon=icon, query_params=query)
    return run


PARTS = (
    ("what_if", "What if: another algorithm, reward …", ":material/alt_route:", what_if_page.show),
    ("figures", "Figures of this step", ":material/scatter_plot:", figures.show),
)


def below(run: Run, group: int) -> None:
    """What is worked out only while it is open."""
    for key, label, icon, show in PARTS:
        with st.expander(label, icon=icon, key=f"{key}_open", on_change="rerun") as part:
            if part.open:
                show(run, group)


run = head()
if run is not None:
    told = (st.session_state.get(VIEW) or {}).get("view")
    goto = inspector_address.follow(run, told)
    place = st.container()
    group = told.get("group") if told and told.get("run") == run.name else None
    is_run = not isinstance(run, Evaluation)  # in which nothing was rewarded, nothing learnt
    if is_run and isinstance(group, int):
        below(run, group)
    with place:  # after what stands below it: the address says what is chosen there
        components.inspector(
            key=VIEW,
            run=run.name,
            algorithms=list(ALGORITHMS),
            goto=goto,
            below=what_if_address.told() if is_run else {},
        )
