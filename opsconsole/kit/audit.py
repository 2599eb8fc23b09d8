"""The audit: Django's admin log, read as who did what, why and with what result (I10).

What was done stands in Django's line; the reason, the result, and who it was if that is no user of the console, stand
in ``AuditDetail`` beside it. Lines from before there were details hold all of it in one text, which ``AuditParts`` splits.
Triggers refuse every change of both, and the database's clock writes the time.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

from opsconsole.kit import activity
from opsconsole.kit.audit_models import AuditDetail
from opsconsole.kit.storable import plain_text

WHY = "\nWhy: "
# The account in whose name Django's log has what no user of the console did. Pages show ``AuditDetail.actor`` instead.
PROGRAM = "(program)"
_NOBODY = {"is_active": False, "password": UNUSABLE_PASSWORD_PREFIX}
RESULT = "\nResult: "
# For what nobody is asked a reason for, such as a log-in.
NOT_ASKED = ""
LONGEST = 2_000
LOGGED_IN, LOGGED_OUT, DOWNLOADED = "Logged in.", "Logged out.", "Downloaded "
# The way in that is left when the identity provider is away.
LOGGED_IN_BESIDE = "Logged in with a password, although single sign-on is set up."


@dataclass(frozen=True)
class AuditParts:
    """One line in parts; missing parts are ''."""

    did: str
    why: str = ""
    result: str = ""

    @classmethod
    def of(cls, message: str) -> AuditParts:
        """Split a text from before there were details; one of Django's own is all ``did``."""
        rest, _, result = message.partition(RESULT)
        did, _, why = rest.partition(WHY)
        return cls(did, why, result)


def log(
    user: AbstractBaseUser | AnonymousUser,
    rows: Iterable[models.Model],
    did: str,
    *,
    why: str,
    result: str = "",
    actor: str = "",
    flag: int = CHANGE,
) -> list[LogEntry]:
    """Write one line per row: what was done to it, the reason (``NOT_ASKED`` if there is none), and the result. Return them.

    ``actor`` says who it was if it was not the user alone.
    """
    lines = [_entry(user.pk, row, _one_line(did), flag) for row in rows]
    return _write(lines, AuditParts(did, why, result), actor)


def _write(lines: list[LogEntry], parts: AuditParts, actor: str) -> list[LogEntry]:
    detail = {"reason": _one_line(parts.why), "result": _one_line(parts.result), "actor": _one_line(actor)}
    with transaction.atomic():
        entries = LogEntry.objects.bulk_create(lines, batch_size=500)
        if any(detail.values()):
            AuditDetail.objects.bulk_create(
                [AuditDetail(entry_id=entry.pk, **detail) for entry in entries], batch_size=500
            )
        for entry in entries:
            activity.done(
                "audited",
                did=entry.change_message,
                object=f"{entry.content_type_id}/{entry.object_id}",
                user=entry.user_id,
                actor=detail["actor"] or None,
            )
    return entries


def log_download(
    user: AbstractBaseUser | AnonymousUser, what: str, rows: Iterable[models.Model] = ()
) -> None:
    """Write that somebody took data out of the console. Without ``rows``, the line is about the person."""
    about = list(rows) or list(User.objects.filter(username=user.get_username()))
    log(user, about, f"{DOWNLOADED}{what}.", why=NOT_ASKED)


def log_without_user(
    actor: str, did: str, *, why: str, result: str = "", rows: Iterable[models.Model] = ()
) -> None:
    """Write what somebody did who is no user of the console. Without ``rows``, the line is about nothing in particular."""
    about = list(rows) or [nobody()]
    log(nobody(), about, did, why=why, result=result, actor=actor)


def log_command(operator: str, rows: Iterable[models.Model], did: str, *, why: str, result: str = "") -> None:
    """Write what a management command changed. ``operator`` is the name that the command was given, or ''."""
    if changed := list(rows):
        log_without_user(command_actor(operator), did, why=why, result=result, rows=changed)


def command_actor(operator: str) -> str:
    """Return who runs a management command: the user of the operating system, and the ``operator`` that it was given."""
    user = system_user()
    actual = f"{user} at {socket.gethostname()}"
    return f"{actual if operator in {'', user} else f'{operator}, as {actual} says'} (command)"


