"""The studio's server: Streamlit's own ASGI app with our routes in it and the guard around it."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import socket
import sys
import tempfile
import threading
import traceback
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.types import Receive, Scope, Send
from streamlit.web import bootstrap
from streamlit.web.server.starlette import starlette_server

from studio import api, data
from studio.guard import Guard
from studio.theme import THEME

ADDRESS = "127.0.0.1"
SCRIPT = Path(__file__).parent / "navigation.py"


class StudioApp(st.App):
    """`st.App` behind the guard. Outermost, so that error answers carry its headers as well."""

    def __init__(self, port: int) -> None:
        super().__init__(
            SCRIPT, routes=api.routes(), lifespan=self._started, on_script_error=show_fault
        )
        self.guard = Guard(super().__call__, port, _print_link, _inline_script_hashes())
        self.open_browser = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.guard(scope, receive, send)

    @asynccontextmanager
    async def _started(self, _: st.App) -> AsyncIterator[dict[str, Any]]:
        link = self.guard.print_link()
        if self.open_browser:
            _open_in_browser(link)
        yield {}


def serve(port: int, runs_dir: Path, open_browser: bool) -> None:
    """Serve the studio on 127.0.0.1 until Ctrl-C.

    Raises ValueError if the port is taken or no port, or if `runs_dir` cannot be a folder.
    """
    _check_port(port)
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{runs_dir}: cannot be the folder of runs: {error.strerror}") from None
    data.set_runs_dir(runs_dir.resolve())
    answer_at_once()
    watch_no_settings()
    app = StudioApp(port)
    app.open_browser = open_browser
    app.run(config=settings(port))


def answer_at_once() -> None:
    """Switch off Nagle's algorithm for all connections to come.

    asyncio does so for sockets that name TCP as their protocol. Streamlit's listening socket names
    none, and each answer on a kept connection would wait 40 ms for the browser's acknowledgement.
    """
    bind = starlette_server._bind_socket

    def bind_and_set(address: str, port: int, backlog: int) -> socket.socket:
        listening = bind(address, port, backlog)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
        return listening

    starlette_server._bind_socket = bind_and_set


def watch_no_settings() -> None:
    """Let Streamlit not look at its config files five times a second each, in threads of their own.

    Ours are given here; what a person sets in a file of their own counts from the next start on.
    """

    def watch_none(flag_options: dict[str, Any]) -> None:
        return

    bootstrap._install_config_watchers = watch_none


def settings(port: int) -> dict[str, Any]:
    """Streamlit's settings; being here, those that matter for safety beat any config file."""
    return {
        "server.address": ADDRESS,
        "server.port": port,
        # The guard checks these as well; two walls are better than one.
        "server.allowedHosts": ["localhost", "127.0.0.1"],
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "server.baseUrlPath": "",
        "server.headless": True,
        "server.runOnSave": False,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 1,
        # A laptop that slept an hour comes back to the page as it was.
        "server.disconnectedSessionTTL": 3600,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": True,
        **THEME,
    }


def show_fault(error: Exception) -> bool:
    """A fault of ours: the details go to the terminal, the page says so and stays usable."""
    traceback.print_exception(error, file=sys.stderr)
    st.error(
        "Something went wrong on this page; the details are in the terminal. "
        "Your runs are not affected. Reload the page to go on."
    )
    return True


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ValueError(f"--port {port}: a port is a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            raise ValueError(
                f"--port {port}: cannot be used ({error.strerror}); is a studio open there "
                f"already? Choose another, for example --port {other}"
            ) from None


def _print_link(link: str) -> None:
    print(f"\n  GRPO Studio is open at\n\n    {link}\n", flush=True)


def _open_in_browser(link: str) -> None:
    """Open the link without its token in any process list: by way of a file only we may read."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return
    folder = tempfile.TemporaryDirectory(prefix="grpo-studio-")
    page = Path(folder.name) / "open.html"
    page.touch(mode=0o600)
    page.write_text(f'<meta http-equiv="refresh" content="0;url={link}">', encoding="utf-8")
    threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
    reminder = threading.Timer(60, folder.cleanup)
    reminder.daemon = True
    reminder.start()


def _inline_script_hashes() -> list[str]:
    """CSP hashes of the scripts that stand inside Streamlit's own page."""
    page = Path(st.__file__).parent / "static" / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    return [f"sha256-{base64.b64encode(digest).decode()}" for digest in digests]


# Streamlit warns that no file watcher is installed; we use none.
logging.getLogger("streamlit.watcher").setLevel(logging.ERROR)
# … and that there is no server yet when our modules are loaded.
logging.getLogger("streamlit.runtime.caching").setLevel(logging.ERROR)
