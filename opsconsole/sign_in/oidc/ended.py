"""The order of sign-ins and back-channel log-outs: whichever comes first, no session outlives the provider's.

A log-out ends the sessions that it finds. The one of a sign-in that is on its way is none of them yet, so the log-out also leaves
a mark, and a sign-in that was begun before the mark opens no session. Both write under one lock: either the log-out finds
the session, or the sign-in finds the mark. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models.functions import Now

from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.identity_models import CompletedSignIn
from opsconsole.kit.row_locks import limit_waits
from opsconsole.sign_in.oidc import begun
from opsconsole.sign_in.oidc.claims import Person


def wait_for_log_outs() -> None:
    """Let no log-out happen until this transaction ends; other sign-ins go on."""
    _lock("pg_advisory_xact_lock_shared")


def wait_for_sign_ins() -> None:
    """Let no sign-in open a session until this transaction ends."""
    _lock("pg_advisory_xact_lock")


def _lock(function: str) -> None:
    limit_waits()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [AdvisoryLock.PROVIDER_SESSIONS])


def mark(claims: dict[str, Any]) -> None:
    """Leave the mark of a log-out with these claims, after ``wait_for_sign_ins``."""
    subject, session = claims.get("sub"), claims.get("sid")
    about = []
    if session is not None:
        about.append(_session(session))
    if subject is not None:
        about.append(_person(subject) if session is None else _unnamed_of(subject))
    marks = [CompletedSignIn(state=begun.hashed(each), at=Now()) for each in about]
    CompletedSignIn.objects.bulk_create(
        marks, update_conflicts=True, unique_fields=["state"], update_fields=["at"]
    )


def has_ended(person: Person, begun_at: datetime) -> bool:
    """Tell whether a log-out since the beginning of this sign-in is about its session, after ``wait_for_log_outs``."""
    marks = [begun.hashed(each) for each in _about(person)]
    return CompletedSignIn.objects.filter(state__in=marks, at__gt=begun_at).exists()


def _about(person: Person) -> Iterator[str]:
    """Yield what a log-out must be about to end this person's session, as ``back_channel`` finds sessions."""
    yield _person(person.subject)
    yield _session(person.session) if person.session else _unnamed_of(person.subject)


# No state is like these: it has no blank.
def _person(subject: str) -> str:
    return f"ended all of {subject}"


def _unnamed_of(subject: str) -> str:
    return f"ended what has no name of {subject}"


def _session(name: str) -> str:
    return f"ended session {name}"
