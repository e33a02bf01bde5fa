"""New run: a recipe, a form made from its own descriptions and bounds, and what it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
import yaml

from grpo_core.assets import assets_dir
from grpo_core.config import RunConfig
from grpo_core.recipe import load_recipe, to_yaml
from grpo_core.rewards import builtin_names
from grpo_core.runs import check_name
from studio import algorithm_form, data, data_form, data_look, forms, jobs, widgets

REQUEST = "new_run_request"
STARTING = "new_run_starting"
OWN = "own file"
REWARD_KEYS = ("builtin", "path", "function", "weight", "completion_format")


def recipes() -> dict[str, Path]:
    """The shipped recipes by name, the bundled one first."""
    files = sorted((assets_dir() / "recipes").glob("*.yaml"))
    return {file.stem: file for file in sorted(files, key=lambda f: f.stem != "bundled")}


def pick_recipe() -> tuple[str, Path] | None:
    """The recipe to begin with: `(word on the command line, file)`."""
    shipped = recipes()
    name = st.selectbox(
        "Recipe",
        [*shipped, OWN],
        key="new_recipe",
        persist_state="session",
        help="Everything below starts with this recipe's values.",
    )
    if name != OWN:
        return name, shipped[name]
    text = st.text_input(
        "Path of the recipe",
        key="new_recipe_path",
        placeholder="/path/to/recipe.yaml",
        persist_state="session",
    )
    path = Path(text.strip()).expanduser()
    return (str(path), path) if text.strip() else None


def reward_table(config: RunConfig, prefix: str) -> list[dict[str, Any]]:
    """The rewards as an editable table; returns them as a recipe would hold them."""
    rows = [reward.model_dump(mode="json") for reward in config.rewards]
    key = f"{prefix}/rewards"
    table = st.data_editor(
        pd.DataFrame(rows, columns=list(REWARD_KEYS)).astype(object),
        key=key,
        num_rows="dynamic",
        placeholder="",
        hide_index=True,
        column_config={
            "builtin": st.column_config.SelectboxColumn(
                "Shipped reward", options=builtin_names(), width="medium"
            ),
            "path": st.column_config.TextColumn("or a Python file", width="medium"),
            "function": st.column_config.TextColumn(
                "Function", help="Needed when the file has more than one."
            ),
            "weight": st.column_config.NumberColumn("Weight", default=1.0, format="%g"),
            "completion_format": st.column_config.SelectboxColumn(
                "Hand over as", options=["text", "messages"], default="text"
            ),
        },
    )
    st.caption(
        "The reward is the weighted sum of the rows. The Lab changes it while the run goes on."
    )
    return [_reward(row) for row in table.to_dict("records")]


def _reward(row: dict[str, Any]) -> dict[str, Any]:
    filled = {key: value for key, value in row.items() if pd.notna(value) and value != ""}
    filled["weight"] = float(filled.get("weight", 1.0))
    return {key: filled[key] for key in REWARD_KEYS if key in filled}


def marked_tab() -> str | None:
    """The tab of the knob that the address names (`?knob=rollout.group_size`), with a word on it;
    None where it names none."""
    wanted = st.query_params.get("knob", "")
    tab = forms.tab_of(wanted)
    st.session_state[forms.MARKED] = wanted if tab else None
    if tab:
        st.caption(f"`{wanted}` is on the tab {tab}, outlined below where it applies.")
    return tab


def form(config: RunConfig, recipe: dict[str, Any], word: str, path: Path) -> list[str]:
    """Draw the form; returns what differs from the recipe."""
    prefix = f"new/{word}"
    names = list(forms.SECTIONS)
    titles = [*names[:2], "Rewards", *names[2:]]
    places = dict(zip(titles, st.tabs(titles, default=marked_tab()), strict=True))
    overrides: list[str] = []
    for tab in names:
        with places[tab]:
            if tab == "Algorithm":
                overrides += algorithm_form.draw(config, recipe, prefix)
                continue
            if tab == "Data":
                overrides += data_form.draw(config, recipe, prefix, path)
                continue
            with st.grid(2, min_column_width=220, gap=("medium", "medium")):
                knobs = forms.knobs(config, recipe, tab)
                overrides += forms.changes(forms.draw_all(knobs, prefix))
    with places["Rewards"]:
        rewards = reward_table(config, prefix)
    if rewards != [_reward(reward.model_dump(mode="json")) for reward in config.rewards]:
        overrides.append(f"rewards={forms.to_word(rewards)}")
    with places["Data"]:
        data_form.preview(path, word, overrides)
    return overrides


def check_run_name(name: str) -> str | None:
    """What is wrong with the name, None if nothing is."""
    if not name:
        return None
    try:
        check_name(name)
    except ValueError as error:
        return str(error)
    if (data.runs_dir() / name).exists():
        return f"{name}: a run of this name exists; choose another name"
    return None


def ask_to_start() -> None:
    """The start itself happens in the script, under a spinner; its request id makes it one."""
    st.session_state[STARTING] = True


def start(wanted: jobs.Start) -> None:
    """Start the run and go to its curves; a refusal is shown beside the form."""
    st.session_state[STARTING] = False
    try:
        with st.spinner("Starting the trainer and loading the model …"):
            run = jobs.start(data.runs_dir(), widgets.request_id(REQUEST), wanted)
    except ValueError as error:
        widgets.problem(str(error), "The trainer refused")
        widgets.forget_request(REQUEST)
        return
    widgets.forget_request(REQUEST)
    widgets.open_run(widgets.LIVE_PAGE, run.name)


def outcome(word: str, path: Path, overrides: list[str]) -> None:
    """The right side: name, start button, and what the form comes to."""
    name = st.text_input(
        "Name",
        key="new_name",
        placeholder=jobs.next_name(data.runs_dir(), word),
        persist_state="session",
    ).strip()
    wanted = jobs.Start(word, name, tuple(overrides))
    wrong = check_run_name(name)
    config = None
    try:
        config = load_recipe(path, overrides)
        wrong = wrong or data_look.look(config.data, config.evaluation.num_problems).wrong or None
    except ValueError as error:
        wrong = wrong or str(error)
    st.button(
        "Start the run",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        on_click=ask_to_start,
        disabled=wrong is not None,
    )
    if wrong:
        widgets.problem(wrong, "Not ready to start")
    elif st.session_state.get(STARTING):
        start(wanted)
    st.caption("The same from a terminal")
    st.code(jobs.command_line(wanted, data.runs_dir()), language="bash", wrap_lines=True)
    if config is not None:
        st.caption("The complete recipe")
        st.code(to_yaml(config), language="yaml", height=420)


def show() -> None:
    """The page."""
    left, right = st.columns([8, 5], gap="large")
    with left:
        chosen = pick_recipe()
    if chosen is None:
        return
    word, path = chosen
    try:
        config = load_recipe(path)
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except ValueError as error:
        with left:
            widgets.problem(str(error), "This recipe cannot be used")
        return
    with left:
        overrides = form(config, recipe, word, path)
    with right:
        outcome(word, path, overrides)


st.title("New run")
show()
