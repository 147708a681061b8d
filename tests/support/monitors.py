"""A monitoring service for tests: an HTTP server that records the requests that it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Told:
    """One request that the monitor got."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str


@dataclass
class FakeMonitor:
    """The requests so far, and the statuses that answer them in turn; the last one is repeated."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    told: list[Told] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """The paths of the requests so far."""
        return [told.path for told in self.told]


@contextmanager
def monitor(*statuses: int) -> Iterator[FakeMonitor]:
    """Serve a monitor on loopback."""
    fake = FakeMonitor(statuses=list(statuses) or [200])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            path, _, query = self.path.partition("?")
            fake.told.append(Told("POST", path, query, dict(self.headers.items()), body))
            self.send_response(fake.statuses.pop(0) if len(fake.statuses) > 1 else fake.statuses[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing: it would go to the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/ping/0d338dcc"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
