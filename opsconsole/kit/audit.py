"""The audit: Django's admin log, read as who did what, why and with what result (I10).

A line is plain text, so that every page that shows Django's log can show it; ``Told`` splits it into its parts.
The table is append-only: a trigger refuses UPDATE and DELETE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.contenttypes.models import ContentType
from django.db import models

WHY = "\nWhy: "
PROGRAM = "(program)"
_NOBODY = {"is_active": False, "password": UNUSABLE_PASSWORD_PREFIX}
RESULT = "\nResult: "


@dataclass(frozen=True)
class Told:
    """One line in parts; missing parts are ''."""

    did: str
    why: str = ""
    result: str = ""

    def __str__(self) -> str:
        parts = [_one_line(self.did)]
        parts += [WHY + _one_line(self.why)] if self.why else []
        parts += [RESULT + _one_line(self.result)] if self.result else []
        return "".join(parts)

    @classmethod
    def of(cls, message: str) -> Told:
        """Split a message; one of Django's own is all ``did``."""
        rest, _, result = message.partition(RESULT)
        did, _, why = rest.partition(WHY)
        return cls(did, why, result)


def log(
    user: AbstractBaseUser | AnonymousUser,
    rows: Iterable[models.Model],
    did: str,
    *,
    why: str = "",
    result: str = "",
) -> None:
    """Write one line per row: what was done to it, the reason, and the result."""
    message = str(Told(did, why, result))
    LogEntry.objects.bulk_create([_entry(user.pk, row, message) for row in rows], batch_size=500)


def log_of(user_id: int, kind: type[models.Model], key: str, name: str, told: Told) -> None:
    """Write a line about something that has no row of its own, such as a client of the limiter."""
    content_type = ContentType.objects.get_for_model(kind)
    LogEntry.objects.create(
        user_id=user_id,
        content_type=content_type,
        object_id=key,
        object_repr=name[:200],
        action_flag=CHANGE,
        change_message=str(told),
    )


def account_of(name: str) -> User:
    """Return the account of the person with this name, or the one in whose name commands and API keys are recorded.

    Nobody can log in with the latter: it is inactive, has no password, and its name can't be entered in a form.
    """
    person = User.objects.filter(username=name).first()
    return person or User.objects.get_or_create(username=PROGRAM, defaults=_NOBODY)[0]


def _one_line(text: str) -> str:
    """Return the text on one line, so that a reason can't imitate the next part of the line."""
    return " ".join(text.split())


def _entry(user_id: int | None, row: models.Model, message: str) -> LogEntry:
    fields: dict[str, Any] = {
        "user_id": user_id,
        "content_type_id": ContentType.objects.get_for_model(row).pk,
        "object_id": str(row.pk),
        "object_repr": str(row)[:200],
        "action_flag": CHANGE,
        "change_message": message,
    }
    return LogEntry(**fields)


def linked_for(user: User | AnonymousUser, entries: models.QuerySet[LogEntry]) -> models.QuerySet[LogEntry]:
    """Annotate each line with ``may_see``: whether this user may open the page of its object."""
    kinds = ContentType.objects.get_for_models(*apps.get_models()).values()
    seen = [kind.pk for kind in kinds if user.has_perm(f"{kind.app_label}.view_{kind.model}")]
    return entries.annotate(may_see=models.Q(content_type_id__in=[0, *seen]))
