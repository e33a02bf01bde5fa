"""What the Live page polls.

    /api/runs/{name}/metrics               what is new on the curves (since, attempt)
    /api/runs/{name}/window                one stretch of some curves (names, low, high)

The page polls `metrics` once a second; an answer with nothing new is a few hundred bytes.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grpo_core.reader import RunReader
from grpo_core.runs import Run
from studio import curves, data
from studio.answers import answer, integer, number, run_of
from studio.events import describe

NUM_EVENTS = 12


def routes() -> list[Route]:
    """The routes of the Live page."""
    return [
        Route("/api/runs/{name}/metrics", _metrics, methods=["GET"]),
        Route("/api/runs/{name}/window", _window, methods=["GET"]),
    ]


async def _metrics(request: Request) -> Response:
    run = run_of(request)
    since, attempt = integer(request, "since"), integer(request, "attempt")
    return await answer(lambda: live_state(run, since, attempt))


async def _window(request: Request) -> Response:
    run = run_of(request)
    names = request.query_params.getlist("name")[:32]
    low, high = number(request, "low", -1.0), number(request, "high", 1e18)
    return await answer(lambda: curves.window(run, names, low, high))


def live_state(run: Run, since: int, attempt: int) -> dict[str, Any]:
    """One answer to a polling Live page: the run's state, new points, marks and last events."""

    def marks_and_events(reader: RunReader) -> dict[str, Any]:
        events = [describe(event) for event in reader.last_events(NUM_EVENTS)]
        shown = [event for event in events if event is not None][:NUM_EVENTS]
        return {"marks": reader.reward_marks(), "events": shown}

    return {
        "run": data.summary(run),
        **curves.since(run, since, attempt),
        **data.read(run, marks_and_events, {"marks": [], "events": []}),
    }
