"""The probe job: through enqueueing, the outbox, SQS, claim and completion, without any trace for others.

Its row is never committed: each half of its way is one transaction that is undone, so that no worker, dispatcher, sweep or
figure ever sees it. Its message goes only to the queue that ``OPSCONSOLE_PROBE_QUEUE_URL`` sets aside. On a queue of jobs,
whichever worker is first would receive it, and a worker that knows nothing of probes might do its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db import Error, connection, transaction

from jobs.inspection import trigger_reach
from jobs.intake import enqueue
from jobs.intake.enqueue import NewJob
from jobs.messaging import dispatcher, leases
from jobs.messaging.leases import Letter
from jobs.models import Job, Status
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.runs.timeline import Actor
from opsconsole.kit import job_ids, own_schema, row_locks
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.verification.check import Judgement, Wishes, ok, skipped, unknown, wrong
from opsconsole.verification.services import urls
from opsconsole_worker import refusals, sqs
from opsconsole_worker.kept_rows import RowKept
from opsconsole_worker.messages import JobMessage, MalformedMessage, parse_body
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refused, Run

CUSTOMER = "opsconsole-verify"
LOOK_AT_TRIGGERS = "Look at the triggers of the table of jobs, and run inspect_database."
ACTOR, WORKER = Actor(CUSTOMER), Worker(CUSTOMER)
ROUNDS, WAIT_SECONDS, HIDDEN_SECONDS = 6, 2, 60
# Left by a verification that was killed. A younger message may be another verification's.
LEFT_BEHIND = timedelta(minutes=5)
ASIDE = (
    "To prove the way through SQS as well: create a queue that no worker reads, allow this process to send, receive and delete "
    "there, and set OPSCONSOLE_PROBE_QUEUE_URL to its address (docs/verifying.md)."
)

Answer = TypeVar("Answer")


class ProbeFailed(OpsConsoleError):
    """A step of the probe did not do what it should; the message says which."""


@dataclass(frozen=True)
class Probe:
    """The probe job as it is enqueued, with the letter that the outbox makes of it."""

    new: NewJob
    letter: Letter


def job_passes(_: Wishes) -> Judgement:
    """Let a job pass through enqueueing, the outbox, claim and completion in the database, and undo it."""

    def walk() -> None:
        probe = _enqueued(_new_job())
        _worked(probe.letter.message)

    return _judged(
        lambda: _undone(walk),
        fine="A job was enqueued, put into the outbox, claimed and completed, and all of it was undone.",
    )


def job_passes_through_sqs(_: Wishes) -> Judgement:
    """Let a job pass through all of it and the queue that is set aside for probes."""
    url: str | None = settings.OPSCONSOLE_PROBE_QUEUE_URL
    if not url:
        return skipped("No queue is set aside for probes.", ASIDE)
    if url in urls():
        return wrong(
            "OPSCONSOLE_PROBE_QUEUE_URL is a queue of jobs: a worker could take the probe for work. It was not sent.",
            "Create a queue that no worker reads.",
        )
    return _judged(
        lambda: _through(url),
        fine="A job passed through enqueueing, the outbox, SQS, claim and completion. Nothing of it is left.",
    )


def _through(url: str) -> None:
    # SQS is asked between the two transactions, so that no lock waits on the network.
    probe = _undone(lambda: _enqueued(_new_job()))
    [sent] = sqs.send_batch(url, [dispatcher.outgoing(probe.letter, url)])
    if sent.error is not None:
        raise ProbeFailed(f"The probe was not sent: {sent.error}")
    received = _receive(url, probe.letter.message)
    message = parse_body(received.body, settings.OPSCONSOLE_BODY_LIMIT_BYTES)

    def work() -> None:
        # The row is gone with the first transaction. Where the database numbers jobs, this one has another number.
        again = _enqueued(probe.new)
        _worked(message if probe.new.id else replace(message, job_id=again.letter.message.job_id))

    _undone(work)


def _new_job() -> NewJob:
    """Return a job like the newest one, because their constraints accept such a job; the first one ever is made up."""
    newest = Job.objects.only("customer_id", "package_size", "priority_level").order_by("-created_at").first()
    return NewJob(
        customer_id=str(newest.customer_id) if newest else CUSTOMER,
        package_size=_size_like(newest),
        priority=newest.priority_level if newest else None,
        queue=next(iter(settings.QUEUES), ""),
        id=job_ids.new(),
    )


def _size_like(newest: Job | None) -> int:
    """Return the size of that job; 1 where it has none that the console may write: their column may be empty, text or missing."""
    size = newest.package_size if newest else None
    return size if isinstance(size, int) and size > 0 else 1


def _enqueued(new: NewJob) -> Probe:
    job = enqueue.enqueue(new, actor=ACTOR)
    page = leases.take(1, only=job.pk)
    if len(page.letters) != 1:
        raise ProbeFailed("The outbox did not hand out the message of the job that was just enqueued.")
    return Probe(new, page.letters[0])


def _worked(message: JobMessage) -> None:
    claimed = lifecycle.claim(message.job_id, message.run_epoch, WORKER)
    if isinstance(claimed, Refused):
        raise ProbeFailed(f"The claim was refused. {claimed.sentence}")
    if not lifecycle.complete(Run(claimed.id, claimed.epoch, WORKER)):
        raise ProbeFailed("The completion was refused, as if the run had been superseded.")
    status = Job.objects.values_list("status", flat=True).get(pk=claimed.id)
    if status != Status.COMPLETED:
        raise ProbeFailed(f"The job is {status!r} after its completion, as by a trigger that changed it.")


def _undone(steps: Callable[[], Answer]) -> Answer:
    """Take these steps in a transaction that is undone, with short waits and all constraints immediate."""
    with transaction.atomic():
        row_locks.limit_transaction(timedelta(seconds=1), statement_timeout="5s")
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        answer = steps()
        transaction.set_rollback(True)
    return answer


def _receive(url: str, sent: JobMessage) -> sqs.Received:
    """Receive and delete the probe's message. Others are given back, or deleted if a killed verification left them."""
    for _ in range(ROUNDS):
        received = sqs.receive(url, wait_seconds=WAIT_SECONDS, visibility_seconds=HIDDEN_SECONDS)
        found = [each for each in received if _is(each, sent)]
        _clear([each for each in received if each not in found])
        for each in found:
            sqs.delete(each)
            return each
    raise ProbeFailed(
        f"The probe was sent and did not come back within {ROUNDS * WAIT_SECONDS} s: something else reads the queue."
    )


