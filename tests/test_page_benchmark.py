"""The parts of the page benchmark that are not measurements."""

from __future__ import annotations

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from benchmarks import pages_clients, pages_report
from benchmarks.pages_clients import Window
from benchmarks.pages_replay import Client


def test_slope() -> None:
    # y = 1, 3, 4, 6: slope 1.6, residuals -0.1, 0.3, -0.3, 0.1: sqrt(0.2 / 2 / 5)
    found = pages_report.slope([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 4.0, 6.0])
    assert found["slope"] == pytest.approx(1.6) and found["error"] == pytest.approx(0.02**0.5)
    assert (found["first"], found["last"]) == (1.0, 6.0)
    assert math.isnan(pages_report.slope([0.0, 1.0], [1.0, 3.0])["error"])


def test_paired_ratio() -> None:
    found = pages_report.paired_ratio([(1.0, 1.0), (2.0, 8.0)])
    assert found["ratio"] == pytest.approx(2.0), "the geometric mean of 1 and 4"
    assert (found["low"], found["high"]) == pytest.approx((1.0, 4.0))
    same = pages_report.paired_ratio([(n, 1.5 * n) for n in range(1, 21)])
    assert [same[name] for name in ("ratio", "low", "high")] == pytest.approx([1.5] * 3)


def window(pair: int, has_clients: bool, began: float) -> Window:
    work = {"server_cpu": 5.0, "server_children_cpu": 0.0, "replay_cpu": 1.0, "requests": 7}
    return Window(pair, has_clients, began, began + 10, work)


def test_windows_count_whole_steps_only() -> None:
    def step(ended: float, seconds: float) -> dict[str, float]:
        return {"time": ended, "seconds": seconds, "one": 1, "tokens": 100 * seconds}

    # without: 2 s and 2 s; with: 3 s; the others lie across an edge, or in a pair without its other
    steps = [step(*given) for given in [(1, 2), (3, 2), (6, 2), (11, 4), (23, 3), (31, 3), (45, 1)]]
    found = [window(0, False, 0), window(0, True, 20), window(1, False, 40), window(1, True, 60)]
    compared = pages_clients.compare(steps, found)
    assert compared["per_step"]["ratio"] == pytest.approx(1.5)
    assert compared["per_token"]["ratio"] == pytest.approx(1.0)
    assert compared["per_step"]["pairs"] == compared["lost_pairs"] == 1
    assert compared["without"]["steps"] == 2 and compared["with"]["steps"] == 1
    assert compared["with"]["requests"] == 14


def test_a_route_is_asked_for_as_often_and_follows_its_answers() -> None:
    queries = [f"since={n}&attempt=1" for n in range(5)]
    plan = pages_clients._route("/m", queries, {"since": "cursor"})
    assert plan == {"path": "/m", "query": queries[-1], "interval_s": 3.0}
    with pytest.raises(ValueError, match="since changes"):
        pages_clients._route("/m", queries, {"attempt": "attempt"})

    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(parse_qsl(urlsplit(self.path).query)))
            body = json.dumps({"cursor": 40 + len(asked)}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    given = {"port": server.server_port, "headers": {}, "follows": {"since": "cursor"}}
    client = Client({**given, "routes": [plan]})
    assert client.ask(0) == client.ask(0) == len('{"cursor": 41}')
    server.shutdown()
    server.server_close()
    assert [query["since"] for query in asked] == ["4", "41"]
    assert [query["attempt"] for query in asked] == ["1", "1"]


def test_tables_line_up() -> None:
    text = pages_report.table(("what", "ms"), [["a", 1234.5], ["bb", 0.12345], ["c", None]])
    assert text.splitlines() == [
        "what     ms", "----  -----", "a     1,234", "bb    0.123", "c",
    ]  # fmt: skip
