"""Whether the contract tables still are what the console needs: their owners may change them after ``migrate``.

``jobs.inspection.changes`` finds that, as ``inspect_database`` does. Whoever met an error asks here, because it may look like
any other: of a statement, or of Python, which got a text where a time was.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from django.db import DatabaseError, Error, transaction
from psycopg import errors

MOST_NAMED = 3
# What Python says of a value that has another type.
MISREAD = (TypeError, ValueError, AttributeError)
# Classes of SQLSTATE: not supported, wrong data, constraints, the state of an object, names and types.
_CLASSES = ("0A", "22", "23", "42", "55")
_OTHERWISE_EXPLAINED = (errors.InsufficientPrivilege, errors.LockNotAvailable)
_questions: list[Callable[[], list[str]]] = []
_last_answer = {"changed": False}


class TablesChanged(DatabaseError):
    """The console can't use a table as it is now. Loops treat it like an outage, and go on when the table fits again."""


def begin(question: Callable[[], list[str]]) -> None:
    """Ask this function from now on what was changed; it returns sentences."""
    _questions[:] = [question]


def is_sign(error: BaseException | None) -> bool:
    """Tell whether a changed table may be behind this error."""
    if not isinstance(error, Error):
        return isinstance(error, MISREAD)
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error) or isinstance(cause, _OTHERWISE_EXPLAINED):
        return False
    return (cause.sqlstate or "").startswith(_CLASSES)


def sentences() -> list[str]:
    """Return what was changed. Where nothing can be asked, as in a transaction that has failed, that is unknown: none."""
    if not _questions:
        return []
    try:
        with transaction.atomic():
            return [sentence for question in _questions for sentence in question()]
    except Error:
        return []


def have_changed() -> bool:
    """Tell whether the console can't use one of these tables as it is now."""
    _last_answer["changed"] = bool(sentences())
    return _last_answer["changed"]


def require_again() -> None:
    """Raise ``TablesChanged`` as long as the tables are as they were when an error of this process was explained by them.

    Whoever takes messages asks before each: those that it could not claim would become dead letters. Usually nothing is asked.
    """
    if _last_answer["changed"] and have_changed():
        raise TablesChanged(summary())


def summary() -> str:
    """Return the first of these sentences as one text."""
    found = sentences()
    more = [f"And {len(found) - MOST_NAMED} more."] if len(found) > MOST_NAMED else []
    return " ".join([*found[:MOST_NAMED], *more])
