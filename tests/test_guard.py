"""The guard, asked directly over ASGI and over real sockets."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from streamlit.web import bootstrap
from streamlit.web.server.starlette import starlette_server

from studio import app, data
from studio.app import answer_at_once
from studio.guard import Guard

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"
REQUIRED = {
    "content-security-policy", "x-frame-options", "x-content-type-options", "referrer-policy",
    "cross-origin-opener-policy", "cross-origin-resource-policy",
}  # fmt: skip


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    reached: bool


class Asked:
    """A guard around an application that notes whether it was reached."""

    def __init__(self) -> None:
        self.links: list[str] = []
        self.reached = False
        self.guard = Guard(self._app, PORT, self.links.append, ["sha256-abc"])
        self.guard.print_link()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached = True
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": []})
            return
        headers = [(b"content-type", b"text/html"), (b"X-Frame-Options", b"ALLOWALL")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"inside"})

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        query: str = "",
        kind: str = "http",
        **headers: str | list[str] | None,
    ) -> Answer:
        """Headers by name with `_` for `-`; None leaves `host` out, a list repeats it."""
        given: dict[str, Any] = {"host": HOST, **headers}
        raw = [
            (name.replace("_", "-").encode(), one.encode("latin-1"))
            for name, value in given.items()
            if value is not None
            for one in (value if isinstance(value, list) else [value])
        ]
        scope = {
            "type": kind, "path": path, "raw_path": path.encode(), "headers": raw,
            "query_string": query.encode(), "method": method,
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        sent: list[dict[str, Any]] = []
        self.reached, self.scope = False, scope

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.guard(scope, receive, send))
        start = sent[0]
        answered = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(start.get("status", 101), answered, body, self.reached)

    @property
    def token(self) -> str:
        return self.links[-1].partition("token=")[2]

    def enter(self) -> str:
        """Use the link; returns the Cookie header."""
        answer = self.ask(query=f"token={self.token}")
        assert answer.status == 200 and not answer.reached
        return answer.headers["set-cookie"].partition(";")[0]


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_link_opens_the_studio_once(asked: Asked) -> None:
    link = asked.links[-1]
    assert link.startswith(f"http://127.0.0.1:{PORT}/?token=")
    answer = asked.ask(query=link.partition("?")[2])
    flags = [flag.strip() for flag in answer.headers["set-cookie"].split(";")[1:]]
    assert flags == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert answer.headers["set-cookie"].startswith(f"grpo_studio_{PORT}=")
    assert asked.token not in answer.body.decode() + str(answer.headers)
    again = asked.ask(query=link.partition("?")[2], accept="text/html")
    assert (again.status, again.reached) == (401, False)
    assert len(asked.links) == 2, "a used link that is opened again brings a fresh one"
    assert asked.links[1] != link


def test_a_fresh_link_is_printed_only_when_the_last_was_used(asked: Asked) -> None:
    for _ in range(3):
        assert asked.ask(accept="text/html").status == 401
    assert len(asked.links) == 1
    asked.enter()
    assert asked.ask(path="/api/runs").status == 401
    assert len(asked.links) == 1, "only a person's page brings a fresh link, not a poll"


def test_cookie_opens_every_route(asked: Asked) -> None:
    cookie = asked.enter()
    for path in ("/", "/live", "/api/runs", "/media/x.png", "/_stcore/health"):
        answer = asked.ask(path=path, cookie=f"other=1; {cookie}")
        assert (answer.status, answer.body) == (200, b"inside"), path
    assert asked.ask(kind="websocket", path="/_stcore/stream", origin=ORIGIN, cookie=cookie).reached
    noise = f"grpo_studio_{PORT}=planted-by-another-page; {cookie}"
    assert asked.ask(cookie=noise).reached, "a planted cookie of the same name locks nobody out"


@pytest.mark.parametrize("path", [
    "/", "/live", "/api/runs", "/api/assets/live.js", "/media/a.png", "/_stcore/health",
    "/_stcore/upload_file/a/b", "/static/js/x.js",
])  # fmt: skip
@pytest.mark.parametrize("cookie", ["", "grpo_studio_8765=", "grpo_studio_8765=wrong",
                                    "grpo_studio_8766=x", "broken;;=;"])  # fmt: skip
def test_no_session_no_answer(asked: Asked, path: str, cookie: str) -> None:
    answer = asked.ask(path=path, cookie=cookie)
    assert (answer.status, answer.reached) == (401, False)
    socket_answer = asked.ask(path=path, kind="websocket", origin=ORIGIN, cookie=cookie)
    assert (socket_answer.status, socket_answer.reached) == (401, False)


@pytest.mark.parametrize("token", ["", "x", "%00", "é", "a" * 5000])
def test_wrong_token(asked: Asked, token: str) -> None:
    assert asked.ask(query=f"token={token}").status == 401
    assert asked.ask(query=f"token={asked.token[:-1]}").status == 401
    assert asked.ask(method="POST", query=f"token={asked.token}", origin=ORIGIN).status == 401
    assert asked.ask(method="HEAD", query=f"token={asked.token}").status == 401


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:8765", "localhost", "127.0.0.1", "127.0.0.1:8766",
    "localhost.evil.example:8765", "127.0.0.1.nip.io:8765", "localhost.:8765", "LOCALHOST:8765",
    "[::1]:8765", "127.1:8765", "2130706433:8765", "0.0.0.0:8765", "0x7f000001:8765", "",
    "127.0.0.1:8765.", "127.0.0.1:08765", "user@127.0.0.1:8765", None,
    ["127.0.0.1:8765", "evil.example"], ["127.0.0.1:8765", "127.0.0.1:8765"],
])  # fmt: skip
def test_foreign_host(asked: Asked, host: Any) -> None:
    cookie = asked.enter()
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        answer = asked.ask(method=method, host=host, origin=ORIGIN, cookie=cookie)
        assert (answer.status, answer.reached) == (421, False), method
    # Rebinding: the page of evil.example is its own origin, and the name now points to us.
    first = host[0] if isinstance(host, list) and host else host
    rebound = asked.ask(kind="websocket", host=host, origin=f"http://{first}", cookie=cookie)
    assert (rebound.status, rebound.reached) == (421, False)
    assert asked.ask(host=host, query="token=" + asked.token).status == 421


@pytest.mark.parametrize("origin", [
    "http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:9999",
    "http://localhost:8765", "http://127.0.0.1", "http://127.0.0.1:8765/", "file://",
    "http://127.0.0.1:8765.evil.example", "", [ORIGIN, "http://evil.example"],
])  # fmt: skip
def test_foreign_origin(asked: Asked, origin: Any) -> None:
    cookie = asked.enter()
    for kind, method in (("websocket", "GET"), ("http", "POST"), ("http", "GET")):
        answer = asked.ask(kind=kind, method=method, origin=origin, cookie=cookie)
        assert (answer.status, answer.reached) == (403, False), (kind, method)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_origin_is_required_where_something_could_change(asked: Asked, method: str) -> None:
    cookie = asked.enter()
    assert asked.ask(method=method, cookie=cookie).status == 403
    assert asked.ask(method=method, cookie=cookie, origin=ORIGIN).reached
    assert asked.ask(kind="websocket", cookie=cookie).status == 403


def test_fetch_metadata(asked: Asked) -> None:
    cookie = asked.enter()
    for site in ("cross-site", "same-site", "bogus"):
        answer = asked.ask(path="/api/runs", cookie=cookie, sec_fetch_site=site)
        assert (answer.status, answer.reached) == (403, False), "a script tag of another port"
        link = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
        assert asked.ask(cookie=cookie, sec_fetch_site=site, **link).reached
        frame = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
        assert asked.ask(cookie=cookie, sec_fetch_site=site, **frame).status == 403
        post = asked.ask(method="POST", cookie=cookie, origin=ORIGIN, sec_fetch_site=site, **link)
        assert post.status == 403
    for site in ("same-origin", "none"):
        assert asked.ask(cookie=cookie, sec_fetch_site=site).reached


def test_every_answer_carries_the_headers(asked: Asked) -> None:
    cookie = asked.enter()
    answers = [
        asked.ask(), asked.ask(host="evil"), asked.ask(origin="null"), asked.ask(cookie=cookie),
        asked.ask(query="token=x"), asked.ask(cookie=cookie, query="token=x"),
        asked.ask(kind="websocket"), asked.ask(kind="websocket", origin=ORIGIN, cookie=cookie),
        asked.ask(query=f"token={asked.token}"),
    ]  # fmt: skip
    assert {answer.status for answer in answers} >= {101, 200, 303, 401, 403, 421}
    for answer in answers:
        assert set(answer.headers) >= REQUIRED, answer.status
        assert answer.headers["x-frame-options"] == "DENY", "ours, not the application's"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "default-src 'self'" in policy
        scripts = re.search("script-src ([^;]*)", policy)
        assert scripts and scripts[1] == "'self' blob: 'sha256-abc'"
        assert "http://" not in policy and "https://" not in policy and "*" not in policy


def test_token_leaves_the_scope_before_anything_can_log_it(asked: Asked) -> None:
    token = asked.token
    asked.ask(query=f"token={token}")
    assert token.encode() not in asked.scope["query_string"]
    asked.ask(query="token=wrong-but-secret")
    assert asked.scope["query_string"] == b""


def test_session_request_with_a_token_is_sent_to_the_clean_address(asked: Asked) -> None:
    answer = asked.ask(cookie=asked.enter(), query="token=used")
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_port_80_has_no_port_in_its_host() -> None:
    guard = Guard(lambda *_: None, 80, lambda _: None)  # type: ignore[arg-type,return-value]
    assert {"localhost", "127.0.0.1", "localhost:80"} <= guard._hosts


def test_browser_is_opened_by_way_of_a_private_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line of a browser, every user of the machine could read the token."""
    from studio import app

    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(app.webbrowser, "open", opened.append)
    app._open_in_browser("http://127.0.0.1:1/?token=secret")
    deadline = time.monotonic() + 5
    while not opened and time.monotonic() < deadline:
        time.sleep(0.01)
    (address,) = opened
    assert address.startswith("file://") and "secret" not in address
    page = Path(address.removeprefix("file://"))
    assert "token=secret" in page.read_text()
    assert page.stat().st_mode & 0o077 == 0 and page.parent.stat().st_mode & 0o077 == 0


