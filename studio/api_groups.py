"""What the Inspector asks for.

/api/runs/{name}/groups/{step}         the groups of a step with their completions
/api/runs/{name}/tokens/{rollout}      the per-token numbers of one completion
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grpo_core.runs import Run
from studio import data
from studio.answers import answer, run_of


def routes() -> list[Route]:
    """The routes of the Inspector."""
    return [
        Route("/api/runs/{name}/groups/{step:int}", _groups, methods=["GET"]),
        Route("/api/runs/{name}/tokens/{rollout:int}", _tokens, methods=["GET"]),
    ]


async def _groups(request: Request) -> Response:
    run, step = run_of(request), request.path_params["step"]
    return await answer(
        lambda: {"step": step, "groups": data.read(run, lambda reader: reader.groups(step), [])}
    )


async def _tokens(request: Request) -> Response:
    run, rollout = run_of(request), request.path_params["rollout"]
    return await answer(lambda: _trace(run, rollout))


def _trace(run: Run, rollout: int) -> dict[str, Any] | None:
    found = data.read(run, lambda reader: reader.trace(rollout), None)
    return asdict(found[1]) if found else None
