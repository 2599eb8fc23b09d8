"""Finders of jobs and what belongs to them: customers, workers, queues, messages, dead letters, sweeps and operations."""

from __future__ import annotations

from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now

from jobs.admin.bulk import operation_page
from jobs.admin.job_search import by_id, first_of_customer, having_error, newest_of_customer
from jobs.bulk.registry import KINDS
from jobs.dead_letters import search_text
from jobs.models import (
    BulkOperation,
    DeadLetter,
    DeadLetterQueue,
    FailureGroup,
    IdempotencyKey,
    Job,
    Outbox,
    QueueState,
    ReplayAttempt,
    Sweep,
    WorkerHeartbeat,
)
from jobs.models import Status as JobStatus
from jobs.runs import status_wording
from jobs.runs.timeline import Actor
from opsconsole import customers as customer_pages
from opsconsole.kit import job_ids
from opsconsole.kit.counting import exactly
from opsconsole.kit.one_statement import Reading, column_of, models_of, records_of
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.short_ids import ids_that_begin, short_id
from opsconsole.search.hits import SHOWN, Finding, Found, Hit, group, number_in, page_of
from ratelimits.models import ApiKey

Row = TypeVar("Row", bound=Model)
MOST_GROUPS = 500
MOST_FAILED = 1_000
# Of a word that all letters have, some are enough: the list, to which a link leads, has the others.
MOST_WITH_WORDS = 500


def jobs(term: str, user: Person) -> Finding:
    """Find the jobs of the customer with this id, or by the beginning of the job's id."""
    newest = Job.objects.order_by("-created_at", "-pk").defer("payload").annotate(db_now=Now())
    # By itself, because a column of another type rejects the term.
    jobs = first_of_customer(newest, term, SHOWN + 1)
    if not jobs:
        read = yield {"jobs": models_of(by_id(newest, term)[: SHOWN + 1])}
        jobs = read["jobs"]
    hits = [Hit(str(job.pk), _job_in_words(job), page_of("jobs_job", job.pk)) for job in jobs]
    return group("Jobs", hits, "jobs_job", q=term)


def _job_in_words(job: Any) -> str:
    return f"{job.customer}, {status_wording.of_job(job, job.db_now)}, run {job.run_epoch}"


def customers(term: str, user: Person) -> Finding:
    """Find the customer with this id, of whom there is a page."""
    known = newest_of_customer(term, 1)
    yield {}
    hits = [Hit(f"Customer {term}", "jobs, dead letters, limits, alerts", customer_pages.url_of(term))]
    return Found("Customers", hits if known else [])


def workers(term: str, user: Person) -> Finding:
    rows = WorkerHeartbeat.objects.filter(worker_id__startswith=term).order_by("worker_id")[: SHOWN + 1]
    read = yield {"workers": models_of(rows)}
    hits = [
        Hit(row.worker_id, _doing(row, user), page_of("jobs_workerheartbeat", row.worker_id))
        for row in read["workers"]
    ]
    return group("Workers", hits, "jobs_workerheartbeat", q=term)


def queues(term: str, user: Person) -> Finding:
    read = yield {"names": column_of(QueueState.objects.values_list("name", flat=True))}
    names = sorted(name for name in {*settings.QUEUES, *read["names"]} if name.startswith(term))
    hits = [
        Hit(f"Queue {name}", "what waits, runs and ended", page_of("jobs_queuestate", name)) for name in names
    ]
    return group("Queues", hits, "jobs_queuestate")


def _doing(worker: WorkerHeartbeat, user: Person) -> str:
    if worker.current_job_id is None:
        return "runs nothing"
    return f"runs {worker.current_job_id}" if may_see(user, "jobs_job") else "runs a job"


def messages(term: str, user: Person) -> Finding:
    """Find messages by the id that SQS gave them, or by their number in the list of outgoing messages."""
    of_sqs = Outbox.objects.filter(message_id=term).exclude(message_id="")
    read = yield {
        "numbered": _numbered(Outbox.objects.all(), number_in(term, "message", "outgoing message")),
        "of_sqs": models_of(of_sqs.order_by("-id")[:SHOWN]),
    }
    return Found("Messages sent", [_message(row, user) for row in (*read["numbered"], *read["of_sqs"])])


def _numbered(rows: QuerySet[Row], number: int | None) -> Reading[list[Row]]:
    """Read the row with this number, or none."""
    return models_of(rows.none() if number is None else rows.filter(pk=number))


def _message(row: Outbox, user: Person) -> Hit:
    title, about = f"Message #{row.pk}", f"{row.message_id} run {row.run_epoch}, {row.state}".strip()
    if may_see(user, "jobs_job"):
        return Hit(title, f"job {row.job_id}, {about}", page_of("jobs_job", row.job_id))
    return Hit(title, about, page_of("jobs_outbox", row.pk))