def test_port_that_is_no_port() -> None:
    from studio.app import serve

    for port in (0, -1, 65536):
        with pytest.raises(ValueError, match="a port is a number from 1 to 65535"):
            serve(port, Path("unused"), open_browser=False)


def test_runs_dir_that_is_a_file(tmp_path: Path) -> None:
    from studio.app import serve

    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be the folder of runs"):
        serve(free_port(), tmp_path / "file", open_browser=False)


# --- over real sockets ---------------------------------------------------------------------------


@dataclass
class Server:
    port: int
    process: subprocess.Popen[str]
    output: Path
    cookie: str = ""

    def raw(self, text: str) -> str:
        """Send bytes as they are; returns the head of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(text.replace("\n", "\r\n").encode("latin-1"))
            answer = b""
            while b"\r\n\r\n" not in answer:
                got = connection.recv(65536)
                if not got:
                    break
                answer += got
        return answer.decode("latin-1")

    def get(self, path: str, *lines: str, host: str | None = None, method: str = "GET") -> str:
        head = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}", *lines]
        return self.raw("\n".join([*head, "Connection: close", "", ""]))

    def upgrade(self, *lines: str, host: str | None = None) -> str:
        head = [
            "GET /_stcore/stream HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}",
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *lines, "", "",
        ]  # fmt: skip
        return self.raw("\n".join(head))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`grpo-studio --no-browser` as a person starts it, with a session."""
    folder = tmp_path_factory.mktemp("studio")
    port, output = free_port(), folder / "output.txt"
    command = [sys.executable, "-m", "grpo_core.cli", "--port", str(port), "--no-browser"]
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command, "--runs-dir", str(folder / "runs")], stdout=file, stderr=file, text=True
        )
    link = None
    for _ in range(300):
        link = re.search(r"http://127\.0\.0\.1:\d+/\?token=(\S+)", output.read_text())
        if link:
            break
        assert process.poll() is None, output.read_text()
        time.sleep(0.1)
    assert link, "no link was printed"
    found = Server(port, process, output)
    entered = found.get(f"/?token={link[1]}")
    assert entered.startswith("HTTP/1.1 200")
    match = re.search(r"set-cookie: ([^;]+);", entered, re.IGNORECASE)
    assert match
    found.cookie = f"Cookie: {match[1]}"
    yield found
    process.terminate()
    process.wait(timeout=20)


