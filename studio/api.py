"""The studio's own routes: read-only, GET only, behind the guard like everything else.

    /api/runs                              a summary of every run
    /api/runs/{name}/metrics               what is new on the curves (since, attempt)
    /api/runs/{name}/window                one stretch of some curves (names, low, high)
    /api/runs/{name}/groups/{step}         the groups of a step with their completions
    /api/runs/{name}/tokens/{rollout}      the per-token numbers of one completion
    /api/assets/{file}                     the built scripts of the page's components

The page polls `metrics` once a second; an answer with nothing new is a few hundred bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from grpo_core.reader import RunReader
from grpo_core.runs import Run
from studio import components, curves, data
from studio.events import describe

NUM_EVENTS = 12


def routes() -> list[Route]:
    """All routes, for `st.App`."""
    return [
        Route("/api/runs", _runs, methods=["GET"]),
        Route("/api/runs/{name}/metrics", _metrics, methods=["GET"]),
        Route("/api/runs/{name}/window", _window, methods=["GET"]),
        Route("/api/runs/{name}/groups/{step:int}", _groups, methods=["GET"]),
        Route("/api/runs/{name}/tokens/{rollout:int}", _tokens, methods=["GET"]),
        Route("/api/assets/{file}", _asset, methods=["GET"]),
    ]


async def _runs(request: Request) -> Response:
    return _json({"runs": await to_thread.run_sync(data.overview)})


async def _metrics(request: Request) -> Response:
    run = _run_of(request)
    since, attempt = _integer(request, "since"), _integer(request, "attempt")
    return await _answer(lambda: live_state(run, since, attempt))


async def _window(request: Request) -> Response:
    run = _run_of(request)
    names = request.query_params.getlist("name")[:32]
    low, high = _number(request, "low", -1.0), _number(request, "high", 1e18)
    return await _answer(lambda: curves.window(run, names, low, high))


async def _groups(request: Request) -> Response:
    run, step = _run_of(request), request.path_params["step"]
    return await _answer(
        lambda: {"step": step, "groups": data.read(run, lambda reader: reader.groups(step), [])}
    )


async def _tokens(request: Request) -> Response:
    run, rollout = _run_of(request), request.path_params["rollout"]
    found = await to_thread.run_sync(lambda: data.read(run, lambda r: r.trace(rollout), None))
    if found is None:
        raise HTTPException(404)
    return _json(asdict(found[1]))


async def _asset(request: Request) -> Response:
    content = components.asset(request.path_params["file"])
    if content is None:
        raise HTTPException(404)
    # The address carries a hash of the content, so that it may be kept for good.
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(content, media_type="text/javascript", headers=headers)


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


async def _answer(work: Callable[[], dict[str, Any]]) -> Response:
    """Run a blocking read beside the event loop; a run deleted meanwhile is a 404."""
    try:
        return _json(await to_thread.run_sync(work))
    except FileNotFoundError:
        raise HTTPException(404) from None


def _json(content: dict[str, Any]) -> Response:
    # NaN and infinity are no JSON; a browser gets null and draws a gap.
    return JSONResponse(_finite(content), headers={"cache-control": "no-store"})


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _run_of(request: Request) -> Run:
    run = data.get_run(request.path_params["name"])
    if run is None:
        raise HTTPException(404)
    return run


def _integer(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not text.isdecimal() or len(text) > 18:
        raise HTTPException(400, f"{name}: expected a whole number")
    return int(text)


def _number(request: Request, name: str, default: float) -> float:
    try:
        return float(request.query_params.get(name, default))
    except ValueError:
        raise HTTPException(400, f"{name}: expected a number") from None
