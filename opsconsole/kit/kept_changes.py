"""What became of changes when the database failed: nothing was changed, some were saved, or it is unknown (I14)."""

from __future__ import annotations

from enum import Enum
from typing import Any

from django.db import OperationalError, connection


class OutcomeUnknown(OperationalError):
    """The connection broke while a change was being saved, so that whether it was saved is unknown.

    The database backend raises it (``opsconsole.kit.postgresql``). Whoever treats a database error as "refused"
    treats this one first.
    """


class Kept(Enum):
    """The changes that stand after a failure. ``sentence`` says it to a person."""

    NOTHING = "Nothing was changed."
    SOME = "A part of the change was saved before that. Look at what was saved before you repeat it."
    UNKNOWN = (
        "The connection to the database broke while a change was being saved. Whether it was saved is unknown: "
        "look before you repeat it."
    )

    @property
    def sentence(self) -> str:
        return self.value


def saved_changes() -> int:
    """Return a number that grows with each change that this thread's connection saved, or may have saved."""
    current: Any = connection
    return int(current.saved_changes)


def kept(error: BaseException | None, *, since: int) -> Kept:
    """Return what stands of the changes made since ``saved_changes`` returned ``since``, after this error.

    The error may be a later one: a database that is away fails again, as for the page that should tell of the first failure.
    """
    current: Any = connection
    if isinstance(error, OutcomeUnknown) or current.last_doubt > since:
        return Kept.UNKNOWN
    return Kept.SOME if saved_changes() > since else Kept.NOTHING
