"""A tab with a stopwatch: when something is to be seen, and what the browser worked for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psutil
from browser.harness import Studio, Tab

WATCH = """
({selector, count, painted}) => {
  const all = (selector, root = document, found = []) => {
    found.push(...root.querySelectorAll(selector));
    for (const node of root.querySelectorAll("*")) if (node.shadowRoot) all(selector, node.shadowRoot, found);
    return found;
  };
  const isPainted = (canvas) => canvas.width > 0 && canvas.height > 0
    && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0);
  const began = performance.now();
  window.benchStart = 0;
  const note = (event) => { window.benchStart ||= event.timeStamp; };
  for (const kind of ["click", "keydown"]) addEventListener(kind, note, { capture: true, once: true });
  window.benchReady = new Promise((resolve, reject) => {
    const look = () => {
      const found = all(selector);
      if (found.length >= count && (!painted || all("canvas").some(isPainted))) resolve(performance.now());
      else if (performance.now() - began > 60000) reject(new Error(`waited for ${selector} in vain`));
      else setTimeout(look, 20);
    };
    look();
  });
}
"""  # noqa: E501
COUNT = """
() => {
  const walk = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    let num = 0;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      num += 1;
      if (node.shadowRoot) num += walk(node.shadowRoot);
    }
    return num;
  };
  return walk(document);
}
"""
VISIBLE = """
() => {
  const canvases = (root) => [...root.querySelectorAll("*")].flatMap((node) => [
    ...(node.tagName === "CANVAS" ? [node] : []), ...(node.shadowRoot ? canvases(node.shadowRoot) : []),
  ]);
  return canvases(document).map((canvas) => canvas.getBoundingClientRect())
    .filter((box) => box.width > 100 && box.height > 60 && box.top >= 0 && box.bottom <= innerHeight).length;
}
"""  # noqa: E501
WORK = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
QUIET_S = 0.25


@dataclass(frozen=True)
class Places:
    """Where things are on the pages, as CSS selectors and addresses; `--place NAME=VALUE`."""

    live: str = "live?run={run}"
    live_link: str = "Live"
    live_ready: str = "[data-step='{step}']"
    """The counter of the last step that the curves show."""
    inspector: str = "inspector?run={run}&step={step}"
    inspector_link: str = "Inspector"
    completion: str = ".row"
    """One for each completion listed."""
    elsewhere_link: str = "New run"
    elsewhere_ready: str = "[data-testid=stMainBlockContainer] [data-testid=stTextInput]"
    """A page without a run, to come from."""
    to_wide: str = "key:]"
    """From step 1 of the wide run to its step 2: `click:SELECTOR` or `key:KEY`."""
    to_tokens: str = ""
    """Shows the numbers of the tokens; empty where they are shown from the beginning."""
    tokens_ready: str = ".chunk > span:nth-child(200)"
    """There once the open completion shows them."""
    follows: str = "since=cursor,attempt=attempt,seen=seen,source=source"
    """Which entry of an answer becomes which parameter of the next request of the same route."""


@dataclass(frozen=True)
class Wanted:
    """What is waited for: `count` nodes, and where `painted` a canvas that is not empty."""

    selector: str
    count: int = 1
    painted: bool = False


class Watched:
    """A tab and what its browser did for it."""

    def __init__(self, browser: Any, studio: Studio, cookies: list[Any] | None = None) -> None:
        self.tab = Tab(browser, studio)
        self.page = self.tab.page
        self.url = f"http://127.0.0.1:{studio.port}/"
        if cookies is None:
            self.tab.enter()
        else:
            self.tab.context.add_cookies(cookies)
        self.devtools = self.tab.context.new_cdp_session(self.page)
        self.devtools.send("Performance.enable")

    def cookies(self) -> list[Any]:
        """What lets another tab in."""
        return self.tab.context.cookies()

    def close(self) -> None:
        """Close the tab and its context."""
        self.tab.close()

    def load(self, path: str, wanted: Wanted) -> float:
        """Open an address; ms from the navigation until `wanted` is there."""
        self.page.goto(self.url + path, wait_until="commit")
        self._watch(wanted)
        return float(self.page.evaluate("() => window.benchReady"))

    def act(self, what: str, wanted: Wanted) -> float:
        """`click:SELECTOR`, `link:NAME` or `key:KEY`; ms from the event until `wanted` is there."""
        kind, _, name = what.partition(":")
        self._watch(wanted)
        if kind == "click":
            self.page.locator(name).first.click()
        elif kind == "link":
            self.page.get_by_role("link", name=name, exact=True).first.click()
        elif kind == "key":
            self.page.keyboard.press(name)
        else:
            raise ValueError(f"{what}: expected click:SELECTOR, link:NAME or key:KEY")
        return float(self.page.evaluate("async () => await window.benchReady - window.benchStart"))

    def _watch(self, wanted: Wanted) -> None:
        self.page.evaluate(WATCH, vars(wanted))

    def metrics(self) -> dict[str, float]:
        """Chromium's counters of this page: seconds of work, bytes of heap, number of nodes."""
        found = self.devtools.send("Performance.getMetrics")["metrics"]
        return {metric["name"]: metric["value"] for metric in found}

    def wait(self, seconds: float) -> None:
        """Let the page go on."""
        self.page.wait_for_timeout(1000 * seconds)

    def until_quiet(self, timeout: float = 60.0) -> None:
        """Wait until the main thread has worked less than 4 % of three quarters of a second."""
        deadline, still = time.monotonic() + timeout, 0
        before = self.metrics()["TaskDuration"]
        while still < 3 and time.monotonic() < deadline:
            self.wait(QUIET_S)
            now = self.metrics()["TaskDuration"]
            still = still + 1 if now - before < 0.04 * QUIET_S else 0
            before = now

    def size(self) -> dict[str, float]:
        """Nodes and heap after a collection: elements and texts, all nodes, MB."""
        self.devtools.send("HeapProfiler.collectGarbage")
        found = self.metrics()
        return {
            "nodes": self.page.evaluate(COUNT),
            "nodes_all": found["Nodes"],
            "heap_mb": found["JSHeapUsedSize"] / 1e6,
        }

    def charts_visible(self) -> int:
        """Canvases of a chart's size that lie in the window."""
        return int(self.page.evaluate(VISIBLE))