def _is(received: sqs.Received, sent: JobMessage) -> bool:
    try:
        return parse_body(received.body, settings.OPSCONSOLE_BODY_LIMIT_BYTES) == sent
    except MalformedMessage:
        return False


def _clear(others: Sequence[sqs.Received]) -> None:
    for each in others:
        if each.sent_at and datetime.now(UTC) - each.sent_at > LEFT_BEHIND:
            sqs.delete(each)
        else:
            sqs.release(each)


def _judged(walk: Callable[[], object], *, fine: str) -> Judgement:
    if not settings.QUEUES:
        return unknown("There is no queue.", "Set SQS_QUEUE_URL and SQS_DLQ_URL.")
    reaching = trigger_reach.reaching_outside([JOBS.sql, HEARTBEATS.sql], own_schema.name())
    if reaching:
        return unknown(
            f"No job was tried, because {'; '.join(reaching)}: what it does outside could not be undone.",
            "Read that trigger. If it is harmless, inspect_database --yes-run-triggers tries the rest on a job.",
        )
    try:
        walk()
    except ProbeFailed as error:
        return wrong(str(error), LOOK_AT_TRIGGERS)
    except RowKept as error:
        # It would keep the rows of workers, too.
        return wrong(f"A row could not be changed: {error}.", LOOK_AT_TRIGGERS)
    except Error as error:
        if refusal := refusals.of(error):
            return unknown(
                f"{refusal.sentence} So the probe could not be tried.",
                "Run inspect_database: it tries claim and completion on a job of yours.",
            )
        raise
    return ok(fine)
