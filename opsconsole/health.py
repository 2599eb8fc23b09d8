"""Probes for load balancers and monitors. They need no login and reveal a word per check.

Prometheus calls by address, too, and needs a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from alerts.watch import monitor_alerts
from jobs.messaging import queue_depths
from jobs.models import QueueState
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.recovery import surroundings
from opsconsole import metrics_page
from opsconsole.kit import changed_tables, full_disk, locked_tables, mapping_version, schema_version
from opsconsole.kit.database_troubles import Trouble, refuses_changes, trouble_behind
from opsconsole.kit.lateness import late_after

logger = logging.getLogger(__name__)

OK, FAILING, MAPPING_CHANGED = "ok", "failing", "mapping changed"
DATABASE_TIMEOUT = timedelta(seconds=2)
# Shorter, so that the answer names the lock.
LOCK_TIMEOUT = timedelta(seconds=1)


class ProbeMiddleware:
    """Answers the probes before the host name is checked, because load balancers call by address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        return probe(request) if probe else self.get_response(request)


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Report that this process is alive, whatever the state of the services it depends on."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Report readiness: the database works, each queue was read recently, and the last sweep is recent. Otherwise 503.

    ``?exclude=sweep`` shows a check without letting it decide, for a balancer: pages are needed most when sweeps fail.
    """
    checks = _checks()
    excluded = request.GET.getlist("exclude")
    ready = all(word == OK for name, word in checks.items() if name not in excluded)
    _log_change(checks)
    return JsonResponse(
        {"status": "ready" if ready else "not ready", "checks": checks}, status=200 if ready else 503
    )


_logged: dict[str, str] = {}


def _log_change(checks: dict[str, str]) -> None:
    """Write a line when readiness changes, or the reason why it is missing: balancers ask every few seconds."""
    failing = {name: word for name, word in checks.items() if word != OK}
    if failing == _logged:
        return
    _logged.clear()
    _logged.update(failing)
    if failing:
        who = locked_tables.summary() if failing.get("database") == Trouble.LOCKED.word else ""
        words = ", ".join(f"{name} {word}" for name, word in failing.items())
        logger.warning("%s", f"Not ready: {words}. {who}".rstrip())
    else:
        logger.info("Ready again.")


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics_page.show,
}


def _checks() -> dict[str, str]:
    """Return a word for each check. What the database can't do now makes the others unknown, which counts as failing."""
    try:
        with transaction.atomic():
            _answer_in_time()
            if schema_version.is_behind():
                return _without_database(Trouble.NOT_MIGRATED.word)
            if mapping_version.has_changed():
                return _without_database(MAPPING_CHANGED)
            state = _state_for_writes()
            if state == OK:
                _read_their_tables()
            return {
                "database": state,
                "queue": OK if _queues_were_read() else FAILING,
                "sweep": OK if _sweep_is_fresh() else FAILING,
            }
    except DatabaseError as error:
        trouble = trouble_behind(error)
        return _without_database(trouble.word if trouble else FAILING)


def _state_for_writes() -> str:
    if refuses_changes():
        return Trouble.READ_ONLY.word
    if changed_tables.have_changed():
        return Trouble.TABLES_CHANGED.word
    return Trouble.DISK_FULL.word if full_disk.is_full() else OK


def _without_database(word: str) -> dict[str, str]:
    return {"database": word, "queue": FAILING, "sweep": FAILING}


def _answer_in_time() -> None:
    with connection.cursor() as cursor:
        values = [str(wait // timedelta(milliseconds=1)) for wait in (DATABASE_TIMEOUT, LOCK_TIMEOUT)]
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)", values
        )


def _read_their_tables() -> None:
    """Read no row of the contract tables, which fails while somebody has locked one against everybody."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT FROM {JOBS.sql}, {HEARTBEATS.sql} LIMIT 0")


def _queues_were_read() -> bool:
    """Tell whether there are queues, and each can be read and was: sweeps read them, if nothing else does."""
    late = late_after(max(surroundings.glance().sweep_interval, queue_depths.READ_EVERY))
    read = QueueState.objects.readable(late).values_list("name", flat=True)
    return bool(settings.QUEUES) and settings.QUEUES.keys() <= set(read)


def _sweep_is_fresh() -> bool:
    return not monitor_alerts.is_late(monitor_alerts.SWEEP)
