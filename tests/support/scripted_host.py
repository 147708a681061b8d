"""A host on this machine that does, at each request, what a test has written down: bytes, waits, an end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

Step = bytes | float | str
"""What a host does: bytes to send, seconds to wait, "close" or "reset"."""


class Host:
    """A host that does the next steps at each request of a connection."""

    def __init__(self, *answers: Sequence[Step]) -> None:
        self.answers = list(answers)
        self.sent = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All requests of one connection."""
        self.tasks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for step in self.answers.pop(0):
                    await self._do(step, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _do(self, step: Step, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
            self.sent += len(step)
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif step == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.close()


@asynccontextmanager
async def listening(host: Host, certificate: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Let a host serve; gives its port. What it still does at the end is broken off."""
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=certificate)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in host.tasks:
            task.cancel()
        await asyncio.gather(*host.tasks, return_exceptions=True)


def trickle(piece: bytes) -> list[Step]:
    """A piece every twentieth of a second, for half a minute: longer than any test waits."""
    return [piece, 0.05] * 600
