"""What the whole study found, drawn and said. A study is `race_study.read_study`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.plots import Palette
from studio.theory.race_score import CLEAR
from studio.theory.sampled import Estimate, Verdict

NAMES = {"iterations": "by iterations", "compute": "by compute"}


def draw_study(study: Mapping[str, Any], palette: Palette) -> go.Figure:
    """The better arm of GRPO minus the better arm of PPO, in every regime and on both axes."""
    drawn = plots.figure("prompts", "GRPO − PPO, mean V / V*")
    for axis, color in (("iterations", palette.other), ("compute", palette.found)):
        leads = [estimate_of(each["best"][axis], study) for each in study["regimes"].values()]
        plots.bars(drawn, list(study["regimes"]), leads, NAMES[axis], color)
    return drawn


def estimate_of(found: Mapping[str, Any], study: Mapping[str, Any]) -> Estimate:
    """A `{value, se}` of a study."""
    return Estimate(found["value"], found["se"], len(study["protocol"]["seeds"]))


def verdict_of(study: Mapping[str, Any]) -> Verdict:
    """How often each side is ahead. The claim is that GRPO is faster, by iterations."""
    counts = {
        axis: [each["best"][axis]["ahead"] for each in study["regimes"].values()] for axis in NAMES
    }
    by = counts["iterations"]
    parts = [
        f"{NAMES[axis]} GRPO is ahead in {found.count('GRPO')}, PPO in {found.count('PPO')}, "
        f"and {found.count('nobody')} cannot be told"
        for axis, found in counts.items()
    ]
    more = by.count("GRPO") - by.count("PPO")
    sentence = f"Of {len(by)} kinds of prompts, {'; '.join(parts)}."
    if more == 0:
        sentence += " By iterations both are ahead as often, so there is no verdict."
    rule = (
        "The claim holds where GRPO is ahead by iterations in more kinds of prompts than PPO, is "
        "not as often said the other way round, and has no verdict where both are as often. Of "
        "each side the arm that was better on the tuning seeds; ahead is "
        f"who leads by {CLEAR:g} standard errors of the paired difference on other seeds."
    )
    claim = "GRPO is faster by iterations, in more kinds of prompts than PPO."
    kind: Literal["holds", "differs", "open"] = (
        "holds" if more > 0 else "differs" if more < 0 else "open"
    )
    return Verdict(kind, sentence, rule, claim)