def test_socket_listens_on_loopback_only(server: Server) -> None:
    import psutil

    all_of_it = psutil.Process(server.process.pid).net_connections()
    listening = [(c.laddr.ip, c.laddr.port) for c in all_of_it if c.status == "LISTEN"]
    assert listening == [("127.0.0.1", server.port)]


@pytest.mark.parametrize("path", [
    "/", "/live", "/api/runs", "/api/assets/live.js", "/media/x.png", "/_stcore/health",
    "/_stcore/host-config", "/_stcore/metrics", "/_stcore/agent/openapi.json", "/static/x.js",
    "/component/x", "/nothing", "/..%2f..%2fetc/passwd", "//evil.example/",
])  # fmt: skip
def test_sockets_every_route_wants_the_cookie(server: Server, path: str) -> None:
    assert server.get(path).startswith("HTTP/1.1 401")
    assert server.get(path, server.cookie, host="evil.example").startswith("HTTP/1.1 421")
    inside = server.get(path, server.cookie)
    assert not inside.startswith(("HTTP/1.1 401", "HTTP/1.1 5"))
    for name in REQUIRED:
        assert f"\r\n{name}: " in inside.lower(), f"{path} has no {name}"


def test_sockets_websocket(server: Server) -> None:
    origin = f"Origin: http://127.0.0.1:{server.port}"
    assert server.upgrade(origin, server.cookie).startswith("HTTP/1.1 101")
    assert server.upgrade(origin).startswith("HTTP/1.1 401")
    assert server.upgrade(server.cookie).startswith("HTTP/1.1 403")
    assert server.upgrade("Origin: http://evil.example", server.cookie).startswith("HTTP/1.1 403")
    other_port = f"Origin: http://127.0.0.1:{server.port + 1}"
    assert server.upgrade(other_port, server.cookie).startswith("HTTP/1.1 403")
    rebinding = server.upgrade(
        f"Origin: http://evil.example:{server.port}", server.cookie,
        host=f"evil.example:{server.port}",
    )  # fmt: skip
    assert rebinding.startswith("HTTP/1.1 421")


