"""The search on every page: jobs, customers, workers, messages, dead letters, clients, alerts and the audit.

Each finder uses an index and shows at most ``SHOWN`` hits. Where there are more, ``more`` links to the whole list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from alerts.models import Alert
from jobs.admin.job_search import by_id, first_of_customer, having_error, newest_of_customer
from jobs.models import (
    BulkOperation,
    DeadLetter,
    DeadLetterQueue,
    FailureGroup,
    IdempotencyKey,
    Job,
    Outbox,
    QueueState,
    WorkerHeartbeat,
)
from jobs.models import Status as JobStatus
from opsconsole import customers
from opsconsole.kit import audit, job_ids
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.short_ids import ids_that_begin
from opsconsole.kit.storable import plain_text
from ratelimits.identity import client_names
from ratelimits.models import ApiKey

SHOWN = 10
MOST_GROUPS = 500
MOST_FAILED = 1_000
SHORTEST = 2
LONGEST = 500


@dataclass(frozen=True)
class Hit:
    title: str
    about: str
    url: str


@dataclass(frozen=True)
class Found:
    """The hits of one kind. ``more`` is the address of the whole list, or '' when all hits are shown."""

    heading: str
    hits: list[Hit]
    more: str = ""


def view(request: HttpRequest) -> HttpResponse:
    """Show the hits for ``?q=``, or redirect to the only one."""
    term = request.GET.get("q", "").strip()
    found = search(term, request.user)
    places = list(_addresses(found))
    if len(places) == 1:
        return redirect(places[0])
    context = {**admin.site.each_context(request), "title": "Search", "term": term, "found": found}
    return TemplateResponse(request, "admin/search.html", context)


def search(term: str, user: Person) -> list[Found]:
    """Return the hits that this user may see; none for a term that is too short or too long."""
    term = plain_text(term).strip()
    if not SHORTEST <= len(term) <= LONGEST:
        return []
    found = [finder(term, user) for page, finder in FINDERS if may_see(user, page)]
    return [group for group in found if group.hits]


def _jobs(term: str, user: Person) -> Found:
    newest = Job.objects.order_by("-created_at", "-pk").defer("payload")
    jobs = first_of_customer(newest, term, SHOWN + 1) or list(by_id(newest, term)[: SHOWN + 1])
    hits = [
        Hit(str(job.pk), f"{job.customer}, {job.status}, run {job.run_epoch}", _page("jobs_job", job.pk))
        for job in jobs
    ]
    return _group("Jobs", hits, "jobs_job", q=term)


def _customers(term: str, user: Person) -> Found:
    """Find the customer with this id, of whom there is a page."""
    known = newest_of_customer(term, 1)
    hits = [Hit(f"Customer {term}", "jobs, dead letters, limits, alerts", customers.url_of(term))]
    return Found("Customers", hits if known else [])


def _workers(term: str, user: Person) -> Found:
    rows = WorkerHeartbeat.objects.filter(worker_id__startswith=term).order_by("worker_id")[: SHOWN + 1]
    hits = [
        Hit(row.worker_id, _doing(row, user), _page("jobs_workerheartbeat", row.worker_id)) for row in rows
    ]
    return _group("Workers", hits, "jobs_workerheartbeat", q=term)


def _queues(term: str, user: Person) -> Found:
    read = QueueState.objects.values_list("name", flat=True)
    names = sorted(name for name in {*settings.QUEUES, *read} if name.startswith(term))
    hits = [
        Hit(f"Queue {name}", "what waits, runs and ended", _page("jobs_queuestate", name)) for name in names
    ]
    return _group("Queues", hits, "jobs_queuestate")


def _doing(worker: WorkerHeartbeat, user: Person) -> str:
    if worker.current_job_id is None:
        return "runs nothing"
    return f"runs {worker.current_job_id}" if may_see(user, "jobs_job") else "runs a job"


def _messages(term: str, user: Person) -> Found:
    rows = Outbox.objects.filter(message_id=term).exclude(message_id="").order_by("-id")[:SHOWN]
    return Found("Messages sent", [_message(row, user) for row in rows])


def _message(row: Outbox, user: Person) -> Hit:
    title, about = f"Message {row.message_id}", f"run {row.run_epoch}, {row.state}"
    if may_see(user, "jobs_job"):
        return Hit(title, f"job {row.job_id}, {about}", _page("jobs_job", row.job_id))
    return Hit(title, about, _page("jobs_outbox", row.pk))


def _letters(term: str, user: Person) -> Found:
    """Find dead letters by their id, by that of their message, or by that of their job for those who may see jobs."""
    # With the queue, which is the first column of the index; there are few queues.
    by = Q(dlq__in=DeadLetterQueue.objects.values("pk"), message_id=term)
    if span := ids_that_begin(term):
        by |= Q(pk__range=span)
    if may_see(user, "jobs_job") and (job_id := job_ids.parse(term)) is not None:
        by |= Q(job_id=job_id)
    rows = DeadLetter.objects.light().filter(by).order_by("-first_seen_at", "-id")[: SHOWN + 1]
    hits = [
        Hit(f"Dead letter {row.message_id}", row.get_state_display(), _page("jobs_deadletter", row.pk))
        for row in rows
    ]
    return _group("Dead letters", hits, "jobs_deadletter", q=term, state="all")


def _failures(term: str, user: Person) -> Found:
    """Find groups of dead letters by words of their error, among the newest; what must not be shown is not searched."""
    newest = FailureGroup.objects.order_by("-last_seen_at", "-id")[:MOST_GROUPS]
    matching = [group for group in newest if term.lower() in group.shown_title.lower()]
    if (number := _number(term)) is not None:
        matching = [*FailureGroup.objects.filter(pk=number), *matching]
    hits = [
        Hit(group.shown_title[:120], f"dead letters, group {group.pk}", _page("jobs_failuregroup", group.pk))
        for group in matching[: SHOWN + 1]
    ]
    return Found("Failures", hits[:SHOWN])


def _errors(term: str, user: Person) -> Found:
    """Find jobs by words of their error, among the newest that failed."""
    failed = Job.objects.filter(status=JobStatus.FAILED).order_by("-created_at", "-pk")
    newest = Job.objects.filter(pk__in=failed.values("pk")[:MOST_FAILED])
    rows = having_error(newest, term).order_by("-created_at", "-pk").defer("payload")[: SHOWN + 1]
    hits = [
        Hit(str(job.pk), f"{job.customer}: {(job.error_message or '')[:120]}", _page("jobs_job", job.pk))
        for job in rows
    ]
    return _group("Errors of jobs", hits, "jobs_job", error=term)


def _operations(term: str, user: Person) -> Found:
    """Find the bulk operation with this number, as pages show it: #12."""
    number = _number(term)
    rows = BulkOperation.objects.filter(pk=number) if number is not None else []
    hits = [
        Hit(f"Bulk operation #{row.pk}", f"{row.action}, {row.state}", _page("jobs_bulkoperation", row.pk))
        for row in rows
    ]
    return Found("Bulk operations", hits)


