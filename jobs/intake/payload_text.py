"""A payload as a person types it: the text of a JSON object that PostgreSQL stores as it is.

The text itself is stored, not what Python reads of it: Python would round 0.10000000000000000001, and nobody would notice.
"""

from __future__ import annotations

import json
from typing import NoReturn

from django.conf import settings
from django.db import DataError, connection, transaction

from opsconsole.kit.errors import first_line
from opsconsole.kit.storable import each_key_once, is_too_deep, json_problem

# What a form shows and sends back, in bytes of its text with a line per value.
MOST_EDITED_BYTES = 100_000


def problem_with(text: str) -> str | None:
    """Return a sentence that says why no job can have this payload, or None when one can."""
    if len(text.encode("utf-8", "surrogatepass")) > min(
        MOST_EDITED_BYTES, settings.OPSCONSOLE_BODY_LIMIT_BYTES
    ):
        return f"A payload of more than {min(MOST_EDITED_BYTES, settings.OPSCONSOLE_BODY_LIMIT_BYTES):,} bytes can't be entered here."
    if is_too_deep(text):
        return "It is nested too deeply."
    try:
        value = json.loads(text, object_pairs_hook=each_key_once, parse_constant=_no_number)
    except ValueError as error:
        return f"This is not JSON: {error}."
    if not isinstance(value, dict):
        return 'A payload is a JSON object, such as {"address": "Main Street 1"}.'
    if problem := json_problem(value):
        return f"It can't be stored: {problem}."
    return _refused_by_database(text)


def pretty(text: str) -> str:
    """Return the JSON of a text as PostgreSQL stores it, with a line per value."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT jsonb_pretty(%s::jsonb)", [text])
        return str(cursor.fetchone()[0])


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _refused_by_database(text: str) -> str | None:
    try:
        # A savepoint, so that later queries still work.
        with transaction.atomic():
            pretty(text)
    except DataError as error:
        return f"PostgreSQL can't store it: {first_line(error)}"
    return None
