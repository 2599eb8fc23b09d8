"""What PostgreSQL can store and programs can read; ``opsconsole_worker.storable`` decides it."""

from opsconsole_worker.storable import (
    DEEPEST,
    LARGEST_INTEGER,
    KeyTwice,
    each_key_once,
    is_nested_too_deeply,
    is_storable,
    is_too_deep,
    json_problem,
    json_text,
    plain_text,
)

__all__ = [
    "DEEPEST",
    "LARGEST_INTEGER",
    "KeyTwice",
    "each_key_once",
    "is_nested_too_deeply",
    "is_storable",
    "is_too_deep",
    "json_problem",
    "json_text",
    "plain_text",
]
