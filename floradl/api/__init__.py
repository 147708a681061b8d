"""FLORA's API: the only code with the key; its lists, read without a gap; its records as values."""

__all__ = (
    "client",
    "keys",
    "models",
    "projects",
    "walk",
)