def system_user() -> str:
    """Return the user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # In a container, the number of a user often has no name.
        return f"user {os.getuid()}"


def nobody() -> User:
    """Return the account that stands for whoever is no user of the console."""
    return account_of(PROGRAM)


def changes() -> models.QuerySet[LogEntry]:
    """Return the lines about changes: a log-in or a download is about a row, too, and changes nothing of it."""
    others = models.Q(change_message__in=[LOGGED_IN, LOGGED_IN_BESIDE, LOGGED_OUT])
    return LogEntry.objects.exclude(others | models.Q(change_message__startswith=DOWNLOADED))


def newest() -> int:
    """Return the number of the newest line; 0 where there is none."""
    return numbers().first() or 0


def numbers() -> models.QuerySet[LogEntry, int]:
    """Return the numbers of the lines, the newest first."""
    return LogEntry.objects.order_by("-pk").values_list("pk", flat=True)


def of_rows(model: type[models.Model], keys: Iterable[str], after: int = 0) -> models.QuerySet[LogEntry]:
    """Return the lines about changes of these rows that are newer than the line with this number, newest first."""
    kind = ContentType.objects.get_for_model(model)
    return changes().filter(pk__gt=after, content_type=kind, object_id__in=keys).order_by("-pk")


def is_download(entry: LogEntry) -> bool:
    return entry.change_message.startswith(DOWNLOADED)


def with_details(entries: models.QuerySet[LogEntry]) -> models.QuerySet[LogEntry]:
    """Read the lines with their users and details."""
    # In a query of their own: joined, each row reads the whole small table again.
    return entries.select_related("user").prefetch_related("detail")


def kind_of(entry: LogEntry) -> ContentType | None:
    """Return the kind of the object of a line, and let the line know it: kinds are few, and each process keeps them."""
    if entry.content_type_id and not LogEntry.content_type.is_cached(entry):
        entry.content_type = ContentType.objects.get_for_id(entry.content_type_id)
    return entry.content_type


def parts_of(entry: LogEntry) -> AuditParts:
    """Return a line in its parts."""
    parts, detail = AuditParts.of(entry.get_change_message()), _detail(entry)
    if detail is None:
        return parts
    return AuditParts(parts.did, detail.reason or parts.why, detail.result or parts.result)


def who(entry: LogEntry) -> str:
    """Return who did it: a user of the console, or somebody else."""
    detail = _detail(entry)
    return named_actor(entry.user.get_username(), detail.actor if detail else None)


def named_actor(name: str, actor: str | None) -> str:
    """Return the same, given the name of the user and the actor of the details."""
    if not actor:
        return name
    return actor if name == PROGRAM else f"{name}, {actor}"


def named(entry: LogEntry) -> str:
    """Return the object of a line as it was called, or by its number where its name could quote what is hidden now.

    Where a model gives its rows no name, Django calls them 'OrmQ object (2)', and they have a number alone.
    """
    kind = kind_of(entry)
    nameless = entry.object_repr.endswith(f" object ({entry.object_id})")
    if kind is not None and (nameless or getattr(kind.model_class(), "named_by_number", False)):
        return f"{kind.name} {entry.object_id}"
    return entry.object_repr


def named_beside_kind(entry: LogEntry) -> str:
    """Return the same without the name of the kind in front, for pages that show the kind beside it."""
    name, kind = named(entry), kind_of(entry)
    return name.removeprefix(f"{kind.name} ") if kind is not None else name


def _detail(entry: LogEntry) -> AuditDetail | None:
    # The other side of a key between two apps, which mypy knows of or not, depending on what it reads first.
    return getattr(entry, "detail", None)


def log_of(
    user_id: int, kind: type[models.Model], key: str, name: str, parts: AuditParts, *, actor: str = ""
) -> None:
    """Write a line about something that has no row of its own, such as a client of the limiter."""
    content_type = ContentType.objects.get_for_model(kind)
    line = LogEntry(
        user_id=user_id,
        content_type=content_type,
        object_id=key,
        object_repr=name[:200],
        action_flag=CHANGE,
        change_message=_one_line(parts.did),
    )
    _write([line], parts, actor)


def account_of(name: str) -> User:
    """Return the account of the person with this name, or the one in whose name commands and API keys are recorded.

    Nobody can log in with the latter: it is inactive, has no password, and its name can't be entered in a form.
    """
    person = User.objects.filter(username=name).first()
    return person or User.objects.get_or_create(username=PROGRAM, defaults=_NOBODY)[0]


def _one_line(text: str) -> str:
    """Return the text on one line, so that a reason can't imitate the next part of an old line."""
    return " ".join(plain_text(text).split())[:LONGEST]


def _entry(user_id: int | None, row: models.Model, message: str, flag: int) -> LogEntry:
    fields: dict[str, Any] = {
        "user_id": user_id,
        "content_type_id": ContentType.objects.get_for_model(row).pk,
        "object_id": str(row.pk),
        "object_repr": str(row)[:200],
        "action_flag": flag,
        "change_message": message,
    }
    return LogEntry(**fields)


def linked_for(user: User | AnonymousUser, entries: Iterable[Any]) -> list[Any]:
    """Return the lines, each with ``may_see``: whether this user may open the page of its object."""
    lines = list(entries)
    for line in lines:
        kind = kind_of(line)
        line.may_see = kind is not None and user.has_perm(f"{kind.app_label}.view_{kind.model}")
    return lines
