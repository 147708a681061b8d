"""The client of the FLORA API: the only code that sends requests to it, and that holds the key.

A request first waits out a pause that the API asked for, then is sent, and is tried again as FLORA documents:
after 408, 425, 429 and 5xx, a broken connection, an answer that cannot be read, or a 403 or 404 without the
API's error envelope, which something on the way has sent. It ends in a value or in an `ApiError` that carries
the answer's `request-id`. An answer comes in time and is bounded (`answer`), and the key is taken out of it
before anything reads it (`keys.Redactor`), so neither a message nor the archive can hold it. Redirects are
not followed, since that could send the key to another host.

Sources: FLORA's API reference and the behaviour of its official SDK (`x-should-retry`, `retry-after-ms`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Container
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from floradl.api.answer import ACCEPT_ENCODING, read_body
from floradl.api.keys import Redactor, check_key, masked, refusal_hint
from floradl.api.models import Generation, Workspace
from floradl.api.pages import ENDPOINTS, MAX_RECORDS, Endpoint, Page, PageQuery, Parser, parse_page
from floradl.api.paging import refuse_repeated_cursor
from floradl.api.raw_json import NOT_READABLE, replace_half_pairs
from floradl.clock import Clock
from floradl.constants import Kind, Source
from floradl.errors import (
    ApiAnswerError,
    ApiError,
    ApiNotFoundError,
    ApiUnavailableError,
    KeyRefusedError,
    printable,
    safe_url,
)
from floradl.network import addresses
from floradl.network.addresses import USER_AGENT, environment_proxies, is_loopback_host
from floradl.network.deadlines import head_within
from floradl.network.retry import (
    MAX_RETRY_AFTER_S,
    Backoff,
    HostPauses,
    is_retry_status,
    parse_number,
    parse_retry_after,
)

_PUSH_BACK_S = 5.0  # how long FLORA's own sample code waits after a 429 without Retry-After

T = TypeVar("T")
log = logging.getLogger(__name__)


class _WorkspacesWire(msgspec.Struct):
    workspaces: list[Workspace]


class FloraApi:
    """A session with the API, as an asynchronous context manager.

    Args:
        base_url: the API's URL; https, or http on this machine.
        key: the account's API key.
        clock: for waits and dates; None: the system's clock.
        retries: how often a request that failed is tried again.
        timeout_s: how many seconds a connection may stay silent.
        transport: a transport of httpx to use in place of the network, for tests.
        backoff: how long to wait between tries.

    Attributes:
        calls: how many requests were sent, further tries included.
        successes: how many of them were answered with a 2xx.

    Raises:
        UsageError: the text cannot be an API key, or the URL would send it over a network unencrypted.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        clock: Clock | None = None,
        retries: int = 5,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        base_url, clock = addresses.check_base_url(base_url), clock or Clock()
        self._client = api_client(base_url, check_key(key), timeout_s=timeout_s, transport=transport)
        self._base_url = base_url
        self._key = key
        self._redactor = Redactor(key)
        self._timeout_s = timeout_s
        self._origin = _origin(base_url)
        self._clock = clock
        self._retries = retries
        self._backoff = backoff or Backoff()
        self._pauses = HostPauses(clock)
        self.calls = 0
        self.successes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    @property
    def shown_key(self) -> str:
        """The end of the key, which may be shown in messages."""
        return masked(self._key)

    def account(self, archive_id: str) -> str:
        """A name for this account within one archive: 16 hexadecimal digits.

        It is a digest of the API's URL and the key, salted with the archive's id, so the manifest can tell
        accounts apart without holding a key. On loopback the port is left out, where it says nothing
        about the account.
        """
        parts = httpx.URL(self._base_url)
        place = parts.copy_with(port=None) if addresses.is_loopback_host(parts.host) else parts
        return hashlib.sha256(f"{archive_id}\n{place}\n{self._key}".encode()).hexdigest()[:16]

    async def page(self, query: PageQuery, *, given_cursors: Container[str] = ()) -> Page:
        """Ask for one page of a source's list.

        Args:
            query: which list, and which page of it.
            given_cursors: the cursors that led to this page; a page that names one of them as the next is an
                `ApiAnswerError`, since following it would turn in a circle.

        Raises:
            ApiError: the API refused the request, or did not answer sensibly in any try.
        """

        source = Source(query.scope.source)
        parse = refuse_repeated_cursor(lambda body: parse_page(body, source), given_cursors)
        path = ENDPOINTS[source].path.format(_in_path(query.scope.project_id or ""))
        return await self._get(f"{self._base_url}/{path}", query.params(), parse)

    async def item(self, kind: Kind, identifier: str, *, known: Generation | None = None) -> Generation:
        """Ask for the current record of one run or asset.

        Args:
            kind: whether it is a run or an asset.
            identifier: its id.
            known: as for `run`.

        Raises:
            ApiNotFoundError: the API does not have it. So it is for every canvas: FLORA gives the canvas of
                today only, and an archived snapshot cannot be asked for again.
            ApiError: as for `page`.
        """
        if kind is Kind.RUN:
            return await self.run(identifier, known=known)
        if kind is Kind.CANVAS:
            raise ApiNotFoundError("FLORA has the canvas of today alone")
        return await self._by_id(ENDPOINTS[Source.ASSETS], identifier, known)

    async def run(self, run_id: str, *, known: Generation | None = None) -> Generation:
        """Ask for the current record of one run.

        Args:
            run_id: the run's id.
            known: an earlier record of the run. Fields that this endpoint lacks are taken from it. Its
                `poll_url` is asked first, if it is on the API's own origin: the key goes nowhere else.

        Raises:
            ApiNotFoundError: the API has no such run.
            ApiError: as for `page`.
        """
        endpoint = ENDPOINTS[Source.GENERATIONS]
        poll_url = known.poll_url if known else None
        if poll_url is not None and _origin(poll_url) == self._origin:
            try:
                return await self._get(poll_url, {}, _exactly(run_id, endpoint.parse, known))
            except (ApiNotFoundError, ApiAnswerError) as exc:
                log.info("%s; asking for the run by its id", exc.message)
        return await self._by_id(endpoint, run_id, known)

    async def _by_id(self, endpoint: Endpoint, identifier: str, known: Generation | None) -> Generation:
        parse = _exactly(identifier, endpoint.parse, known)
        return await self._get(f"{self._base_url}/{endpoint.each}/{_in_path(identifier)}", {}, parse)

    async def workspaces(self) -> tuple[Workspace, ...]:
        """Ask for the workspaces that the key may see.

        Raises:
            ApiError: as for `page`.
        """
        return await self.ask("workspaces", {}, _parse_workspaces)

    async def ask(self, path: str, params: dict[str, str], parse: Callable[[bytes], T]) -> T:
        """Ask any endpoint, and return what `parse` makes of the answer.

        Args:
            path: the endpoint below the base URL, such as `workspaces`.
            params: the query parameters.
            parse: reads the bytes of the answer; raises `ApiAnswerError`, which is tried again, where it
                cannot.

        Raises:
            ApiError: as for `page`.
        """
        return await self._get(f"{self._base_url}/{path}", params, parse)

    async def _get(self, url: str, params: dict[str, str], parse: Callable[[bytes], T]) -> T:
        failures = 0
        while True:
            await self._pauses.wait(self._origin)
            try:
                return await self._get_once(url, params, parse)
            except ApiError as exc:
                failures += 1
                if not exc.is_retryable or failures > self._retries:
                    raise
                await self._before_retry(exc, failures)

    async def _before_retry(self, error: ApiError, failures: int) -> None:
        if error.retry_after_s is not None and error.retry_after_s > MAX_RETRY_AFTER_S:
            raise error
        delay_s = self._backoff.delay_s(failures)
        log.info("API: %s; trying again in %.1f s", error.message, max(delay_s, error.retry_after_s or 0))
        if error.retry_after_s is not None:
            self._pauses.pause(self._origin, error.retry_after_s)
        elif error.status == httpx.codes.TOO_MANY_REQUESTS:
            self._pauses.pause(self._origin, min(_PUSH_BACK_S * failures, self._backoff.cap_s))
        await self._clock.sleep(delay_s)

    async def _get_once(self, url: str, params: dict[str, str], parse: Callable[[bytes], T]) -> T:
        self.calls += 1
        try:
            response, body = await self._answer(url, params)
        except (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError, OSError) as exc:
            # OSError: httpcore does not translate an SSLError in the middle of a body.
            raise ApiUnavailableError(
                f"the API at {safe_url(self._base_url)} does not answer: {self._redactor.text(_reason(exc))}",
                hint="Check the network and the base URL; the same command again goes on where this one was.",
            ) from exc
        if not response.is_success:
            raise self._refusal(response, body)
        self.successes += 1
        try:
            return parse(body)
        except ApiAnswerError as exc:
            raise self._about(exc, response) from exc

    async def _answer(self, url: str, params: dict[str, str]) -> tuple[httpx.Response, bytes]:
        """Send one request, and read the answer; the key is in no part of the body any more."""
        request = self._client.build_request("GET", url, params=params or None)
        response = await head_within(self._timeout_s, self._client.send(request, stream=True))
        try:
            body = await read_body(response, self._clock)
        except ApiAnswerError as exc:
            raise self._about(exc, response) from exc
        finally:
            await response.aclose()
        return response, self._redactor.body(body)

    def _about(self, error: ApiAnswerError, response: httpx.Response) -> ApiAnswerError:
        """The same error, with what the answer says of itself."""
        return ApiAnswerError(
            error.message, status=response.status_code, request_id=self._request_id(response)
        )

    def _request_id(self, response: httpx.Response) -> str:
        return printable(self._redactor.text(response.headers.get("request-id", "")), limit=80)

    def _refusal(self, response: httpx.Response, body: bytes) -> ApiError:
        status = response.status_code
        code, said = _envelope(body, self._redactor)
        message = f"the API answered {status}{f' {code}' if code else ''}{f': {said}' if said else ''}"
        about: dict[str, Any] = {
            "status": status,
            "code": code,
            "request_id": self._request_id(response),
            "retry_after_s": self._retry_after_s(response.headers),
        }
        if status in (403, 404) and not code:
            # A firewall, a captive portal or a gateway on the way answered, not the API. Taken for the API's
            # word it would say that a list is closed to the key, or that a run was deleted.
            return ApiUnavailableError(
                f"something between here and the API answered {status}: the answer is not FLORA's own",
                hint="Is there a firewall, a proxy or a sign-in page on the way? Check the base URL too.",
                **about,
            )
        if status in (401, 403):
            return KeyRefusedError(message, hint=refusal_hint(self._key), **about)
        if status == 404:
            hint = "Check the id: what does not exist and what this key may not see look the same."
            return ApiNotFoundError(message, hint=hint, **about)
        if status < 400:
            return ApiError(f"the API answered with a redirect ({status}), which is not followed", **about)
        should_retry = response.headers.get("x-should-retry")
        retries = should_retry == "true" or (should_retry != "false" and is_retry_status(status))
        return (ApiUnavailableError if retries else ApiError)(message, **about)

    def _retry_after_s(self, headers: httpx.Headers) -> float | None:
        in_ms = parse_number(headers.get("retry-after-ms", ""))
        if in_ms is not None:
            return in_ms / 1000
        return parse_retry_after(headers.get("retry-after"), self._clock.now())


