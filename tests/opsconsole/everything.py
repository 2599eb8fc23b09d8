"""One row of every model, every URL of the console, and the database's content, for exhaustive tests."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import reduce
from itertools import product
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from django_q.models import Task
from django_q.tasks import async_task

from alerts.models import SlackPerson
from jobs.models import BulkOperation, JobEvent, RunRollup, RunRollupState
from jobs.recovery import recovery_alerts
from opsconsole.cluster import schedules, task_table
from opsconsole.cluster.task_table import PROBE
from opsconsole.kit import audit, pauses
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.retention import sizes
from opsconsole.trends.periods import start_of
from opsconsole.verification import record
from tests import presets
from tests.journeys import alerting, letters, scenery

PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")
# Tables that the console writes on a visit that changes nothing else.
BOOKKEEPING = {
    "django_session",
    "otp_totp_totpdevice",
    "rate_limit_requests",
    # Log-ins, exports and refusals.
    "audit_details",
    "audit_refusals",
    "django_admin_log",
}


def few_problems() -> None:
    alerting.build()
    letters.build()


def build(*, jobs: int = 80, problems: Callable[[], None] = few_problems) -> None:
    """Create one row of every model. Needs a channel ``slack`` in the settings; posts nothing to it."""
    # Tests that empty the database also delete the rows that migrations wrote.
    call_command("sync_roles", stdout=io.StringIO())
    presets.write()
    scenery.build(jobs=jobs)
    scenery.bulk_operations()
    schedules.sync()
    problems()
    scenery.outside()
    now = timezone.now()
    duties = {entry.name: entry.task for entry in task_table.every_entry()}
    for key, name, error in (("good", "queues", None), ("bad", "prune", "OperationalError: timeout")):
        Task.objects.create(
            id=key,
            name=name,
            func=duties[name],
            started=now - timedelta(seconds=2),
            stopped=now,
            success=error is None,
            result=error,
        )
    async_task(PROBE, "a cluster", 1)
    audit.log(
        User.objects.create_user("somebody"),
        list(Group.objects.all()),
        "Reviewed the permissions.",
        why="the review of the quarter",
    )
    pauses.begin("recovery", by="olga", reason="deploy")
    recovery_alerts.retell()
    somebody = User.objects.get(username="somebody")
    SignInIdentity.objects.create(
        issuer="https://login.example.com", subject="2482", name="ada", user=somebody
    )
    SlackPerson.objects.create(team="T02ABCDEF", member="U02ABCDEF", name="ada", user=somebody)
    record.keep(record.begin("olga"), [], ended=True)
    sizes.sample()
    RunRollupState.objects.get_or_create(pk=1, defaults={"counted_until": now})
    RunRollup.objects.get_or_create(
        minutes=60,
        start=start_of(now, 60),
        dimension="queue",
        value="default",
        defaults={"completed": 1, "first_event": 1, "last_event": 1},
    )


def models() -> list[type[Model]]:
    return list(admin.site._registry)


def row_of(label: str) -> Model:
    """Return one row of the model of an admin URL such as 'jobs_job_change'."""
    for model in models():
        if label.startswith(f"{model._meta.app_label}_{model._meta.model_name}_"):
            found = model._default_manager.order_by("pk").last()
            assert found is not None, f"the scenery has no row of {model._meta.label}"
            return found
    raise AssertionError(f"no model is known for {label}")


def values(name: str, pattern: str) -> list[Any]:
    """Return values for a URL parameter. An unknown parameter fails: add it here."""
    known: dict[str, Any] = {
        "action": lambda: ["requeue", "cancel", "release", "replay", "discard", "restore"],
        "decision": lambda: ["acknowledge", "snooze", "resolve", "begin", "cancel", "resume"],
        "form": lambda: ["csv", "json"],
        "app_label": lambda: sorted({model._meta.app_label for model in models()}),
        "content_type_id": lambda: [1],
        "url": lambda: ["no/such/page"],
        "pk": lambda: BulkOperation.objects.values_list("pk", flat=True),
        "letter_id": lambda: [letters.FOREIGN],
        "job_id": lambda: [scenery.STALE_JOB],
        # Of a job, as the admin quotes it.
        "key": lambda: [quote(scenery.STALE_JOB)],
        "customer_id": lambda: ["CUST-04218"],
        "worker_id": lambda: ["worker-1"],
        "policy": lambda: ["standard"],
        "alert_id": lambda: [1],
        "number": lambda: [1],
        "object_id": lambda: [1],
        "event_id": lambda: [JobEvent.objects.latest("pk").pk],
        "column": lambda: {
            "jobs_jobevent_whole": ["reason", "details"],
            "jobs_workerheartbeat": ["metadata"],
        }.get(pattern, ["payload", "error_message"]),
    }
    if name in ("object_id", "id", "name") and not pattern.startswith("r_"):
        key = row_of(f"{pattern}_").pk
        # The admin's own URLs contain the quoted key; our URLs with "name" contain it unquoted.
        return [key if name == "name" else quote(key)]
    return list(known[name]())


def addresses() -> list[str]:
    """Return every URL of the console, with parameters filled from the scenery."""
    return list(dict.fromkeys(_filled(get_resolver().url_patterns, "/")))


def addresses_with(text: str) -> list[str]:
    """Return every URL with parameters, with this text in place of each."""
    routes = [route for route, _ in _routes(get_resolver().url_patterns, "/") if PARAMETER.search(route)]
    return list(dict.fromkeys(PARAMETER.sub(text, route) for route in routes))


def _filled(patterns: list[Any], before: str) -> Iterator[str]:
    for route, view in _routes(patterns, before):
        yield from _each_value(route, view)


def _routes(patterns: list[Any], before: str) -> Iterator[tuple[str, str]]:
    """Yield each route with the name of its view."""
    for each in patterns:
        route = before + str(each.pattern).lstrip("^").rstrip("$").replace(r"\Z", "")
        if isinstance(each, URLResolver):
            yield from _routes(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            yield route, each.name or ""


def _each_value(route: str, view: str) -> Iterator[str]:
    # The URL names the model: 'object_id' in '/admin/jobs/job/<path:object_id>/change/' is the ID of a job.
    whose = (
        view if view.startswith(("jobs_job_operate", "jobs_jobevent")) else "_".join(route.split("/")[2:4])
    )
    names = [found[1] or found[2] for found in PARAMETER.finditer(route)]
    for chosen in product(*(values(name, whose) for name in names)):
        yield reduce(lambda left, value: PARAMETER.sub(str(value), left, count=1), chosen, route)


def held(*, apart_from: frozenset[str] | set[str] = BOOKKEEPING) -> dict[str, str]:
    """Return a checksum per table, which also changes when a row is rewritten unchanged."""
    with connection.cursor() as cursor:
        # Read the table names from the database, because not every table has a model.
        tables = sorted(set(connection.introspection.table_names(cursor)) - apart_from)
        ask = " union all ".join(
            f"select '{name}', md5(coalesce(string_agg(ctid::text || t::text, ',' order by ctid), '')) "
            f'from "{name}" t'
            for name in tables
        )
        cursor.execute(ask)
        return dict(cursor.fetchall())


def tables_of(*labels: str) -> set[str]:
    return {apps.get_model(label)._meta.db_table for label in labels}
