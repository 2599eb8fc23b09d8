"""Reads the schemas of an OpenAPI document: what a name refers to, a field's kind in words, and an example of a value."""

from __future__ import annotations

import json
from typing import Any


def resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Follow references; of a value that may be null, return the other kind, marked ``nullable``."""
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    options = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return resolve(options[0] | {"nullable": True}, schemas) if options else schema


def kind(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return what a field holds, in words: its type or format, or the values that it may have."""
    resolved = resolve(schema, schemas)
    found = resolved.get("format") or resolved.get("type", "any")
    if "enum" in resolved:
        found = _any_of(resolved["enum"])
    return f"{found} or null" if resolved.get("nullable") else str(found)


def _any_of(values: list[str]) -> str:
    """Return the values that a field may have, in words: ``"a", "b" or "c"``."""
    *others, last = [f'"{value}"' for value in values]
    return f"{', '.join(others)} or {last}" if others else last


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return a value of this schema: its own example or default, otherwise one of its type."""
    examples = schema.get("examples")
    resolved = resolve(schema, schemas)
    if examples or "default" in schema:
        return examples[0] if examples else schema["default"]
    if resolved.get("type") == "object":
        return {name: example(each, schemas) for name, each in resolved.get("properties", {}).items()}
    if resolved.get("type") == "array":
        return [example(resolved["items"], schemas)]
    return _plain_example(resolved)


_BY_FORMAT = {"uuid": "5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901", "date-time": "2026-01-31T12:00:00Z"}
_BY_TYPE = {"integer": 1, "boolean": True, "number": 1.5, "string": "text"}


def _plain_example(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(schema.get("type", "")))


def as_json(value: Any) -> str:
    """Return the value as a reader likes it: indented, with letters of any language."""
    return json.dumps(value, indent=2, ensure_ascii=False)
