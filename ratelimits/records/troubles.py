"""What a process of the limiter complains about, made visible: a row in the database, and an alert."""

from __future__ import annotations

import os
import socket

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from alerts import notify
from ratelimits.engine import store
from ratelimits.identity import untrusted_forwarding
from ratelimits.models import LimiterTrouble

Kind = LimiterTrouble.Kind
DEGRADED = "limiter-degraded"
# Whether gunicorn said that it runs more processes than the settings state (wsgi.multiprocess).
_many = False


def note_processes(*, multiprocess: bool) -> None:
    """What the server says of itself, from a request."""
    global _many  # noqa: PLW0603 - one a process
    if multiprocess and settings.OPSCONSOLE_WEB_PROCESSES == 1:
        _many = True


def report() -> None:
    """Write down what is wrong now, or that the store answers again. Raises ``DatabaseError``."""
    if why := store.degraded():
        _write(Kind.STORE_AWAY, why)
        notify.fire(
            DEGRADED,
            title="Rate limits are not shared",
            severity="critical",
            summary="The store does not answer. Each process admits its share of a limit, as the policies say.",
            link="/admin/ratelimits/limitercontrol/",
        )
    else:
        _end(Kind.STORE_AWAY)
    if peer := untrusted_forwarding.take():
        _write(Kind.UNTRUSTED_PROXY, peer)
    if _many:
        _write(Kind.PROCESSES, "wsgi.multiprocess")


def _write(kind: str, detail: str) -> None:
    LimiterTrouble.objects.bulk_create(
        [LimiterTrouble(kind=kind, process=name(), detail=detail[:500], seen_at=Now())],
        update_conflicts=True,
        unique_fields=["kind", "process"],
        update_fields=["detail", "seen_at"],
    )


def _end(kind: str) -> None:
    """This process has no such trouble. When it was the last one that had, the alert is over."""
    with transaction.atomic():
        if not LimiterTrouble.objects.filter(kind=kind, process=name()).delete()[0]:
            return
        if not LimiterTrouble.objects.present().filter(kind=kind).exists():
            notify.resolve(DEGRADED)


def settle() -> None:
    """Forget what is over: processes that ended in trouble say nothing more. Called by the schedule."""
    LimiterTrouble.objects.forgotten().delete()
    if not LimiterTrouble.objects.present().filter(kind=Kind.STORE_AWAY).exists():
        notify.resolve(DEGRADED)


def name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
