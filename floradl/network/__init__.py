"""How bytes come from media hosts: where a request may go, over which connection, how many at a time, how
fast.

The way of a request. `client.MediaClient` sends one GET over httpx's transport seam, so a test or another
transport can stand in. `transport.MediaTransport` is the transport of real jobs. It looks a name up once,
checks every address (`addresses`), and connects to one of the addresses that it checked, so that a second DNS
answer cannot differ from the checked one. It keeps connections and uses them again. `http11.Connection` is
one of them: `message.Message` reads heads and chunks with llhttp, and `body.Body` decides where the bytes of
a body are received. Requests that go through a proxy use httpx's own transport, with the deadlines of
`deadlines`. Redirects are not followed here; `download.request` follows them and checks each. Nothing that is
asked of a media host carries credentials.

What is received where. A whole file of at most 256 KiB is waited for together with its head, for half a
second at most: that is one wake-up of the event loop instead of several. It is received into memory that the
asker gives, which for small files is shared with the processes that write them, so it is not copied to them.
A large body is received into blocks of 1 MiB, which are hashed, written as they are, and used again. A block
that takes longer than a tenth of a second to fill is given in parts. With a limit of speed everything is
given as it comes, because it is counted then.

How many requests a host gets at a time is found out (`concurrency`). The number begins at 16 and doubles from
round to round, up to `--concurrency`, until the host pushes back with 429, 503 or `Retry-After`. A round is
as many answers as there are places. Then the number is halved, or falls to what the host had taken if that is
less, and climbs back within two rounds to that: the requests that were on their way, less those that were
refused. There it stays, but for one more request that is tried after 8 rounds, then after 16, 32 and 64.
Where that passes, two more are tried, then four. All requests that were on their way when the first refusal
came belong to that one push-back. A place is held from just before a request is sent until its body is read,
not in the waits between tries and not while a file gets its name. A host behind a redirect has places of its
own.

When a host is asked again (`retry`). `Retry-After` pauses every request to its host. A 429 without it does so
only where the refused request was the only one on its way: such a host refuses everything, and gets one
request after each pause, of growing pauses. When that lasts longer than `--retries`, all who wait for their
turn get the same answer, and the next session asks again. All this is about media. The API is asked one page
after another and has waits of its own in `api`.

How fast bytes come (`bandwidth`). `--limit-rate` is a token bucket that all transfers share. A transfer that
is over its share does not read until its bytes are paid for. That wait counts neither for the floor under the
speed nor for the read timeout. A transfer below the floor is broken off.

What is promised: only `https` to public addresses is asked, or loopback where the API itself is on loopback;
nothing from outside holds a job for ever or fills its memory. Connections, look-ups and heads time out, a
body that trickles is broken off, what frames a body is bounded and no sign of life, and a host that sends
faster than the disk writes is held back.

It imports the ground alone.
"""

__all__ = (
    "addresses",
    "bandwidth",
    "client",
    "concurrency",
    "deadlines",
    "retry",
    "transport",
)
