"""Verify and repair."""

__all__ = (
    "audit",
    "findings",
    "inspection",
    "recovery",
    "repair",
    "repair_plan",
    "verify",
)
