"""What is due, and bringing it: plan, workers, one output from its URL to its final name."""

__all__ = (
    "commit",
    "context",
    "missing",
    "plan",
    "pool",
    "refetch",
    "session",
    "tally",
    "transfer",
)
