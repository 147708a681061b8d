"""What is due, and bringing it: plan, workers, one output from its URL to its final name."""

__all__ = (
    "commit",
    "context",
    "dedupe",
    "missing",
    "multipart",
    "plan",
    "pool",
    "prepare",
    "ranges",
    "refetch",
    "request",
    "response",
    "streaming",
    "tally",
    "transfer",
)
