"""What people did that the charts mark: pauses, of which a deploy is one, and switches that were changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.contrib.admin.models import LogEntry
from django.db.models import CharField, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast
from django.urls import reverse
from django_q.models import Schedule

from opsconsole import switches
from opsconsole.kit import one_statement
from opsconsole.kit.models import Pause
from opsconsole.kit.one_statement import models_of, records_of
from opsconsole.kit.page_permissions import Person, may_see

MOST_SHOWN = 20
# The models whose rows switches change, as the audit names them. Each but the schedules has a single row.
SWITCHED = (("jobs", "recoverycontrol"), ("ratelimits", "limitercontrol"), ("django_q", "schedule"))
ONLY_ROW = "1"
PAUSES = "opsconsole_pause"
Moment: TypeAlias = datetime | Combinable


@dataclass(frozen=True)
class Mark:
    """Something that began at a time, and ended at another if it ends. ``page``: the name of the pages where it is told."""

    at: datetime
    until: datetime | None
    what: str
    why: str
    page: str

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.page}_changelist")


def within(user: Person, begin: datetime, end: datetime) -> list[Mark]:
    """Return what this person may see of what was done in this time, the newest of it, oldest first."""
    switched = switched_within(begin, end, [each for each in SWITCHED if may_see(user, "_".join(each))])
    paused = pauses_within(begin, end) if may_see(user, PAUSES) else Pause.objects.none()
    return of_rows(**one_statement.read(paused=models_of(paused), switched=records_of(switched)))


def of_rows(paused: Iterable[Pause], switched: Iterable[Sequence[Any]]) -> list[Mark]:
    """Return the marks of the rows that the two queries below read, the newest of them, oldest first."""
    known = {switch.name: switch for switch in switches.table()}
    marks = [
        Mark(
            row.began_at,
            row.ended_at or row.until,
            known[row.name].paused if row.name in known else f"{switches.title_of(row.name)} was paused",
            row.reason,
            PAUSES,
        )
        for row in paused
    ]
    marks += [
        Mark(at, None, did.rstrip("."), why or "", f"{app}_{model}") for at, did, why, app, model in switched
    ]
    return sorted(marks, key=lambda mark: mark.at)[-MOST_SHOWN:]


def pauses_within(begin: Moment, end: Moment) -> QuerySet[Pause]:
    ended = Q(ended_at__gte=begin) | Q(ended_at=None, until=None) | Q(ended_at=None, until__gte=begin)
    return Pause.objects.filter(ended, began_at__lt=end).order_by("-id")[:MOST_SHOWN]


def switched_within(
    begin: Moment, end: Moment, models: Iterable[tuple[str, str]] = SWITCHED
) -> QuerySet[Any, tuple[Any, ...]]:
    """Return the lines of the audit about switches of these models."""
    kinds = [Q(content_type__app_label=app, content_type__model=model) for app, model in models]
    if not kinds:
        return _columns(LogEntry.objects.none())
    schedules = Schedule.objects.values(text=Cast("pk", CharField()))
    rows = LogEntry.objects.filter(
        Q(*kinds, _connector=Q.OR), Q(object_id=ONLY_ROW) | Q(object_id__in=schedules)
    ).filter(action_time__gte=begin, action_time__lt=end)
    return _columns(rows.order_by("-action_time", "-id"))[:MOST_SHOWN]


def _columns(rows: QuerySet[LogEntry]) -> QuerySet[Any, tuple[Any, ...]]:
    return rows.values_list(
        "action_time",
        "change_message",
        "detail__reason",
        "content_type__app_label",
        "content_type__model",
    )
