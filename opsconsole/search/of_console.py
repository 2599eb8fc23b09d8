"""Finders of what is not a job: clients of the limiter, alerts, and what people did."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from django.contrib.admin.models import LogEntry
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.urls import reverse
from django_q.models import Failure, OrmQ, Success, Task

from alerts.models import Alert, SlackPerson, SnsMessage
from opsconsole.kit import audit as audit_log
from opsconsole.kit.audit_models import AuditDetail, AuditSeal
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.kit.one_statement import Steps, column_of, models_of, records_of, value_of
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.search.hits import SHOWN, Finding, Found, Hit, group, list_of, number_in, page_of
from ratelimits.identity import client_names
from ratelimits.models import RateLimitHour

_DIGEST = re.compile("[0-9a-f]{12,64}", re.IGNORECASE)
MOST_DIGESTS = 3
# What django-q2 gives each task, besides its id.
_NAME_OF_A_TASK = re.compile("[a-z]+(?:-[a-z]+){3}")
MOST_SEALS = 1_000


def clients(term: str, user: Person) -> Finding:
    """Find API clients by address, or by the name, id or last characters of an API key."""
    page = reverse("admin:ratelimits_ratelimithour_client")
    digests = yield from _digests(term)
    found_clients = yield from client_names.finding(
        term, sees_api_keys=may_see(user, "ratelimits_apikey"), sees_users=may_see(user, "auth_user")
    )
    # Names that other services gave to their clients may be anything: only known ones are offered.
    hits = [
        Hit(f"Client {found.name}", "its requests and refusals", f"{page}?{urlencode({'key': found.key})}")
        for found in found_clients
        if not found.key.startswith("check:")
    ]
    hits += [
        Hit(f"Client {digest[:12]}…", "its requests and refusals", f"{page}?{urlencode({'hash': digest})}")
        for digest in digests
    ]
    return group("Clients", hits, "ratelimits_ratelimithour", q=term)


def _digests(term: str) -> Steps[list[str]]:
    """Return the hashes that begin so, of clients whose keys are no longer stored: pages show the first 12 digits."""
    if not _DIGEST.fullmatch(term):
        return []
    digests: list[str] = []
    while len(digests) < MOST_DIGESTS:
        # From one hash to the next, because each has a row per hour.
        behind = {"key_hash__gt": digests[-1]} if digests else {"key_hash__gte": term.lower()}
        rows = RateLimitHour.objects.filter(key_hash__lt=f"{term.lower()}g", **behind).order_by("key_hash")
        read = yield {"next": value_of(rows.values_list("key_hash", flat=True))}
        if read["next"] is None:
            break
        digests.append(read["next"])
    return digests


def alerts(term: str, user: Person) -> Finding:
    """Find open alerts by the beginning of the fingerprint or by words of the title, and any alert by its number."""
    number = number_in(term, "alert")
    by_number = Alert.objects.none() if number is None else Alert.objects.filter(pk=number)
    is_open = Alert.objects.open().filter(Q(fingerprint__startswith=term) | Q(title__icontains=term))
    read = yield {
        "by_number": models_of(by_number),
        "is_open": models_of(is_open.order_by("-since", "-id")[: SHOWN + 1]),
    }
    rows = dict.fromkeys([*read["by_number"], *read["is_open"]])
    hits = [
        Hit(row.title, f"{row.state}, {row.fingerprint}", page_of("alerts_alert", row.pk)) for row in rows
    ]
    return group("Alerts", hits, "alerts_alert", q=term)


def audit(term: str, user: Person) -> Finding:
    actor = AuditDetail.objects.filter(entry=OuterRef("pk")).values("actor")
    lines = LogEntry.objects.filter(object_id=term).order_by("-id").annotate(actor=Subquery(actor))
    rows = lines.values_list("change_message", "user__username", "actor")
    read = yield {"lines": records_of(rows[: SHOWN + 1])}
    hits = [
        Hit(
            audit_log.parts_of(LogEntry(change_message=message)).did or "Changed.",
            f"by {audit_log.named_actor(name, actor)}",
            list_of("admin_logentry", q=term),
        )
        for message, name, actor in read["lines"]
    ]
    return group("What people did to it", hits, "admin_logentry", q=term)


def seals(term: str, user: Person) -> Finding:
    """Find the seal of the audit with this number, or with the hash of which the audit shows the first 12 digits."""
    seals, number = AuditSeal.objects.only("number", "hash", "source"), number_in(term, "seal")
    # The audit shows the newest seal, and its older pictures and copies those of the last days.
    newest = seals.order_by("-number")[:MOST_SEALS] if _DIGEST.fullmatch(term) else seals.none()
    read = yield {
        "numbered": models_of(seals.none() if number is None else seals.filter(number=number)),
        "newest": models_of(newest),
    }
    rows = [*read["numbered"], *(seal for seal in read["newest"] if seal.hash.startswith(term.lower()))]
    hits = [
        Hit(
            f"Seal {seal.number:,}",
            f"{seal.get_source_display()}, {seal.hash[:12]}",
            list_of("admin_logentry"),
        )
        for seal in dict.fromkeys(rows)
    ]
    return Found("Seals", hits[:SHOWN])


def slack_people(term: str, user: Person) -> Finding:
    read = yield {"people": models_of(SlackPerson.objects.filter(member=term)[:SHOWN])}
    hits = [
        Hit(str(row), "somebody in Slack", page_of("alerts_slackperson", row.pk)) for row in read["people"]
    ]
    return Found("People in Slack", hits)


def identities(term: str, user: Person) -> Finding:
    read = yield {"identities": models_of(SignInIdentity.objects.filter(subject=term)[:SHOWN])}
    hits = [
        Hit(str(row), "who signs in with it", page_of("opsconsole_signinidentity", row.pk))
        for row in read["identities"]
    ]
    return Found("Sign-in identities", hits)


def sns_messages(term: str, user: Person) -> Finding:
    read = yield {"messages": models_of(SnsMessage.objects.filter(message_id=term)[:SHOWN])}
    hits = [
        Hit(f"Message from SNS {row.pk}", row.kind, list_of("alerts_snsmessage", q=term))
        for row in read["messages"]
    ]
    return Found("Messages from SNS", hits)


def successful_tasks(term: str, user: Person) -> Finding:
    return (yield from _tasks(Success.objects.all(), "Successful tasks", "django_q_success", term))


def failed_tasks(term: str, user: Person) -> Finding:
    return (yield from _tasks(Failure.objects.all(), "Failed tasks", "django_q_failure", term))


def _tasks(tasks: QuerySet[Task], heading: str, model: str, term: str) -> Finding:
    """Find tasks that ran by their id, or by their name; what they were given and returned is not read."""
    by = Q(pk=term.lower())
    if _NAME_OF_A_TASK.fullmatch(term):
        # No index has the names, but few tasks are kept.
        by |= Q(name=term)
    read = yield {
        "tasks": records_of(tasks.filter(by).order_by("pk").values_list("pk", "name", "func")[:SHOWN])
    }
    return Found(heading, [Hit(f"Task {name}", func, page_of(model, pk)) for pk, name, func in read["tasks"]])


def queued_tasks(term: str, user: Person) -> Finding:
    """Find a task that waits by its number in the list of queued tasks."""
    number = number_in(term, "queued task", "task")
    queued = OrmQ.objects.none() if number is None else OrmQ.objects.filter(pk=number)
    read = yield {"queued": column_of(queued.values_list("pk", flat=True))}
    return Found(
        "Queued tasks",
        [
            Hit(f"Queued task {pk}", "waits for the cluster", page_of("django_q_ormq", pk))
            for pk in read["queued"]
        ],
    )
