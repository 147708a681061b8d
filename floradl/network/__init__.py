"""How bytes come from media hosts: where to, by which connection, how many at a time, how fast."""

__all__ = (
    "addresses",
    "bandwidth",
    "client",
    "concurrency",
    "http11",
    "retry",
    "transport",
)
