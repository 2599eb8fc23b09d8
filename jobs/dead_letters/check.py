"""The check of the dead letter queues: scan them, then report every new letter exactly once (I7, I8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import OperationalError, transaction
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from alerts import notify
from alerts.notify import Fact, Trouble
from alerts.watch import monitor_alerts
from jobs.dead_letters import origins, removed_queues, scan_coverage, search_text, titles
from jobs.dead_letters.affected_customers import AffectedCustomers, Failures, affected_by, failures_in
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.queue_visit import Visit, visit
from jobs.dead_letters.scan import Budget
from jobs.models import DeadLetter, DeadLetterQueue
from jobs.models.dead_letter import DeadLetterQuerySet
from opsconsole.kit import addresses, figures, intervals, pauses, redaction_version
from opsconsole.kit.counting import exactly
from opsconsole.kit.job_pages import job_links
from opsconsole.kit.row_locks import locked, waited_in_vain
from opsconsole_worker import sqs

# For all queues together; the cluster ends a task after 90 seconds.
SECONDS_FOR_ALL = 60.0
SECONDS_EACH = 40.0


@dataclass(frozen=True)
class CheckedQueue:
    """One queue and what the check found in it."""

    dlq: DeadLetterQueue
    visited: Visit
    new: int

    def __str__(self) -> str:
        if self.visited.paused:
            return f"{self.dlq}: not read, because dead letter checks are paused"
        if self.visited.busy:
            return f"{self.dlq}: another check is reading it"
        if self.visited.depth is None:
            return f"{self.dlq}: could not be read. {self.visited.problem}"
        if not self.visited.depth:
            return f"{self.dlq}: empty"
        locked_by_others = f", {self.visited.locked:,} locked by others" if self.visited.locked else ""
        letters = f"{exactly(self.visited.depth, 'dead letter')}, {self.new:,} new{locked_by_others}"
        return f"{self.dlq}: {letters}; {scan_coverage.in_words(self.dlq)}"


def check(every: timedelta | None = None) -> list[CheckedQueue]:
    """Visit every configured dead letter queue and report to its alert rules; SQS errors are in the result.

    What concerns queues that left the settings is settled first. ``every`` is the interval of checks (default: that of
    the cluster), by which a later check counts as late.
    """
    queues = origins.configured()
    removed_queues.retire_letters()
    removed_queues.end_alerts()
    seconds = min(SECONDS_EACH, SECONDS_FOR_ALL / max(1, len(queues)))
    checked = [_check_if_free(dlq, Budget(seconds=seconds), every) for dlq in queues]
    titles.catch_up()
    search_text.catch_up()
    return checked


def _check_if_free(dlq: DeadLetterQueue, budget: Budget, every: timedelta | None) -> CheckedQueue:
    """Check this queue. One whose rows others keep locked can't be checked now, and the next queue's turn comes."""
    try:
        return check_one(dlq, budget, every)
    except OperationalError as error:
        if not waited_in_vain(error):
            raise
        return CheckedQueue(dlq, Visit(depth=None, problem="Other transactions keep its rows locked."), 0)


def check_one(dlq: DeadLetterQueue, budget: Budget, every: timedelta | None = None) -> CheckedQueue:
    """Visit one queue and report what is new. Do nothing while another process visits it: that one reports."""
    if pause := pauses.active(pauses.DEAD_LETTER_CHECKS):
        if pause.until:
            # A pause with an end is a decision, so the monitor is not late. A pause without an end is reported as late.
            _in_time(dlq, every)
        return CheckedQueue(dlq, Visit(depth=None, paused=True), 0)
    visited = visit(dlq, budget)
    dlq.refresh_from_db()
    if visited.busy or visited.paused:
        return CheckedQueue(dlq, visited, 0)
    new = tell(dlq, visited)
    if visited.depth is not None:
        figures.raise_to("dead letters", visited.depth)
        _in_time(dlq, every)
    return CheckedQueue(dlq, visited, new)


def _in_time(dlq: DeadLetterQueue, every: timedelta | None) -> None:
    interval = every or intervals.of_dead_letter_checks().every
    notify.monitor_ok(monitor_alerts.of_queue(str(dlq)), interval)


def tell(dlq: DeadLetterQueue, visited: Visit) -> int:
    """Report depth and expiry to the alert rules, and return how many letters were new.

    The letters are marked as reported in the transaction of the alert.
    """
    with transaction.atomic():
        # Concurrent checks take turns here, and the second finds nothing new.
        locked(DeadLetterQueue.objects.all()).get(pk=dlq.pk)
        _tell_expiring(dlq)
        if visited.depth is None:
            notify.measure("dlq_not_empty", None, scope=str(dlq), why_unknown=visited.problem)
            return 0
        # Letters that others keep locked are told by a later check.
        free = FreeLetters().lock(DeadLetter.objects.filter(dlq=dlq, told_at=None))
        # One parameter: thousands of them cost more than the work of the statements below.
        mine = DeadLetter.objects.filter(pk__in=RawSQL("SELECT unnest(%s::uuid[])", [free]))
        fresh, news = _NewLetters.of(mine), _NewLetters.since_last_message(dlq, mine)
        affected, failures = affected_by(dlq), failures_in(dlq)
        mine.update(told_at=Now())
        notify.measure(
            "dlq_not_empty",
            visited.depth,
            Trouble(
                title=scan_coverage.counted(visited.depth, str(dlq)) if visited.depth else "",
                link=_list_of(dlq),
                facts=list(_facts(dlq, failures, affected)),
                links=list(_links(dlq, failures, affected)),
                news=news.sentence if fresh.letters else "",
                is_all_news=True,
                breaks_through=bool(fresh.failures),
            ),
            scope=str(dlq),
        )
        return fresh.letters


@dataclass(frozen=True)
class _NewLetters:
    """New letters, recognised by identity and never by a count. ``failures``: groups not reported before."""

    letters: int
    returned: int
    failures: int

    @classmethod
    def since_last_message(cls, dlq: DeadLetterQueue, untold: DeadLetterQuerySet) -> _NewLetters:
        """Count them together with those that wait to be told, so that a message has one sum for many checks."""
        last = notify.last_told(f"dlq_not_empty:{dlq}")
        if last is None:
            return cls.of(untold)
        waiting = Q(pk__in=untold.values("pk")) | Q(dlq=dlq, told_at__gt=last)
        return cls.of(DeadLetter.objects.filter(waiting), last)

    @classmethod
    def of(cls, letters: DeadLetterQuerySet, last_told: datetime | None = None) -> _NewLetters:
        untold = letters.present()
        groups = set(untold.values_list("group", flat=True).distinct())
        before = {"told_at__lte": last_told} if last_told else {"told_at__isnull": False}
        reported_letters = DeadLetter.objects.filter(group__in=groups, **before)
        known = set(reported_letters.values_list("group", flat=True).distinct())
        return cls(untold.count(), untold.filter(returns__gt=0).count(), len(groups - known))

    @property
    def sentence(self) -> str:
        if not self.letters:
            return ""
        parts = [exactly(self.letters, "new dead letter")]
        if self.returned:
            parts.append(f"{self.returned:,} of them came back after a replay")
        if self.failures:
            parts.append(f"{exactly(self.failures, 'failure')} not seen before")
        return f"{', '.join(parts)}."


def _facts(dlq: DeadLetterQueue, failures: Failures, affected: AffectedCustomers | None) -> Iterator[Fact]:
    if failures.newest:
        yield "Newest failures", failures.lines(), redaction_version.current()
    if affected:
        yield "Affected customers", affected.sentence()
        yield "Longest overdue", affected.longest()
        yield "For support", affected.for_support()
    if returned := DeadLetter.objects.present().filter(dlq=dlq, returns__gt=0).count():
        yield "Came back after a replay", f"{returned:,}"
    yield "Coverage", scan_coverage.in_words(dlq)


def _links(
    dlq: DeadLetterQueue, failures: Failures, affected: AffectedCustomers | None
) -> Iterator[tuple[str, str]]:
    """Yield links in addition to the alert's own link, which leads to the list."""
    if page := sqs.console_link(dlq.url):
        yield "View DLQ", page
    if failures.others:
        yield "All failures", addresses.of_list("jobs_failuregroup")
    yield from job_links([job.pk for job in affected.overdue] if affected else ())
    # Messages leave these out, and so does the page for those who may not see customers.
    yield from affected.links() if affected else ()


def _tell_expiring(dlq: DeadLetterQueue) -> None:
    expiring = DeadLetter.objects.expiring().filter(dlq=dlq)
    count = expiring.count()
    notify.measure(
        "dead_letters_expiring",
        count,
        Trouble(
            title=f"SQS deletes {exactly(count, 'dead letter')} within a day ({dlq})" if count else "",
            summary="The console keeps what SQS deletes. Replay or discard it.",
            link=f"{_list_of(dlq)}&left=day",
        ),
        scope=str(dlq),
    )


def _list_of(dlq: DeadLetterQueue) -> str:
    return f"{addresses.of_list('jobs_deadletter')}?dlq={dlq.pk}"
