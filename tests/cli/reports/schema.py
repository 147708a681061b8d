"""JSON Schemas, made stricter for tests."""

from __future__ import annotations

from typing import Any


def closed(schema: Any) -> Any:
    """The schema, with every key that it does not describe refused."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "properties" in schema else {}
    return {name: closed(value) for name, value in schema.items()} | more
