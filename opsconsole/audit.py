"""Django's own log of what people did, beside the timelines: the overview shows its last lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.contenttypes.models import ContentType
from django.db import models


def log(user: AbstractBaseUser | AnonymousUser, rows: Iterable[models.Model], message: str) -> None:
    """Write one line for each row. ``message``: what was done and why, as text."""
    LogEntry.objects.bulk_create([_entry(user.pk, row, message) for row in rows], batch_size=500)


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
