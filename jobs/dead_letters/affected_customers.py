"""The customers and jobs affected by a dead letter queue, for whoever is on call and for customer support.

Nothing here comes from the body of a message: everything is read from the rows of the jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, TypedDict

from django.db.models import Count, F
from django.db.models.functions import Coalesce, Now
from django_stubs_ext import WithAnnotations

from jobs.models import DeadLetter, DeadLetterQueue, FailureGroup, Job, Status
from jobs.models.job import UNKNOWN_CUSTOMER
from opsconsole.kit import addresses
from opsconsole.kit.bounded_columns import is_cut
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.short_ids import short_id

MOST_NAMED = 5
MOST_GROUPS = 3
MOST_JOBS = 3
# Beyond this many letters the figures are a lower bound.
MOST_COUNTED = 2_000


class OwedColumns(TypedDict):
    read_at: datetime
    due_at: datetime


OwedJob: TypeAlias = "WithAnnotations[Job, OwedColumns]"


@dataclass(frozen=True, kw_only=True)
class AffectedCustomers:
    """The jobs still owed to customers. ``overdue``: those due first. ``customers``: the number of jobs per customer."""

    jobs: int
    customers: Counter[str]
    overdue: list[OwedJob]

    def sentence(self) -> str:
        """Return a phrase such as "5 jobs of 2 customers: CUST-1 (4), CUST-2 (1)"."""
        named = ", ".join(f"{name} ({count})" for name, count in self.customers.most_common(MOST_NAMED))
        more = len(self.customers) - MOST_NAMED
        rest = f" and {more} more" if more > 0 else ""
        return f"{exactly(self.jobs, 'job')} of {exactly(len(self.customers), 'customer')}: {named}{rest}"

    def links(self) -> list[tuple[str, str]]:
        """Return a label and the address of the page of each customer that the sentence names."""
        return [
            (f"Customer {name}", addresses.of_customer(name))
            for name, _ in self.customers.most_common(MOST_NAMED)
            if name != UNKNOWN_CUSTOMER and not is_cut(name)
        ]

    def longest(self) -> str:
        """Return a phrase such as "CUST-1, job 5a3c91d2, due 3 h 10 min ago"."""
        job = self.overdue[0]
        return f"{job.customer}, job {short_id(job.pk)}, {_owed(job)}"

    def for_support(self) -> str:
        """Return text that support can copy into a reply to a customer."""
        names = ", ".join(name for name, _ in self.customers.most_common(MOST_NAMED))
        more = len(self.customers) - MOST_NAMED
        rest = f" and {exactly(more, 'more customer')}" if more > 0 else ""
        return (
            f"Orders of {names}{rest} have stopped ({exactly(self.jobs, 'job')}). Nothing is lost: they are stored and "
            "can be run again. We are investigating the cause."
        )


def affected_by(dlq: DeadLetterQueue) -> AffectedCustomers | None:
    """Return the customers who wait for jobs in this queue; None when no letter names a job still owed."""
    letters = DeadLetter.objects.present().replaced_by_requeue().filter(dlq=dlq, job_id__isnull=False)
    ids = set(letters.order_by("-first_seen_at").values_list("job_id", flat=True)[:MOST_COUNTED])
    owed = Job.objects.filter(pk__in=ids).exclude(status__in=[Status.COMPLETED, Status.CANCELLED])
    customers = Counter(name or UNKNOWN_CUSTOMER for name in owed.values_list("customer_id", flat=True))
    if not customers:
        return None
    due = owed.annotate(read_at=Now(), due_at=Coalesce("deadline_at", "created_at")).order_by("due_at", "pk")
    overdue = list(due.only("customer_id", "deadline_at", "created_at")[:MOST_JOBS])
    return AffectedCustomers(jobs=customers.total(), customers=customers, overdue=overdue)


@dataclass(frozen=True)
class Failures:
    """The newest failures in a queue, as alerts may show them, with the number of letters of each.

    ``others``: how many more failures there are.
    """

    newest: Sequence[tuple[str, int]]
    others: int

    def lines(self) -> str:
        lines = [f"{count:,} × {title}" for title, count in self.newest]  # noqa: RUF001 - a times sign
        return "\n".join([*lines, *[f"and {exactly(self.others, 'other failure')}"] * bool(self.others)])


def failures_in(dlq: DeadLetterQueue) -> Failures:
    groups = DeadLetter.objects.present().filter(dlq=dlq).values("group").annotate(letters=Count("pk"))
    newest = groups.annotate(seen=F("group__last_seen_at")).order_by("-seen", "-group")[:MOST_GROUPS]
    counts = {row["group"]: row["letters"] for row in newest}
    named = FailureGroup.objects.in_bulk(counts)
    others = max(0, groups.count() - len(counts)) if len(counts) == MOST_GROUPS else 0
    return Failures([(named[group].public_title, count) for group, count in counts.items()], others)


def _owed(job: OwedJob) -> str:
    now = job.read_at
    if job.deadline_at is None:
        return f"ordered {spell(now - job.created_at)} ago"
    if job.deadline_at > now:
        return f"due in {spell(job.deadline_at - now)}"
    return f"due {spell(now - job.deadline_at)} ago"
