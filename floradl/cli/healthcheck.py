"""Reporting a job to a monitor (`--ping-url`) by the convention of healthchecks.io, which others share.

`POST URL/start` says that the job begins, `POST URL` that it ended with exit code 0, and `POST URL/<exit
code>` that it ended with another. The last request's body is the summary, at most 10 kB. All requests of a
job carry the same `rid`, a random UUID, so that the monitor can tell jobs apart which overlap. The URL's
query is kept.

A monitor that cannot be reached causes a warning and changes nothing else. The URL is a secret: anybody who
knows it can report that all is well. So messages name only its host.

Source: https://healthchecks.io/docs/http_api/
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl, urlsplit

import httpx

from floradl.clock import Clock
from floradl.errors import printable
from floradl.network import addresses
from floradl.network.deadlines import head_within

MAX_BODY_BYTES = 10_000

_TIMEOUT_S = 10.0
_WAITS_S = (1.0, 3.0)
_WORTH_A_RETRY = {408, 425, 429}


class Healthcheck:
    """Reports one job to a monitor.

    Args:
        url: the monitor's address, http or https.
        clock: waits between tries.
        warn: called with a message when the monitor could not be reached.
        transport: for tests.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        warn: Callable[[str], None],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._warn = warn
        self._transport = transport
        self._rid = str(uuid.uuid4())

    async def start(self) -> None:
        """Report that the job begins."""
        await self._post("/start", b"")

    async def end(self, exit_code: int, lines: Sequence[str]) -> None:
        """Report that the job ended with this exit code; `lines` are its summary."""
        text = "\n".join(printable(line, limit=1000) for line in lines)
        await self._post(f"/{exit_code}" if exit_code else "", text.encode()[:MAX_BODY_BYTES])

    def address(self, suffix: str) -> str:
        """The URL of a request: the monitor's, with a suffix to its path, and `rid` added to its query."""
        parts = urlsplit(self._url)
        has_rid = any(name == "rid" for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        query = parts.query if has_rid else "&".join(filter(None, (parts.query, f"rid={self._rid}")))
        return parts._replace(path=parts.path.rstrip("/") + suffix, query=query, fragment="").geturl()

    async def _post(self, suffix: str, body: bytes) -> None:
        host = urlsplit(self._url).hostname or ""
        reason = ""
        # Not the client of FLORA's API, which sends the key. A monitor on this machine is asked without
        # proxy.
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_S, trust_env=not addresses.is_loopback_host(host), transport=self._transport
        ) as client:
            for wait_s in (*_WAITS_S, None):
                try:
                    request = client.build_request(
                        "POST",
                        self.address(suffix),
                        content=body,
                        headers={"Content-Type": "text/plain; charset=utf-8"},
                    )
                    # Only the status matters. What else a monitor sends is not read: it might have no end.
                    response = await head_within(_TIMEOUT_S, client.send(request, stream=True))
                    await response.aclose()
                except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
                    reason, is_final = type(exc).__name__, False
                else:
                    if response.is_success:
                        return
                    status = response.status_code
                    reason = f"it answered {status}"
                    is_final = status < 500 and status not in _WORTH_A_RETRY
                if is_final or wait_s is None:
                    break
                await self._clock.sleep(wait_s)
        self._warn(f"the monitor at {printable(host)} could not be told: {reason}")
