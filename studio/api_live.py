"""What the Live page polls.

    /api/runs/{name}/metrics               what is new on the curves (since, attempt, seen)
    /api/runs/{name}/window                one stretch of some curves (names, low, high)
    /api/runs/{name}/here                  what the run's own settings make of its metrics
    /api/bands                             runs that differ only in their seed, as bands
    /api/csv                               stored numbers of some runs (run, name), as a file
    /api/system                            how busy this machine is

The page polls `metrics` every two seconds; an answer with nothing new is a few hundred bytes, and
no file is opened for it.
"""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from grpo_core.runs import Run
from studio import bands, compare, curves, data, explained_here, gauges
from studio.answers import answer, integer, number, run_of
from studio.columns import followed

MAX_RUNS = 12
"""Runs that are shown over one another."""


def routes() -> list[Route]:
    """The routes of the Live page."""
    return [
        Route("/api/runs/{name}/metrics", _metrics, methods=["GET"]),
        Route("/api/runs/{name}/window", _window, methods=["GET"]),
        Route("/api/runs/{name}/here", _here, methods=["GET"]),
        Route("/api/bands", _bands, methods=["GET"]),
        Route("/api/csv", _csv, methods=["GET"]),
        Route("/api/system", _system, methods=["GET"]),
    ]


async def _metrics(request: Request) -> Response:
    run = run_of(request)
    since, attempt = integer(request, "since"), integer(request, "attempt")
    seen, source = request.query_params.get("seen", ""), request.query_params.get("source", "")
    return await answer(lambda: live_state(run, since, attempt, seen, source))


async def _window(request: Request) -> Response:
    run = run_of(request)
    low, high = number(request, "low", -1.0), number(request, "high", 1e18)
    return await answer(lambda: curves.window(run, _names(request), low, high))


async def _here(request: Request) -> Response:
    run = run_of(request)
    return await answer(lambda: explained_here.of_run(run))


async def _bands(request: Request) -> Response:
    axis = request.query_params.get("axis", "step")
    if axis not in compare.AXES:
        raise HTTPException(400, f"axis: expected one of {', '.join(compare.AXES)}")
    return await answer(lambda: bands.view(_runs(request), _names(request), axis))


async def _csv(request: Request) -> Response:
    names = _names(request)
    if not names:
        raise HTTPException(400, "name: expected a metric")
    runs = _runs(request)
    said = "".join(c if c.isascii() and c.isalnum() else "-" for c in names[0])[:60]
    headers = {
        "content-disposition": f'attachment; filename="{runs[0].name}_{said}.csv"',
        "cache-control": "no-store",
    }
    pieces = curves.table(runs, names)  # made while they are sent, beside the event loop
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


async def _system(request: Request) -> Response:
    return await answer(lambda: gauges.now(data.runs_dir()))


def _names(request: Request) -> list[str]:
    return request.query_params.getlist("name")[: curves.MAX_NAMES]


def _runs(request: Request) -> list[Run]:
    """The runs that the query names; those that are gone are left out, 404 where none is left."""
    wanted = request.query_params.getlist("run")[:MAX_RUNS]
    found = [run for name in wanted if (run := data.get_run(name)) is not None]
    if not found:
        raise HTTPException(404)
    return found


def live_state(
    run: Run, since: int, attempt: int, seen: str = "", source: str = ""
) -> dict[str, Any]:
    """One answer to a polling Live page: the run's state, new points, and what happened.

    `source` names the database that `since` and `attempt` belong to. Of another one, and after a
    resume, the page gets everything (`whole`). Marks and events come when they differ from those
    that it has `seen`.
    """
    with followed(run.db_path) as known:
        if source != known.edition or (attempt and known.undone_after(attempt) is not None):
            since = 0  # other numbers, or a resume has undone some of what the page has
        found = curves.fresh(known, since)
        stamp = f"{known.edition}.{known.attempt}.{known.chronicle.stamp}"
        if stamp != seen:
            found |= {"marks": known.chronicle.marks(), "events": list(known.chronicle.recent)}
        problem = known.problem
        first = data.stored(known, run)
    return {
        "run": {**data.now(run), **first},
        "source": known.edition,
        "whole": since == 0,
        "seen": stamp,
        "problem": data.unreadable(problem, run),
        **found,
    }