def letters(term: str, user: Person) -> Finding:
    """Find dead letters by their id, by that of a message, by that of their job for those who may see jobs, or by their words.

    The message is the one that was dead, or the one that a replay sent. The job need not be known to the database.
    """
    # With the queue, which is the first column of the index; there are few queues. Ids that are read here first let PostgreSQL
    # use the index of each part: with a query in one of them, it reads all letters.
    replayed = ReplayAttempt.objects.filter(new_message_id=term).exclude(new_message_id="").order_by("-id")
    known = yield {
        "queues": column_of(DeadLetterQueue.objects.values_list("pk", flat=True)),
        "replayed": column_of(replayed.values_list("letter", flat=True)[: SHOWN + 1]),
    }
    by = Q(dlq__in=known["queues"], message_id=term) | Q(pk__in=known["replayed"])
    if span := ids_that_begin(term):
        by |= Q(pk__range=span)
    if may_see(user, "jobs_job"):
        if span and job_ids.TYPE == "uuid":
            by |= Q(job_id__gte=span[0], job_id__lte=span[1])
        elif (job_id := job_ids.parse(term)) is not None:
            by |= Q(job_id=job_id)
    newest = DeadLetter.objects.light().order_by("-first_seen_at", "-id")
    by_words = newest.filter(pk__in=search_text.with_all_words(term, MOST_WITH_WORDS).values("pk"))
    read = yield {
        "named": models_of(newest.filter(by)[: SHOWN + 1]),
        "said": models_of(by_words[: SHOWN + 1]),
    }
    named = {row.pk for row in read["named"]}
    hits = [_letter(row) for row in read["named"]]
    hits += [_letter(row, ", has these words") for row in read["said"] if row.pk not in named]
    return group("Dead letters", hits, "jobs_deadletter", q=term, state="all")


def _letter(row: DeadLetter, why: str = "") -> Hit:
    state = f"{row.get_state_display().capitalize()}{why}"
    return Hit(f"Dead letter {short_id(row.pk)}", state, page_of("jobs_deadletter", row.pk))


def failures(term: str, user: Person) -> Finding:
    """Find groups of dead letters by words of their error, among the newest; what must not be shown is not searched."""
    read = yield {
        "numbered": _numbered(FailureGroup.objects.all(), number_in(term, "group", "failure group")),
        "newest": models_of(FailureGroup.objects.order_by("-last_seen_at", "-id")[:MOST_GROUPS]),
    }
    matching = [group for group in read["newest"] if term.lower() in group.shown_title.lower()]
    matching = [*read["numbered"], *matching]
    hits = [
        Hit(
            group.shown_title[:120], f"dead letters, group {group.pk}", page_of("jobs_failuregroup", group.pk)
        )
        for group in matching[: SHOWN + 1]
    ]
    return Found("Failures", hits[:SHOWN])


def errors(term: str, user: Person) -> Finding:
    """Find jobs by words of their error, among the newest that failed and the newest that are quarantined."""
    # One list of ids: with two of them, joined by OR, PostgreSQL reads all jobs.
    newest = Job.objects.filter(
        pk__in=_newest(JobStatus.FAILED).union(_newest(JobStatus.QUARANTINED), all=True)
    )
    rows = having_error(newest, term).order_by("-created_at", "-pk").defer("payload")[: SHOWN + 1]
    read = yield {"jobs": models_of(rows)}
    hits = [
        Hit(str(job.pk), f"{job.customer}: {(job.error_message or '')[:120]}", page_of("jobs_job", job.pk))
        for job in read["jobs"]
    ]
    return group("Errors of jobs", hits, "jobs_job", error=term)


def _newest(status: str) -> QuerySet[Job, Any]:
    return Job.objects.filter(status=status).order_by("-created_at", "-pk").values("pk")[:MOST_FAILED]


def operations(term: str, user: Person) -> Finding:
    """Find the bulk operation with this number, as pages show it: #12. Nobody but its maker sees a preview."""
    number = number_in(term, "bulk operation", "operation")
    own = Actor.operator(user.get_username(), user.pk).name
    seen = ~Q(state__in=BulkOperation.UNCONFIRMED) | Q(actor=own)
    read = yield {"operations": _numbered(BulkOperation.objects.filter(seen), number)}
    hits = [
        Hit(f"Bulk operation #{row.pk}", _of_operation(row), page_of("jobs_bulkoperation", row.pk))
        for row in read["operations"]
    ]
    return Found("Bulk operations", hits)


def _of_operation(row: BulkOperation) -> str:
    kind = KINDS.get(row.action)
    if kind is None:
        did = row.action
    else:
        did = operation_page.title(row, kind) if row.will else f"{kind.verb} {kind.many}"
    return f"{did}, {row.get_state_display()}"


def sweeps(term: str, user: Person) -> Finding:
    """Find the sweep with this number."""
    read = yield {"sweeps": _numbered(Sweep.objects.defer("details"), number_in(term, "sweep"))}
    hits = [
        Hit(f"Sweep {row.pk}", f"found {exactly(row.found, 'stale run')}", page_of("jobs_sweep", row.pk))
        for row in read["sweeps"]
    ]
    return Found("Sweeps", hits)


def answers(term: str, user: Person) -> Finding:
    """Find the job that a request with this idempotency key made. The first column of the index is the caller: there are few."""
    known = yield {"keys": column_of(ApiKey.objects.values_list("pk", flat=True))}
    callers = [f"api-key:{key}" for key in known["keys"]]
    rows = IdempotencyKey.objects.filter(caller__in=callers, key=term).exclude(answer=None)
    read = yield {"answers": records_of(rows.values_list("answer")[:SHOWN])}
    ids = [job_ids.parse(answer.get("id")) for [answer] in read["answers"] if isinstance(answer, dict)]
    hits = [
        Hit(str(pk), "made by a request with this key", page_of("jobs_job", pk))
        for pk in ids
        if pk is not None
    ]
    return Found("Idempotency keys", hits)
