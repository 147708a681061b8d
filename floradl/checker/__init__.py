"""Verify and repair."""

__all__ = (
    "audit",
    "findings",
    "inspection",
    "recovery",
    "repair",
    "verify",
)
