"""What happened in a run, as marks on its charts and as the list below them: bounded, kept while
the run grows, and without what a resume undid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from studio.events import describe

MAX_MARKS = 300
"""Of changes the newest ones. Of alerts old neighbours become one, so that none is lost."""
NUM_RECENT = 100
"""The newest alerts, each a mark of its own."""
NUM_EVENTS = 12
MAX_MARK_TEXT = 160
_ALERTS = ("reward_fault", "nonfinite", "logprob_drift", "oom")

Mark = dict[str, Any]
"""`step, kind, tone, title, text, time`; a change of rewards also has its `number`, alerts that
have become one their `count` and `last` step.
"""


class Chronicle:
    """Fed with what is new; `marks()` and `recent` are what a page shows."""

    def __init__(self) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=NUM_EVENTS)
        """The newest events that are no routine, the newest first."""
        self._versions: list[tuple[int, str, float]] = []
        self._resumes: list[Mark] = []
        self._changes: deque[Mark] = deque(maxlen=MAX_MARKS)
        self._alerts: list[Mark] = []
        self._last = 0

    def take_versions(self, steps: Iterable[tuple[int, str, float]]) -> None:
        """Step, version of the rewards and time of each new step."""
        for step, version, time in steps:
            if not self._versions or self._versions[-1][1] != version:
                self._versions.append((step, version, time))

    def take_attempts(self, attempts: list[tuple[int, float, int | None]]) -> None:
        """All attempts; a resume from before an earlier one has undone that one too."""
        kept: list[Mark] = []
        for number, time, step in attempts:
            if step is None:
                continue
            kept = [mark for mark in kept if mark["step"] <= step]
            text = f"attempt {number} went on from step {step}"
            kept.append(_mark(step, "resume", "plain", "Resumed", text, time))
        self._resumes = kept[-MAX_MARKS:]

    def take_events(
        self, events: list[dict[str, Any]], undone_after: Callable[[int], int | None]
    ) -> None:
        """New events; `undone_after(attempt)` is the step after which that attempt is void."""
        for event in events:
            self._last = event["id"]
            shown = describe(event)
            if shown is None:
                continue
            self.recent.appendleft(shown)
            undone = undone_after(event["attempt"])
            if undone is not None and event["step"] > undone:
                continue
            mark = _mark_of(event, shown)
            if mark is not None and mark["kind"] != "alert":
                self._changes.append(mark)
            elif mark is not None:
                self._alerts.append(mark)
                if len(self._alerts) > MAX_MARKS:
                    old, new = self._alerts[:-NUM_RECENT], self._alerts[-NUM_RECENT:]
                    self._alerts = [_merged(old[i : i + 2]) for i in range(0, len(old), 2)] + new

    def forget_after(self, step: int) -> None:
        """A resume went on from this step."""
        self._versions = [known for known in self._versions if known[0] <= step]
        kept = [mark for mark in self._changes if mark["step"] <= step]
        self._changes = deque(kept, maxlen=MAX_MARKS)
        self._alerts = [mark for mark in self._alerts if _last(mark) <= step]

    @property
    def changes(self) -> list[int]:
        """Steps at which other reward code came into force."""
        return [step for step, _, _ in self._versions[1:]]

    @property
    def stamp(self) -> str:
        """Changes whenever there is something new to show."""
        return f"{self._last}.{len(self._versions)}.{len(self._resumes)}"

    def marks(self) -> list[Mark]:
        """By step; at most 300 of each kind."""
        versions = [
            {**_mark(step, "reward", "mark", f"Reward v{number}", "", time), "number": number}
            for number, (step, _, time) in enumerate(self._versions[1:], start=2)
        ]
        every = [*versions[-MAX_MARKS:], *self._resumes, *self._changes, *self._alerts]
        return sorted(every, key=lambda mark: mark["step"])


def _last(alert: Mark) -> int:
    return int(alert["last"] if "last" in alert else alert["step"])


def _merged(alerts: list[Mark]) -> Mark:
    """One or two neighbours as one."""
    if len(alerts) == 1:
        return alerts[0]
    first, second = alerts
    count = first.get("count", 1) + second.get("count", 1)
    last = _last(second)
    same = first["title"] == second["title"]
    bad = "bad" in (first["tone"], second["tone"])
    text = f"{count} between steps {first['step']} and {last}"
    tone, title = "bad" if bad else first["tone"], first["title"] if same else "Alerts"
    mark = _mark(first["step"], "alert", tone, title, text, second["time"])
    return {**mark, "count": count, "last": last}


def _mark(step: int, kind: str, tone: str, title: str, text: str, time: float) -> Mark:
    text = text if len(text) <= MAX_MARK_TEXT else f"{text[:MAX_MARK_TEXT]} …"
    return {"step": step, "kind": kind, "tone": tone, "title": title, "text": text, "time": time}


def _mark_of(event: dict[str, Any], shown: dict[str, Any]) -> Mark | None:
    kind, detail = event["kind"], event["detail"]
    said = (shown["step"], shown["tone"], shown["title"], shown["text"], event["time"])
    step, tone, title, text, time = said
    if kind in _ALERTS:
        return _mark(step, "alert", tone, title, text, time)
    if kind == "setting":
        return _mark(step, "setting", tone, title, text, time)
    if kind == "status" and isinstance(detail, dict):
        status, asked = detail.get("status"), "command_id" in detail
        if status == "paused":
            return _mark(step, "pause", "warn", "Paused", str(detail.get("message", "")), time)
        if status == "running" and asked:
            return _mark(step, "pause", "plain", "Continued", "", time)
        if status == "failed":
            return _mark(step, "alert", "bad", "Failed", text, time)
    return None