def _in_path(identifier: str) -> str:
    """Quote an id so that it is one component of a URL's path.

    Raises:
        ApiNotFoundError: the id is "." or "..", which would lead to another endpoint.
    """
    if identifier in (".", ".."):
        raise ApiNotFoundError("nothing can have this id")
    return quote(identifier, safe="", errors="surrogatepass")


def _exactly(identifier: str, parser: Parser, known: Generation | None) -> Callable[[bytes], Generation]:
    """Make a parser that also refuses a record with another id than the one asked for."""

    def parse(body: bytes) -> Generation:
        item = parser(body, known=known)
        if item.run_id != identifier:
            raise ApiAnswerError(f"the API gave another {item.kind} than {printable(identifier, limit=80)}")
        return item

    return parse


def _parse_workspaces(body: bytes) -> tuple[Workspace, ...]:
    try:
        wire = msgspec.json.decode(replace_half_pairs(body), type=_WorkspacesWire)
    except NOT_READABLE as exc:
        raise ApiAnswerError(f"the API's answer is no list of workspaces: {printable(str(exc))}") from exc
    return tuple(wire.workspaces[:MAX_RECORDS])


def _envelope(body: bytes, redactor: Redactor) -> tuple[str, str]:
    """Read `error.code` and the texts of FLORA's error envelope, those of single fields included.

    Both are "" where the answer has no such envelope. Some servers repeat the key that they refuse.
    """
    try:
        error = msgspec.json.decode(body, type=dict[str, Any])["error"]
        fields = [f"{field['field']}: {field['message']}" for field in error.get("fields") or ()]
        said = redactor.text("; ".join([str(error.get("message") or ""), *fields]))
        code = redactor.text(str(error.get("code") or ""))
        return printable(code, limit=60), printable(said, limit=300)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        return "", ""


