"""Telling a monitor how a job goes: the convention of healthchecks.io, which other monitors share.

`POST URL/start` when the job begins, `POST URL` when it ended with exit code 0, `POST URL/<exit code>` when
it ended with another. The body of the last is the summary, at most 10 kB. All of a job's requests carry
the same `rid`, a random UUID, so that jobs which overlap are not mixed up; the URL's own query is kept.

A monitor that does not answer is a warning and changes nothing. Its URL is a secret of its own: whoever knows
it can say that all is well. So messages name its host alone.

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

MAX_BODY_BYTES = 10_000

_TIMEOUT_S = 10.0
_WAITS_S = (1.0, 3.0)
_WORTH_A_RETRY = {408, 425, 429}


class Healthcheck:
    """One job, as a monitor hears of it.

    Args:
        url: the monitor's, http or https.
        clock: for the waits between tries.
        warn: hears when the monitor could not be told.
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
        """The job begins."""
        await self._post("/start", b"")

    async def end(self, exit_code: int, lines: Sequence[str]) -> None:
        """The job ended with this exit code; `lines` are its summary."""
        text = "\n".join(printable(line, limit=1000) for line in lines)
        await self._post(f"/{exit_code}" if exit_code else "", text.encode()[:MAX_BODY_BYTES])

    def address(self, suffix: str) -> str:
        """The URL to ask, with its query and the job's id."""
        parts = urlsplit(self._url)
        has_rid = any(name == "rid" for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        query = parts.query if has_rid else "&".join(filter(None, (parts.query, f"rid={self._rid}")))
        return parts._replace(path=parts.path.rstrip("/") + suffix, query=query, fragment="").geturl()

    async def _post(self, suffix: str, body: bytes) -> None:
        host = urlsplit(self._url).hostname or ""
        reason = ""
        # A client of its own, which has never seen the key. No proxy to this machine.
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_S, trust_env=not addresses.is_loopback_host(host), transport=self._transport
        ) as client:
            for wait_s in (*_WAITS_S, None):
                try:
                    response = await client.post(
                        self.address(suffix),
                        content=body,
                        headers={"Content-Type": "text/plain; charset=utf-8"},
                    )
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