class Meter:
    """Work of a tab, of the server and of its children over a stretch of time."""

    def __init__(self, studio: Studio, watched: Watched | None = None) -> None:
        assert studio.process
        self.server = psutil.Process(studio.process.pid)
        self.watched = watched
        self.browser = _browser_processes() if watched else []
        self.began, self.before = time.perf_counter(), self._now()

    def _now(self) -> dict[str, float]:
        own = self.server.cpu_times()
        children = own.children_user + own.children_system  # of those that ended
        for child in self.server.children(recursive=True):
            children += _seconds(child)
        found = {"server_cpu": own.user + own.system, "server_children_cpu": children}
        if self.watched:
            metrics = self.watched.metrics()
            found |= {name: metrics[name] for name in WORK}
            found["browser_cpu"] = sum(_seconds(process) for process in self.browser)
        return found

    def read(self) -> dict[str, float]:
        """ms of work in each second since the meter began."""
        now, seconds = self._now(), time.perf_counter() - self.began
        return {name: 1000 * (now[name] - self.before[name]) / seconds for name in now} | {
            "seconds": seconds
        }


def _seconds(process: psutil.Process) -> float:
    """CPU time of a process; none for one that is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _browser_processes() -> list[psutil.Process]:
    """All processes of the browser that this process started."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if "chrom" in process.name().lower()]


def server_rss_mb(studio: Studio) -> float:
    """Resident memory of the server."""
    assert studio.process
    return float(psutil.Process(studio.process.pid).memory_info().rss / 1e6)
