"""The studio's own routes: read-only, GET only, behind the guard like everything else.

    /api/runs                              a summary of every run
    /api/assets/{file}                     the built scripts of the page's components

and those of the Live page (`api_live.py`) and the Inspector (`api_groups.py`).
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from studio import api_groups, api_live, components, data
from studio.answers import answer


def routes() -> list[Route]:
    """All routes, for `st.App`."""
    return [
        Route("/api/runs", _runs, methods=["GET"]),
        *api_live.routes(),
        *api_groups.routes(),
        Route("/api/assets/{file}", _asset, methods=["GET"]),
    ]


async def _runs(request: Request) -> Response:
    return await answer(lambda: {"runs": data.overview()})


async def _asset(request: Request) -> Response:
    content = components.asset(request.path_params["file"])
    if content is None:
        raise HTTPException(404)
    # The address carries a hash of the content, so that it may be kept for good.
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(content, media_type="text/javascript", headers=headers)
