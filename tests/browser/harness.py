"""A studio with its server, and a tab of a real browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = (
    "<script>window.hacked=1</script>"
    "<img src='http://evil.example/a.png' onerror='window.hacked=1'>"
    "![x](http://evil.example/b.png)<svg onload='window.hacked=1'></svg>"
    "\u202e\u0000\x1b[31m</div>"
)


class Studio:
    """A server process and its link; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs_dir = folder, folder / "runs"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.num = 0
        self.cwd: Path | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.num += 1
        self.output = self.folder / f"output-{self.num}.txt"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "serve.py"), str(self.port), str(self.runs_dir)],
                stdout=file, stderr=file, start_new_session=True, cwd=self.cwd,
            )  # fmt: skip
        wait_for(lambda: bool(self.links()), 30)

    def links(self) -> list[str]:
        return re.findall(r"http://\S+token=\S+", self.output.read_text())

    def kill(self) -> None:
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait_for(condition: Callable[[], Any], timeout: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


class Tab:
    """A page with everything it asked for and complained about."""

    def __init__(self, browser: Any, studio: Studio, scheme: str = "light") -> None:
        self.context = browser.new_context(
            color_scheme=scheme, viewport={"width": 1400, "height": 1000}
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.foreign: list[str] = []
        self.errors: list[str] = []
        own = f"127.0.0.1:{studio.port}/"
        self.page.on("request", lambda request: self._note(request.url, own))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.studio = studio

    def _note(self, url: str, own: str) -> None:
        if not url.startswith(("data:", "blob:", f"http://{own}", f"ws://{own}")):
            self.foreign.append(url)

    def enter(self) -> Tab:
        """Open the link, or ask for a fresh one as a person with a used link would."""
        self.page.goto(self.studio.links()[-1])
        if self.page.get_by_text("Open the link that stands in the terminal").count():
            num = len(self.studio.links())
            self.page.goto(f"http://127.0.0.1:{self.studio.port}/")
            wait_for(lambda: len(self.studio.links()) >= num)
            self.page.goto(self.studio.links()[-1])
        self.settled()
        self.errors.clear()
        return self

    def go(self, path: str) -> None:
        self.page.goto(f"http://127.0.0.1:{self.studio.port}/{path}")
        self.settled()

    def settled(self) -> None:
        self.page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")

    def number(self, name: str) -> int:
        """A counter of the live component."""
        return int(self.page.locator(f"[data-{name}]").first.get_attribute(f"data-{name}"))

    def close(self) -> None:
        self.context.close()
