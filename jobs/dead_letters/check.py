"""The check of the dead letter queues: look, then tell what is new. Nobody misses one, nobody hears of one twice (I7, I8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse

from alerts import notify
from alerts.notify import Trouble
from alerts.watch import monitor_alerts
from jobs import sqs
from jobs.dead_letters import origins, search_text
from jobs.dead_letters.affected_customers import Concerned, concerned_by, failures_in
from jobs.dead_letters.queue_visit import Visit, coverage, visit
from jobs.dead_letters.scan import Budget
from jobs.models import DeadLetter, DeadLetterQueue
from opsconsole.kit import figures, pauses
from opsconsole.kit.counting import exactly
from opsconsole.kit.short_ids import short_id

# Of the 90 seconds of a task, for all queues together.
SECONDS_FOR_ALL = 60.0
SECONDS_EACH = 40.0


@dataclass(frozen=True)
class Checked:
    """One queue and what the check found of it."""

    dlq: DeadLetterQueue
    visited: Visit
    new: int

    def __str__(self) -> str:
        if self.visited.paused:
            return f"{self.dlq}: not read, because checks of dead letters are paused"
        if self.visited.busy:
            return f"{self.dlq}: another check is at it"
        if self.visited.depth is None:
            return f"{self.dlq}: unknown. {self.visited.problem}"
        if not self.visited.depth:
            return f"{self.dlq}: empty"
        return f"{self.dlq}: {exactly(self.visited.depth, 'dead letter')}, {self.new:,} new; {coverage(self.dlq)}"


def check() -> list[Checked]:
    """Visit every configured dead letter queue and measure what its rules judge. What SQS refuses is in the answer."""
    queues = origins.configured()
    seconds = min(SECONDS_EACH, SECONDS_FOR_ALL / max(1, len(queues)))
    checked = [check_one(dlq, Budget(seconds=seconds)) for dlq in queues]
    search_text.catch_up()
    return checked


def check_one(dlq: DeadLetterQueue, budget: Budget) -> Checked:
    """Visit one queue and tell what is new. While another visits it, that one tells, and nothing is done here."""
    if pause := pauses.active(pauses.DEAD_LETTER_CHECKS):
        if pause.until:
            # Somebody decided for how long nothing is watched; a pause without an end is still told of as late.
            _in_time(dlq)
        return Checked(dlq, Visit(depth=None, paused=True), 0)
    visited = visit(dlq, budget)
    dlq.refresh_from_db()
    if visited.busy or visited.paused:
        return Checked(dlq, visited, 0)
    new = tell(dlq, visited)
    if visited.depth is not None:
        figures.raise_to("dead letters", visited.depth)
        _in_time(dlq)
    return Checked(dlq, visited, new)


def _in_time(dlq: DeadLetterQueue) -> None:
    interval = timedelta(seconds=settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS)
    notify.monitor_ok(f"{monitor_alerts.DLQ_CHECK} ({dlq})", interval)


def tell(dlq: DeadLetterQueue, visited: Visit) -> int:
    """Measure depth and expiry; which letters were told commits with the alert. Returns how many were new."""
    with transaction.atomic():
        # Two checks at once take turns here, and the second finds nothing new.
        DeadLetterQueue.objects.select_for_update().get(pk=dlq.pk)
        _tell_expiring(dlq)
        if visited.depth is None:
            notify.measure("dlq_not_empty", None, scope=str(dlq), why_unknown=visited.problem)
            return 0
        news, concerned = _News.of(dlq), concerned_by(dlq)
        DeadLetter.objects.filter(dlq=dlq, told_at=None).update(told_at=Now())
        notify.measure(
            "dlq_not_empty",
            visited.depth,
            Trouble(
                title=f"{exactly(visited.depth, 'dead letter')} ({dlq})" if visited.depth else "",
                link=_list_of(dlq),
                facts=list(_facts(dlq, concerned)),
                links=list(_links(dlq, concerned)),
                news=news.sentence,
                breaks_through=bool(news.failures),
            ),
            scope=str(dlq),
        )
        return news.letters


@dataclass(frozen=True)
class _News:
    """New letters by their identity, never by a count; ``failures``: groups that nobody was told of before."""

    letters: int
    returned: int
    failures: int

    @classmethod
    def of(cls, dlq: DeadLetterQueue) -> _News:
        untold = DeadLetter.objects.present().filter(dlq=dlq, told_at=None)
        groups = set(untold.values_list("group", flat=True).distinct())
        told = DeadLetter.objects.filter(group__in=groups, told_at__isnull=False)
        known = set(told.values_list("group", flat=True).distinct())
        return cls(untold.count(), untold.filter(returns__gt=0).count(), len(groups - known))

    @property
    def sentence(self) -> str:
        if not self.letters:
            return ""
        parts = [exactly(self.letters, "new dead letter")]
        if self.returned:
            parts.append(f"{self.returned:,} of them back after a replay")
        if self.failures:
            parts.append(f"{exactly(self.failures, 'failure')} not seen before")
        return f"{', '.join(parts)}."


def _facts(dlq: DeadLetterQueue, concerned: Concerned | None) -> Iterator[tuple[str, str]]:
    if failures := failures_in(dlq):
        yield "Newest failures", "\n".join(f"{count:,} × {title}" for title, count in failures)  # noqa: RUF001 - a times sign
    if concerned:
        yield "Concerned", concerned.sentence()
        yield "Longest overdue", concerned.longest()
        yield "For support", concerned.for_support()
    if returned := DeadLetter.objects.present().filter(dlq=dlq, returns__gt=0).count():
        yield "Back after a replay", f"{returned:,}"
    yield "Coverage", coverage(dlq)


def _links(dlq: DeadLetterQueue, concerned: Concerned | None) -> Iterator[tuple[str, str]]:
    """Beside the way to the list, which is the alert's own."""
    if page := sqs.console_link(dlq.url):
        yield "View DLQ", page
    for job in concerned.overdue if concerned else ():
        yield f"Job {short_id(job.pk)}", reverse("admin:jobs_job_change", args=[job.pk])


def _tell_expiring(dlq: DeadLetterQueue) -> None:
    expiring = DeadLetter.objects.expiring().filter(dlq=dlq)
    count = expiring.count()
    notify.measure(
        "dead_letters_expiring",
        count,
        Trouble(
            title=f"SQS deletes {exactly(count, 'dead letter')} within a day ({dlq})" if count else "",
            summary="They stay in the console, but no longer in the queue. Replay or discard them.",
            link=f"{_list_of(dlq)}&left=day",
        ),
        scope=str(dlq),
    )


def _list_of(dlq: DeadLetterQueue) -> str:
    return f"{reverse('admin:jobs_deadletter_changelist')}?dlq={dlq.pk}"
