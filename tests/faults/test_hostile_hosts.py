"""Media hosts that speak no HTTP, or HTTP that never ends: a whole job over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from floradl.simulator import Account, SimOutput, SimRun, serve_in_thread
from tests.support.archives import manifest
from tests.support.media import png
from tests.support.processes import floradl

PNG = png(b"hello")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(PNG), PNG)
LENGTH = b"Content-Length: %d\r\n" % len(PNG)

# What is sent first, what for ever from then on, how many seconds apart, and what becomes of the output.
HOSTS = {
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", b"", 0.0, "not_http"),
    "tls": (b"\x15\x03\x01\x00\x02\x02\x46", b"", 0.0, "not_http"),
    "lengths": (OK + LENGTH + b"Content-Length: 3\r\n\r\n" + PNG, b"", 0.0, "not_http"),
    "same_lengths": (OK + LENGTH + LENGTH + b"\r\n" + PNG, b"", 0.0, ""),
    "cut": (OK + LENGTH + b"\r\n" + PNG[:-1], b"", 0.0, "truncated"),
    "trailers": (CHUNKED + b"0\r\n", b"X: " + b"a" * 8000 + b"\r\n", 0.0, "not_http"),
    "size": (CHUNKED, b"0" * 8000, 0.0, "not_http"),
    "slow_trailers": (CHUNKED + b"0\r\n", b"X: y\r\n", 0.1, "timeout"),
    "slow_extension": (CHUNKED + b"5;x=", b"a", 0.1, "timeout"),
    "slow_head": (OK + b"X: ", b"a", 0.1, "timeout"),
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1, "timeout"),
}


@contextmanager
def serving() -> Iterator[str]:
    """A host on this machine with a place for each of them; its URL."""
    is_over, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            path = connection.recv(65_536).split(b" ")[1].decode()
            first, more, pause_s, _ = HOSTS[path.strip("/")]
            connection.sendall(first)
            while more and not is_over.wait(pause_s):
                connection.sendall(more)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()


def test_no_host_holds_a_job(tmp_path: Path) -> None:
    """Each output is archived or named with its reason, and the job ends."""
    account = Account("sk_live_0123456789")
    with serving() as url, serve_in_thread(account) as sim:
        outputs = [SimOutput(name, url=f"{url}/{name}") for name in HOSTS]
        account.insert(SimRun("run_a", "ws_a", "prj_a", outputs=outputs))
        done = floradl(sim, "--timeout", "1", "--retries", "0", tmp_path)
    assert done.returncode == 3, done.stderr
    entries = manifest(tmp_path)["runs"]["run_a"]["outputs"]
    found = {name: entry.get("error", {"code": ""})["code"] for name, entry in entries.items()}
    assert found == {name: code for name, (*_, code) in HOSTS.items()}
    assert (tmp_path / "ws_a/prj_a/run_a/same_lengths.png").read_bytes() == PNG
