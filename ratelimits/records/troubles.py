"""Problems that limiter processes report: stored as rows, which the console shows, and raised as an alert."""

from __future__ import annotations

import os
import socket

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from alerts import notify
from alerts.notify import Trouble
from ratelimits.engine import store
from ratelimits.identity import untrusted_forwarding
from ratelimits.models import LimiterTrouble

Kind = LimiterTrouble.Kind
DEGRADED = "limiter-degraded"
# Whether the server reported several processes (wsgi.multiprocess) although the settings state one.
_unstated_processes = False
# Which problem of which process is known to have no row. A process before this one may have had its name.
_absent: set[tuple[str, str]] = set()


def note_processes(*, multiprocess: bool) -> None:
    """Note whether the server says, in a request, that it runs several processes."""
    global _unstated_processes  # noqa: PLW0603 - one per process
    if multiprocess and settings.OPSCONSOLE_WEB_PROCESSES == 1:
        _unstated_processes = True


def report() -> None:
    """Store the current problems of this process, or that the store answers again. May raise ``DatabaseError``."""
    if error := store.degraded():
        _write(Kind.STORE_AWAY, error)
        notify.fire(
            DEGRADED,
            Trouble(
                title="Rate limits are not shared",
                severity="critical",
                summary="The rate limit store does not answer. Until it does, each process counts on its own, as the "
                "policies say.",
                link="/admin/ratelimits/limitercontrol/",
            ),
        )
    else:
        _remove(Kind.STORE_AWAY)
        _report_eviction(store.eviction())
    if peer := untrusted_forwarding.take():
        _write(Kind.UNTRUSTED_PROXY, peer)
    if unread := untrusted_forwarding.take_unread():
        _write(Kind.UNREAD_HEADER, unread)
    if untrusted_forwarding.take_hidden():
        _write(Kind.HIDDEN_PEER, "the ASGI server does not tell who connects")
    if _unstated_processes:
        _write(Kind.PROCESSES, "wsgi.multiprocess")


def _report_eviction(policy: str) -> None:
    if policy:
        _write(Kind.EVICTION, policy)
    else:
        _remove(Kind.EVICTION)


def _write(kind: str, detail: str) -> None:
    _absent.discard((kind, process_name()))
    LimiterTrouble.objects.bulk_create(
        [LimiterTrouble(kind=kind, process=process_name(), detail=detail[:500], seen_at=Now())],
        update_conflicts=True,
        unique_fields=["kind", "process"],
        update_fields=["detail", "seen_at"],
    )


def _remove(kind: str) -> None:
    """Remove this process's problem, unless it is known to have none. This is asked every few seconds."""
    mine = (kind, process_name())
    if mine in _absent:
        return
    with transaction.atomic():
        removed, _ = LimiterTrouble.objects.filter(kind=kind, process=process_name()).delete()
        if removed and kind == Kind.STORE_AWAY:
            _resolve_if_none_is_left()
    _absent.add(mine)


def remove_ended() -> None:
    """Remove the problems of processes that no longer exist, and resolve the alert if none is left."""
    LimiterTrouble.objects.outdated().delete()
    _resolve_if_none_is_left()


def _resolve_if_none_is_left() -> None:
    if not LimiterTrouble.objects.present().filter(kind=Kind.STORE_AWAY).exists():
        notify.clear(DEGRADED)


def process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