def _origin(url: str) -> str:
    """Scheme, host and port of a URL, to compare; "" for a text that is no URL, or has a user or fragment."""
    try:
        parts = httpx.URL(url)
        host, fragment = parts.host, urlsplit(url).fragment
    except (httpx.InvalidURL, TypeError, ValueError):  # the last: a host name that idna cannot read
        return ""
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    if parts.userinfo or fragment:
        return ""
    return f"{parts.scheme}://{host}:{port}"


def _reason(exc: Exception) -> str:
    if isinstance(exc, httpx.TimeoutException):
        return "timeout"
    return printable(str(exc)) or type(exc).__name__


def api_client(
    base_url: str, key: str, *, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Make the only HTTP client that holds the key. It follows no redirect, which could carry the key away.

    Raises:
        UsageError: the environment names a proxy that cannot be used.
    """
    is_local = is_loopback_host(httpx.URL(base_url).host)
    if transport is None and not is_local:
        environment_proxies()
    return httpx.AsyncClient(
        base_url=base_url,
        transport=transport,
        timeout=timeout_s,
        headers={
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": ACCEPT_ENCODING,
            "Authorization": f"Bearer {key}",
        },
        follow_redirects=False,
        trust_env=not is_local,  # a proxy would get the key unencrypted, and could not reach this machine
    )