def _number(term: str) -> int | None:
    """Return the number that a page shows as "#12" or "group 12"."""
    found = re.fullmatch(r"(?:#|group )?([0-9]{1,9})", term, re.ASCII | re.IGNORECASE)
    return int(found[1]) if found else None


def _answers(term: str, user: Person) -> Found:
    """Find the job that a request with this idempotency key made. The first column of the index is the caller: there are few."""
    callers = [f"api-key:{key}" for key in ApiKey.objects.values_list("pk", flat=True)]
    rows = IdempotencyKey.objects.filter(caller__in=callers, key=term).exclude(answer=None)[:SHOWN]
    ids = [job_ids.parse(row.answer.get("id")) for row in rows if isinstance(row.answer, dict)]
    hits = [
        Hit(str(pk), "made by a request with this key", _page("jobs_job", pk)) for pk in ids if pk is not None
    ]
    return Found("Idempotency keys", hits)


def _clients(term: str, user: Person) -> Found:
    """Find API clients by address, or by the name, id or last characters of an API key."""
    page = reverse("admin:ratelimits_ratelimithour_client")
    found_clients = client_names.find(
        term, sees_api_keys=may_see(user, "ratelimits_apikey"), sees_users=may_see(user, "auth_user")
    )
    # Names that other services gave to their clients may be anything: only known ones are offered.
    hits = [
        Hit(f"Client {found.name}", "its requests and refusals", f"{page}?{urlencode({'key': found.key})}")
        for found in found_clients
        if not found.key.startswith("check:")
    ]
    return _group("Clients", hits, "ratelimits_ratelimithour", q=term)


def _alerts(term: str, user: Person) -> Found:
    """Find open alerts by the beginning of the fingerprint or by words of the title; few are open at a time."""
    rows = Alert.objects.open().filter(Q(fingerprint__startswith=term) | Q(title__icontains=term))
    rows = rows.order_by("-since", "-id")[: SHOWN + 1]
    hits = [Hit(row.title, f"{row.state}, {row.fingerprint}", _page("alerts_alert", row.pk)) for row in rows]
    return _group("Alerts", hits, "alerts_alert", q=term)


def _audit(term: str, user: Person) -> Found:
    lines = audit.with_details(LogEntry.objects.filter(object_id=term)).order_by("-id")[: SHOWN + 1]
    hits = [
        Hit(
            audit.told(line).did or "Changed.",
            f"by {audit.who(line)}",
            _list("admin_logentry", q=term),
        )
        for line in lines
    ]
    return _group("What people did to it", hits, "admin_logentry", q=term)


# Each with the page that its hits quote.
FINDERS: list[tuple[str, Callable[[str, Person], Found]]] = [
    ("jobs_job", _customers),
    ("jobs_job", _jobs),
    ("jobs_workerheartbeat", _workers),
    ("jobs_queuestate", _queues),
    ("jobs_outbox", _messages),
    ("jobs_deadletter", _letters),
    ("jobs_failuregroup", _failures),
    ("jobs_job", _errors),
    ("jobs_bulkoperation", _operations),
    ("jobs_job", _answers),
    ("ratelimits_ratelimithour", _clients),
    ("alerts_alert", _alerts),
    ("admin_logentry", _audit),
]


def _group(heading: str, hits: list[Hit], model: str, **query: str) -> Found:
    return Found(heading, hits[:SHOWN], _list(model, **query) if len(hits) > SHOWN else "")


def _page(model: str, key: object) -> str:
    return reverse(f"admin:{model}_change", args=[key])


def _list(model: str, **query: str) -> str:
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"


def _addresses(found: list[Found]) -> Iterator[str]:
    """Yield the addresses of all hits, each once."""
    yield from dict.fromkeys(hit.url for group in found for hit in group.hits)
