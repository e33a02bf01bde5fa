"""What reaches a run from outside while it trains: commands in its inbox, and signals.

A command is carried out between two steps, acknowledged by an event that carries its id, and then
its file goes. Carried out twice it changes nothing. Commands that change the run are repeated at
their step when a resume starts before it, so a run is a function of its recipe and its commands.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from grpo_core import trust
from grpo_core.config import RunConfig
from grpo_core.reader import RunReader
from grpo_core.recipe import change_live
from grpo_core.records import Event
from grpo_core.rewards import RewardFunction, check_weights, from_dicts, load_version, save_version
from grpo_core.runs import Command, Run
from grpo_core.store import RunWriter


class Control:
    """The wishes of the outside; the trainer asks it before each step."""

    def __init__(
        self,
        run: Run,
        writer: RunWriter,
        config: RunConfig,
        set_rewards: Callable[[list[RewardFunction]], None],
        is_isolated: bool,
    ) -> None:
        self.run, self.writer, self.config = run, writer, config
        self.stop = self.paused = False
        self._set_rewards, self._is_isolated = set_rewards, is_isolated
        with RunReader(run.db_path) as reader:
            events = [event for event in reader.events() if "command_id" in event["detail"]]
        self._done = {event["detail"]["command_id"] for event in events}
        self._past = [event for event in events if _is_repeated(event)]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C ask for a stop after the step; a second Ctrl-C ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may hear signals (a caller that embeds the trainer)
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop = True

    def replay(self, after: int, step: int) -> None:
        """Repeat the changes that an earlier attempt made at steps `after < … <= step`. Where it
        was told to go on, this one need not ask again."""
        for event in [e for e in self._past if after < e["step"] <= step]:
            self._past.remove(event)
            if event["kind"] == "setting":
                self.config = change_live(self.config, event["detail"]["overrides"])
            elif event["kind"] == "status":
                self.paused = False
            else:
                functions = load_version(self.run.rewards, event["detail"]["version"])
                self._check(functions, f"`grpo-studio resume {self.run.name} --trust-rewards`")
                self._set_rewards(functions)

    def obey(self, step: int) -> None:
        """Carry out what waits in the inbox; `step` is the first one that it can change."""
        for command, file in self.run.take_commands():
            if command is None:
                event = Event("notice", {"message": f"{file.name} in the inbox is not a command"})
                self.writer.write_event(step, event)
            elif command.id not in self._done:
                self.writer.write_event(step, self._carry_out(command))
                self._done.add(command.id)
            file.unlink(missing_ok=True)

    def _carry_out(self, command: Command) -> Event:
        try:
            kind, detail = self._do(command)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            kind, detail = "notice", {"message": f"{command.kind} was refused: {error}"}
        return Event(kind, {**detail, "command_id": command.id})

    def _do(self, command: Command) -> tuple[str, dict[str, Any]]:
        if command.kind == "set":
            overrides = [str(override) for override in command.args["overrides"]]
            self.config = change_live(self.config, overrides)
            return "setting", {"overrides": overrides}
        if command.kind == "set_rewards":
            functions = from_dicts(command.args["functions"])
            check_weights(functions)
            version = self._keep(functions, command.args.get("mark"))
            self._set_rewards(functions)
            return "reward_version", {"version": version, "names": [f.name for f in functions]}
        self.stop = self.stop or command.kind == "stop"
        self.paused = command.kind == "pause" or (self.paused and command.kind != "continue")
        words = {"stop": "stopping", "pause": "paused", "continue": "running"}
        return "status", {"status": words[command.kind]}

    def _keep(self, functions: list[RewardFunction], mark: Any) -> str:
        """Keep what a command brings; it is marked only where the command was given here."""
        if trust.is_ours(functions, mark):
            return trust.keep(self.run, functions)
        self._check(functions, f"`grpo-studio apply-reward {self.run.name} FILE`")
        return save_version(self.run.rewards, functions)

    def _check(self, functions: list[RewardFunction], remedy: str) -> None:
        """Raises ValueError for rewards that may not run here before somebody consents."""
        if self._is_isolated or trust.is_marked(self.run, functions):
            return
        reason = trust.why_no_marks()
        raise ValueError(
            "nothing shows that these rewards were written by you on this machine"
            f"{f' ({reason})' if reason else ''}, where they could do harm; give them with {remedy}"
        )


def _is_repeated(event: dict[str, Any]) -> bool:
    """Whether a resume carries out again what this event acknowledged."""
    goes_on = event["kind"] == "status" and event["detail"].get("status") == "running"
    return goes_on or event["kind"] in ("reward_version", "setting")
