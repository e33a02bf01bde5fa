"""What the Inspector asks for; `group`, `rollout` and `step` are numbers.

/api/runs/{name}/steps                 first and last step that can be looked at
/api/runs/{name}/ribbon                of an evaluation: the share of right answers, batch by batch
/api/runs/{name}/next                  the nearest step that is worth it (kind, step, back)
/api/runs/{name}/step/{step}           the groups of a step, a short row each
/api/runs/{name}/group/{group}         a group with its completions, best to worst
/api/runs/{name}/strips/{group}        all its tokens at a glance, one byte each
/api/runs/{name}/times/{group}         the same problem at all steps
/api/runs/{name}/tokens/{rollout}      the numbers of one completion's tokens
/api/runs/{name}/formula/{rollout}     one token in the objective (at, pass, row)
/api/runs/{name}/find                  completions with a text (text, before, after, steps)

`name` is a run or an evaluation; steps, step and group say as `kind` which of them.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grpo_core.evaluations import Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.runs import Run
from studio import data, groups, judged, token_story, tokens
from studio.answers import answer, integer, stored_of

MAX_FIND = 200
"""Characters that are searched for."""

T = TypeVar("T")
Query = Callable[[GroupReader, Run, Request], dict[str, Any] | None]


def routes() -> list[Route]:
    """The routes of the Inspector."""
    asked: dict[str, Query] = {
        "steps": lambda reader, run, _request: groups.steps_of(reader, run),
        "ribbon": _ribbon,
        "next": _next,
        "step/{step:int}": _step,
        "group/{group:int}": _group,
        "times/{group:int}": _times,
        "tokens/{rollout:int}": _tokens,
        "formula/{rollout:int}": _formula,
        "find": _find,
    }
    plain = [
        Route(f"/api/runs/{{name}}/{path}", _endpoint(query), methods=["GET"])
        for path, query in asked.items()
    ]
    return [*plain, Route("/api/runs/{name}/strips/{group:int}", _strips, methods=["GET"])]


def _endpoint(query: Query) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        run = stored_of(request)
        return await answer(lambda: _ask(run, lambda reader: query(reader, run, request)))

    return endpoint


def _ask(run: Run, query: Callable[[GroupReader], T]) -> T | dict[str, Any]:
    """The answer of a query, or `problem`: why the database does not give one."""
    if not run.db_path.exists() and run.config_path.exists():
        return _only_begun(run)
    try:
        with GroupReader(run.db_path) as reader:
            return query(reader)
    except (
        sqlite3.Error,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
    ) as error:  # not what we wrote
        problem = data.unreadable(error, run)
        if not problem:
            return _only_begun(run)
        return {"kind": judged.kind_of(run), "first": None, "problem": problem}


def _only_begun(run: Run) -> dict[str, Any]:
    found = {"kind": judged.kind_of(run), "first": None, "last": None, "attempt": 0}
    return found | ({"about": judged.about(run, 0)} if isinstance(run, Evaluation) else {})


def _ribbon(reader: GroupReader, run: Run, request: Request) -> dict[str, Any] | None:
    return judged.ribbon(reader) if isinstance(run, Evaluation) else None


def _next(reader: GroupReader, run: Run, request: Request) -> dict[str, Any]:
    back = request.query_params.get("back") == "1"
    return groups.next_step(
        reader, request.query_params.get("kind", "signal"), integer(request, "step"), back
    )


def _step(reader: GroupReader, run: Run, request: Request) -> dict[str, Any]:
    return groups.step_view(reader, run, request.path_params["step"])


def _group(reader: GroupReader, run: Run, request: Request) -> dict[str, Any] | None:
    return groups.group_view(reader, run, request.path_params["group"])


def _times(reader: GroupReader, run: Run, request: Request) -> dict[str, Any]:
    return groups.same_prompt(reader, request.path_params["group"])


def _tokens(reader: GroupReader, run: Run, request: Request) -> dict[str, Any] | None:
    return tokens.tokens_view(reader, run, request.path_params["rollout"])


def _formula(reader: GroupReader, run: Run, request: Request) -> dict[str, Any] | None:
    # not `token`: the guard takes a token in an address for that of a link
    token, number = integer(request, "at"), integer(request, "pass")
    row = request.query_params.get("row", "")
    return token_story.story(reader, run, request.path_params["rollout"], token, number, row)


def _find(reader: GroupReader, run: Run, request: Request) -> dict[str, Any]:
    text = request.query_params.get("text", "")[:MAX_FIND]
    before, after = integer(request, "before"), integer(request, "after")
    steps = min(integer(request, "steps"), 1000)
    if not text:
        raise HTTPException(400, "text: say what to look for")
    return groups.find(reader, run, text, before, after, steps)


async def _strips(request: Request) -> Response:
    run, group = stored_of(request), request.path_params["group"]
    query = functools.partial(tokens.strips, run=run, group_id=group)
    found = await to_thread.run_sync(lambda: _ask(run, query))
    if not isinstance(found, bytes):
        raise HTTPException(404)
    headers = {"cache-control": "no-store"}
    return Response(found, media_type="application/octet-stream", headers=headers)
