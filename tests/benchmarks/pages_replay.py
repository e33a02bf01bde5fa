"""Tabs without a browser: ask again and again what a real tab asked. Only the standard library, so
that the process is light.

Reads lines: first the plan as JSON, then `on` and `off`; answers each of these with one line of
JSON: what was asked since the one before. Ends with its standard input.
"""

from __future__ import annotations

import gzip
import heapq
import http.client
import json
import select
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

KEPT_ALIVE_S = 3.0
"""The server closes a connection that is idle for 5 s."""


class Client:
    """One tab: the routes that it polls, with the parameters that follow the answers."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", plan["port"], timeout=60)
        self.asked = 0.0
        self.headers, self.follows = plan["headers"], plan["follows"]
        self.queries = [dict(parse_qsl(route["query"])) for route in plan["routes"]]
        self.paths = [route["path"] for route in plan["routes"]]

    def ask(self, index: int) -> int:
        """Ask for a route; bytes of the answer as sent."""
        query = urlencode(self.queries[index])
        path = f"{self.paths[index]}?{query}" if query else self.paths[index]
        if time.monotonic() - self.asked > KEPT_ALIVE_S:
            self.connection.close()  # the next request opens it again, as a browser does
        self.asked = time.monotonic()
        self.connection.request("GET", path, headers=self.headers)
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        is_packed = response.headers["content-encoding"] == "gzip"
        answer = json.loads(gzip.decompress(body) if is_packed else body)
        for name, key in self.follows.items():
            if name in self.queries[index] and key in answer:
                self.queries[index][name] = str(answer[key])
        return len(body)


class Replay:
    """Some clients, evenly apart."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.intervals = [route["interval_s"] for route in plan["routes"]]
        self.clients = [Client(plan) for _ in range(plan["num_clients"])]
        self.due: list[tuple[float, int, int]] = []
        self.begin()
        self.due.clear()

    def begin(self) -> None:
        """From now on the clients ask; what they asked is counted anew."""
        self.requests, self.bytes, self.cpu = 0, 0, time.process_time()
        now = time.monotonic()
        for number in range(len(self.clients)):
            for index, interval in enumerate(self.intervals):
                when = now + interval * number / len(self.clients)
                heapq.heappush(self.due, (when, number, index))

    def wait_s(self) -> float | None:
        """Seconds until the next request, None where there is none."""
        return max(0.0, self.due[0][0] - time.monotonic()) if self.due else None

    def ask_due(self) -> None:
        """Send the next request if it is time."""
        if not self.due or self.due[0][0] > time.monotonic():
            return
        when, number, index = heapq.heappop(self.due)
        self.bytes += self.clients[number].ask(index)
        self.requests += 1
        heapq.heappush(self.due, (when + self.intervals[index], number, index))

    def said(self) -> dict[str, float]:
        """What was asked since `begin`."""
        cpu_s = time.process_time() - self.cpu
        return {"requests": self.requests, "bytes": self.bytes, "cpu_s": cpu_s}


def main() -> None:
    """Ask while told to."""
    lines = open(0, "rb", buffering=0)  # noqa: SIM115  (a buffer would hide a line from select)
    replay = Replay(json.loads(lines.readline()))
    while True:
        if not select.select([lines], [], [], replay.wait_s())[0]:
            replay.ask_due()
            continue
        word = lines.readline().decode().strip()
        if not word:
            break
        said = replay.said()
        replay.due.clear()
        replay.begin()
        if word == "off":
            replay.due.clear()
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
