"""Who may talk to the studio: the outermost ASGI layer, in front of every route and WebSocket.

The studio runs code that its user types, so whoever reaches it owns the user's account. Listening
on loopback alone does not protect it: any web page open in the same browser can send requests to a
loopback port (DNS rebinding, cross-site requests, a page served from another local port), and so
can any other user of the machine. In this order the guard asks for:

1. `Host`: exactly one of the names the studio is printed under, port included. Defeats rebinding.
2. `Origin`: if sent, exactly our own; WebSockets and writing methods must send one.
3. `Sec-Fetch-Site`: no sub-resource of ours is loaded into another page.
4. The session cookie, or the token of the link in the terminal, which is exchanged for the cookie.

A link works once. When somebody without a session asks for a page after the link was used, a fresh
link is printed in the terminal: only a person who can read that terminal gets in.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

SAFE_METHODS = ("GET", "HEAD")
_ENTER = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>GRPO Studio</title>
<meta http-equiv="refresh" content="0;url=/"></head><body><a href="/">Open the studio</a></body>
</html>"""
_LOCKED = (
    "This is GRPO Studio. Open the link that stands in the terminal where it was started; "
    "each link works once, and a fresh one has just been printed there if the last was used."
)


class Guard:
    """Wraps `app`; `announce` is called with each link that opens the studio."""

    def __init__(
        self,
        app: ASGIApp,
        port: int,
        announce: Callable[[str], None],
        script_hashes: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._announce = announce
        self._hosts = _hosts(port)
        self._url = f"http://127.0.0.1:{port}/"
        # Cookies are shared between all ports of a host: the name keeps two studios apart.
        self._cookie = f"grpo_studio_{port}"
        self._session = secrets.token_urlsafe(32)
        self._token: str | None = None
        self._headers = _security_headers(port, script_hashes)

    def print_link(self) -> str:
        """Announce a link with a new token and return it; an older unused one stops working."""
        self._token = secrets.token_urlsafe(32)
        link = f"{self._url}?token={self._token}"
        self._announce(link)
        return link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = _decode(scope["headers"])
        refusal = self._refuse(scope, headers)
        if refusal:
            await self._answer(scope, receive, send, *refusal)
        elif not self._has_session(headers):
            await self._enter(scope, receive, send, headers)
        elif scope["type"] == "http" and _token_of(scope):
            # A bookmark of a used link: let it in and take the token out of the address bar.
            scope["query_string"] = b""
            await self._answer(scope, receive, send, 303, b"", [(b"location", b"/")])
        else:
            await self._app(scope, receive, self._with_headers(send))

    def _refuse(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[int, bytes] | None:
        """Status and text when the request may not even present a token."""
        host = headers.get("host", [])
        if len(host) != 1 or host[0] not in self._hosts:
            return 421, b"This studio does not answer under that host name."
        origin = headers.get("origin", [])
        if len(origin) > 1 or (origin and origin[0] != f"http://{host[0]}"):
            return 403, b"Requests from other sites are refused."
        is_write = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if is_write and not origin:
            return 403, b"An Origin header is required."
        if not _is_own_fetch(headers, is_write):
            return 403, b"Requests from other sites are refused."
        return None

    def _has_session(self, headers: dict[str, list[str]]) -> bool:
        # Another page on this host may have set a cookie of the same name: look at all of them.
        given = [value for line in headers.get("cookie", []) for value in self._cookies(line)]
        return any(_equal(value, self._session) for value in given)

    def _cookies(self, line: str) -> Iterable[str]:
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._cookie:
                yield value

    async def _enter(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[str, list[str]]
    ) -> None:
        token = _token_of(scope)
        # The server logs the query string of the scope it handed over: take the token out of it.
        scope["query_string"] = b""
        is_page = scope["type"] == "http" and scope["method"] == "GET"
        if is_page and token and self._token and _equal(token, self._token):
            self._token = None
            # Not a redirect: a browser that came from elsewhere (a file, a chat) would follow it
            # without the SameSite=Strict cookie. The page's own refresh sends it.
            cookie = f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
            extra = [(b"set-cookie", cookie.encode()), (b"content-type", b"text/html")]
            await self._answer(scope, receive, send, 200, _ENTER, extra)
            return
        wants_page = any("text/html" in value for value in headers.get("accept", []))
        if is_page and wants_page and self._token is None:
            self.print_link()
        await self._answer(scope, receive, send, 401, _LOCKED.encode())

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        status: int,
        body: bytes,
        extra: Headers | None = None,
    ) -> None:
        headers = [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
        headers += extra or [(b"content-type", b"text/plain; charset=utf-8")]
        if scope["type"] == "websocket":
            await receive()  # the handshake
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008})
                return
        prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        start = {"type": f"{prefix}.response.start", "status": status, "headers": headers}
        await self._with_headers(send)(start)
        await send({"type": f"{prefix}.response.body", "body": body})

    def _with_headers(self, send: Send) -> Send:
        """`send` that puts our headers on whatever answer passes, in place of the app's own."""
        ours = {name for name, _ in self._headers}

        async def send_with_headers(message: Message) -> None:
            if message["type"].endswith(".response.start") or message["type"] == "websocket.accept":
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in ours]
                message = {**message, "headers": kept + self._headers}
            await send(message)

        return send_with_headers


def _hosts(port: int) -> set[str]:
    names = ("localhost", "127.0.0.1")
    hosts = {f"{name}:{port}" for name in names}
    return hosts | set(names) if port == 80 else hosts


def _decode(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _is_own_fetch(headers: dict[str, list[str]], is_write: bool) -> bool:
    """False for a request that another page made. Another port of this host is 'same-site', and
    its page would get our Strict cookie sent along, hence only 'same-origin' and 'none' pass.
    """
    site = headers.get("sec-fetch-site", ["none"])
    if site in (["same-origin"], ["none"]):
        return True
    mode, target = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    # Following a link to us is fine: the other page learns nothing from it.
    return not is_write and mode == ["navigate"] and target == ["document"]


def _token_of(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return parse_qs(query).get("token", [""])[0]


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())


def _security_headers(port: int, script_hashes: Iterable[str]) -> Headers:
    sockets = f"ws://localhost:{port} ws://127.0.0.1:{port}"
    hashes = " ".join(f"'{value}'" for value in script_hashes)
    policy = {
        "default-src": "'self'",
        # blob: is how Streamlit loads a component's script; model text never becomes one.
        "script-src": f"'self' blob: {hashes}".strip(),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' {sockets}",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    csp = "; ".join(f"{name} {value}" for name, value in policy.items())
    return [
        (b"content-security-policy", csp.encode()),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
