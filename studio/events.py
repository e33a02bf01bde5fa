"""Events as one plain sentence each. The text holds what models and users wrote: it is only ever
shown as text.
"""

from __future__ import annotations

from typing import Any

# Routine; the curve and the status show these.
_HIDDEN = ("evaluation",)
_TITLES = {
    "status": "Status",
    "reward_version": "Reward",
    "reward_fault": "Reward fault",
    "setting": "Setting",
    "checkpoint": "Checkpoint",
    "evaluation": "Evaluation",
    "logprob_drift": "Log-prob drift",
    "nonfinite": "Not finite",
    "oom": "Out of memory",
    "notice": "Notice",
}
_TONES = {
    "reward_fault": "bad",
    "nonfinite": "bad",
    "oom": "warn",  # nothing is lost, later steps may be slower
    "logprob_drift": "warn",
    "reward_version": "mark",
    "setting": "mark",
}
MAX_TEXT = 400


def describe(event: dict[str, Any]) -> dict[str, Any] | None:
    """`{id, time, step, kind, title, tone, text}` of a stored event; None if it is routine."""
    kind, detail = event["kind"], event["detail"]
    if kind in _HIDDEN:
        return None
    # What is asked for is heard before the next step: it comes after the one before.
    is_between = kind == "status" and isinstance(detail, dict) and "command_id" in detail
    return {
        "id": event["id"],
        "time": event["time"],
        "step": max(0, event["step"] - is_between),
        "kind": kind,
        "title": _TITLES.get(kind, kind),
        "tone": _TONES.get(kind, "plain"),
        "text": _sentence(kind, detail if isinstance(detail, dict) else {"value": detail}),
    }


def _sentence(kind: str, detail: dict[str, Any]) -> str:
    if kind == "reward_fault":
        place = f" ({detail.get('file', '')}, line {detail['line']})" if detail.get("line") else ""
        count = detail.get("count", 1)
        text = f"{detail.get('function', 'reward')}: {detail.get('message', 'failed')}{place}"
        return f"{_plain(text)} · {count} completion{'s' if count != 1 else ''} left out"
    if kind == "reward_version":
        return f"{_plain(detail.get('names', []))} from this step on"
    if kind == "setting":
        return _plain(detail.get("overrides", []))
    # A message says it all; where there is none, everything there is.
    words = [detail["message"]] if detail.get("message") else list(detail.items())
    shown = [word if isinstance(word, str) else f"{word[0]} {_plain(word[1])}" for word in words]
    if kind in ("status", "checkpoint") and not detail.get("message"):
        return _plain(detail.get("status") or detail.get("path") or "")
    return _plain(" · ".join(text for text in shown if not text.startswith("command_id")))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"
