"""The page of a queue: what waits and runs, for how long, what ended, its pauses, and what SQS holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now
from django.urls import reverse

from jobs.admin import state_counts
from jobs.admin.dead_letters import coverage
from jobs.admin.dead_letters.coverage import CoverageLine
from jobs.intake import waits
from jobs.models import DeadLetter, Job, QueueState, RunRollup, RunRollupState, Status
from jobs.models.job import JobQuerySet
from jobs.models.run_rollup import FIVE_MINUTES, HOUR
from jobs.recovery import outlook_wording
from opsconsole.kit import counting, one_statement, pauses
from opsconsole.kit.durations import spell
from opsconsole.kit.models import Pause
from opsconsole.kit.page_permissions import Person, may_see

PAUSES_SHOWN = 10
# The upper bounds of the ages that are counted, and how they are called.
AGES = (
    (timedelta(minutes=1), "under 1 min"),
    (timedelta(minutes=5), "1 to 5 min"),
    (timedelta(minutes=30), "5 to 30 min"),
    (timedelta(hours=2), "30 min to 2 h"),
    (timedelta(days=1), "2 to 24 h"),
    (None, "over 24 h"),
)
SPANS = ((timedelta(hours=1), FIVE_MINUTES, "Last hour"), (timedelta(days=1), HOUR, "Last 24 hours"))


@dataclass(frozen=True)
class Figure:
    """A count with the list that it opens; without one, ``url`` is empty."""

    label: str
    number: str
    url: str = ""


@dataclass(frozen=True)
class Throughput:
    """The runs that ended within a time, as the rollups count them."""

    label: str
    completed: int
    failed: int
    retried: int
    lost: int


def is_known(name: str) -> bool:
    """Tell whether there is such a queue: in the settings, or in what was read of SQS, or of some job."""
    of_it = Job.objects.waiting().filter(queue=name).order_by()
    return name in settings.QUEUES or QueueState.objects.filter(pk=name).exists() or of_it.exists()


def queue_page(queue: QueueState, user: Person) -> dict[str, Any]:
    """Return the context of the page, as far as this person may see what it quotes."""
    name = queue.name
    return {
        "title": f"Queue {name}",
        "queue": queue,
        "visibility_timeout": visibility_timeout(queue),
        "configured": name in settings.QUEUES,
        "by_hand": outlook_wording.of_queues_by_hand({name} & set(settings.OPSCONSOLE_RECOVERY_BY_HAND)),
        **(_jobs(name) if may_see(user, "jobs_job") else {}),
        **(_letters(name) if may_see(user, "jobs_deadletter") else {}),
        **(_pauses(name) if may_see(user, "opsconsole_pause") else {}),
    }


def visibility_timeout(queue: QueueState) -> str:
    """Return how long SQS hides a received message, as the list and the page of the queue say it; '' where it is unknown."""
    seconds = queue.visibility_timeout_seconds
    return "" if seconds is None else spell(timedelta(seconds=seconds))


def _jobs(name: str) -> dict[str, Any]:
    of_queue = Job.objects.filter(queue=name).order_by()
    parts: dict[str, QuerySet[Job, Any]] = {
        "waiting": waits.by_index(of_queue),
        "scheduled": of_queue.scheduled(),
        Status.IN_PROGRESS: of_queue.running(),
    }
    ages = {f"age {label}": _aged(of_queue, number) for number, (_, label) in enumerate(AGES)}
    # Of one moment: while jobs come and go, the count and the oldest would contradict each other.
    counts = {
        part: one_statement.count_of(rows, state_counts.COUNTED_TO) for part, rows in (parts | ages).items()
    }
    read = one_statement.read(**counts, oldest=one_statement.column_of(waits.firsts(name)))
    figures = {part: counting.figure(read[part], state_counts.COUNTED_TO) for part in counts}
    labels = {"waiting": "Waiting", "scheduled": "Scheduled", Status.IN_PROGRESS: "Running"}
    return {
        "depth": [
            Figure(label, figures[part], _list("jobs_job", queue=name, status=part))
            for part, label in labels.items()
        ],
        "ages": [Figure(label, figures[f"age {label}"]) for _, label in AGES],
        "oldest": min(read["oldest"], default=None),
        "throughput": _throughput(name),
        "counted_until": RunRollupState.objects.values_list("counted_until", flat=True).first(),
        "jobs_url": _list("jobs_job", queue=name),
    }


def _aged(jobs: JobQuerySet, number: int) -> QuerySet[Job, Any]:
    """Return those that wait for one of ``AGES``."""
    most, least = AGES[number][0], AGES[number - 1][0] if number else None
    return waits.by_index(jobs, least, most)


def _throughput(name: str) -> list[Throughput]:
    ended = ("completed", "failed", "retried", "lost")
    spans = {
        f"{each}_{minutes}": Sum(each, filter=Q(minutes=minutes, start__gte=Now() - within), default=0)
        for within, minutes, _ in SPANS
        for each in ended
    }
    of_queue = RunRollup.objects.filter(dimension=RunRollup.Dimension.QUEUE, value=name)
    longest = max(within for within, _, _ in SPANS)
    sums = of_queue.filter(minutes__in=[FIVE_MINUTES, HOUR], start__gte=Now() - longest).aggregate(**spans)
    return [Throughput(label, *(sums[f"{each}_{minutes}"] for each in ended)) for _, minutes, label in SPANS]


def _letters(name: str) -> dict[str, Any]:
    lines: Sequence[CoverageLine] = [line for line in coverage.lines() if name in line.row.queues]
    letters = DeadLetter.objects.open().filter(queue=name)
    return {
        "dlqs": lines,
        "letters": Figure(
            f"Dead letters {DeadLetter.OPEN_LABEL}",
            state_counts.of_all({"letters": letters})["letters"],
            _list("jobs_deadletter", queue=name),
        ),
    }


def _pauses(name: str) -> dict[str, Any]:
    # The one in force is the newest: only one can be open.
    newest = list(
        Pause.objects.filter(name=pauses.of_queue(name))
        .annotate(in_force=Q(ended_at=None) & (Q(until=None) | Q(until__gt=Now())))
        .order_by("-pk")[:PAUSES_SHOWN]
    )
    return {
        "pause": newest[0] if newest and newest[0].in_force else None,
        "pauses": newest,
        "switches_url": reverse("admin:opsconsole_pause_changelist"),
    }


def _list(model: str, **query: str) -> str:
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"
