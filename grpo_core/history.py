"""Which settings were in force at a step of a run."""

from __future__ import annotations

from grpo_core.config import RunConfig
from grpo_core.reader import RunReader
from grpo_core.recipe import change_live


def config_at(reader: RunReader, config: RunConfig, step: int) -> RunConfig:
    """`config`, which the run began with, and what was set up to `step`.

    A resume carries a setting out again at its step, so that the events tell all of it.
    """
    for event in reader.events(kinds=["setting"]):
        if event["step"] <= step:
            config = change_live(config, [str(one) for one in event["detail"]["overrides"]])
    return config