def test_sockets_odd_requests(server: Server) -> None:
    home = f"127.0.0.1:{server.port}"
    twice = server.get("/", f"Host: {home}", server.cookie)
    assert twice.startswith(("HTTP/1.1 400", "HTTP/1.1 421"))
    without = server.raw(f"GET / HTTP/1.1\n{server.cookie}\nConnection: close\n\n")
    assert without.startswith(("HTTP/1.1 400", "HTTP/1.1 421"))
    absolute = server.raw(
        f"GET http://evil.example/ HTTP/1.1\nHost: evil.example\n{server.cookie}\n"
        "Connection: close\n\n"
    )
    assert absolute.startswith("HTTP/1.1 421")
    upload = server.get("/_stcore/upload_file/a/b", server.cookie, method="PUT")
    assert upload.startswith("HTTP/1.1 403")
    assert server.get("/api/runs", server.cookie, method="POST").startswith("HTTP/1.1 403")


def test_token_is_in_no_log_and_no_process_list(server: Server) -> None:
    server.get("/?token=secret-guess-1")
    server.get("/?token=secret-guess-2", server.cookie)
    printed = server.output.read_text()
    assert "secret-guess" not in printed
    tokens = re.findall(r"token=(\S+)", printed)
    assert len(tokens) == 1, "the link stands in the terminal once, and nothing else does"
    import psutil

    shown = " ".join(psutil.Process(server.process.pid).cmdline())
    environment = Path(f"/proc/{server.process.pid}/environ").read_text(errors="replace")
    assert tokens[0] not in shown + environment


def test_server_is_light(server: Server) -> None:
    """No torch in the process that serves the page, and little memory."""
    import psutil

    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert psutil.Process(server.process.pid).memory_info().rss < 300e6


def test_taken_port_is_refused_with_one_sentence(server: Server) -> None:
    command = [sys.executable, "-m", "grpo_core.cli", "--port", str(server.port), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"--port {server.port}" in done.stderr and "another" in done.stderr
    assert done.stdout == "", "no link to somebody else's server"


def test_no_file_of_settings_is_watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    watched = []
    monkeypatch.setattr(bootstrap, "watch_file", lambda path, *_, **__: watched.append(path))
    monkeypatch.setattr(bootstrap, "_install_config_watchers", bootstrap._install_config_watchers)
    bootstrap._install_config_watchers({})
    assert watched, "Streamlit does so by itself"
    watched.clear()
    monkeypatch.setattr(starlette_server, "_bind_socket", starlette_server._bind_socket)
    monkeypatch.setattr(
        app.StudioApp, "run", lambda *_, **__: bootstrap._install_config_watchers({})
    )
    before = data.runs_dir()
    app.serve(PORT + 4321, tmp_path, open_browser=False)
    data.set_runs_dir(before)
    assert watched == []


def test_answers_do_not_wait_for_the_browsers_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starlette_server, "_bind_socket", starlette_server._bind_socket)
    answer_at_once()
    with starlette_server._bind_socket("127.0.0.1", 0, 5) as listening:
        listening.setblocking(True)
        with socket.create_connection(listening.getsockname()):
            connection, _ = listening.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
