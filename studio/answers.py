"""How routes read a request and answer it: JSON, off the event loop, never an exception that a page
would have to show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from grpo_core.runs import Run
from studio import data


async def answer(work: Callable[[], dict[str, Any] | None]) -> Response:
    """Run a blocking read beside the event loop; nothing, or a run deleted meanwhile, is a 404."""
    try:
        found = await to_thread.run_sync(work)
    except FileNotFoundError:
        found = None
    if found is None:
        raise HTTPException(404)
    # NaN and infinity are no JSON; a browser gets null and draws a gap.
    return JSONResponse(_finite(found), headers={"cache-control": "no-store"})


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def run_of(request: Request) -> Run:
    """The run that the path names; 404 where there is none."""
    run = data.get_run(request.path_params["name"])
    if run is None:
        raise HTTPException(404)
    return run


def stored_of(request: Request) -> Run:
    """The run or the evaluation that the path names; 404 where there is neither."""
    run = data.get_stored(request.path_params["name"])
    if run is None:
        raise HTTPException(404)
    return run


def integer(request: Request, name: str) -> int:
    """A whole number of the query, 0 where it is not given."""
    text = request.query_params.get(name, "0")
    if not text.isdecimal() or len(text) > 18:
        raise HTTPException(400, f"{name}: expected a whole number")
    return int(text)


def number(request: Request, name: str, default: float) -> float:
    """A number of the query."""
    try:
        return float(request.query_params.get(name, default))
    except ValueError:
        raise HTTPException(400, f"{name}: expected a number") from None
