"""FLORA's API: the only code with the key; its lists, read without a gap; its records as values."""

__all__ = (
    "canvas",
    "client",
    "keys",
    "lists",
    "models",
    "pages",
    "projects",
    "raw_json",
    "records",
    "walk",
)
