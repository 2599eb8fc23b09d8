"""What people did that the charts mark: pauses, of which a deploy is one, and switches that were changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.db.models import CharField, Q
from django.db.models.functions import Cast
from django.urls import reverse
from django_q.models import Schedule

from opsconsole import switches
from opsconsole.kit.models import Pause
from opsconsole.kit.page_permissions import Person, may_see

MOST_SHOWN = 20
# The models whose rows switches change, as the audit names them. Each but the schedules has a single row.
SWITCHED = (("jobs", "recoverycontrol"), ("ratelimits", "limitercontrol"), ("django_q", "schedule"))
ONLY_ROW = "1"


@dataclass(frozen=True)
class Mark:
    """Something that began at a time, and ended at another if it ends. ``url``: the page where it is told."""

    at: datetime
    until: datetime | None
    what: str
    why: str
    url: str


def within(user: Person, begin: datetime, end: datetime) -> list[Mark]:
    """Return what this person may see of what was done in this time, the newest of it, oldest first."""
    marks = [*_pauses(user, begin, end), *_switched(user, begin, end)]
    return sorted(marks, key=lambda mark: mark.at)[-MOST_SHOWN:]


def _pauses(user: Person, begin: datetime, end: datetime) -> list[Mark]:
    if not may_see(user, "opsconsole_pause"):
        return []
    url = reverse("admin:opsconsole_pause_changelist")
    rows = Pause.objects.filter(Q(ended_at=None) | Q(ended_at__gte=begin), began_at__lt=end).order_by("-id")
    known = {switch.name: switch for switch in switches.table()}
    return [
        Mark(
            row.began_at,
            row.ended_at or row.until,
            known[row.name].paused if row.name in known else f"{row.name} was paused",
            row.reason,
            url,
        )
        for row in rows[:MOST_SHOWN]
        if row.until is None or row.until >= begin
    ]


def _switched(user: Person, begin: datetime, end: datetime) -> list[Mark]:
    seen = [(app, model) for app, model in SWITCHED if may_see(user, f"{app}_{model}")]
    if not seen:
        return []
    kinds = Q(
        *(Q(content_type__app_label=app, content_type__model=model) for app, model in seen), _connector=Q.OR
    )
    schedules = Schedule.objects.values(text=Cast("pk", CharField()))
    rows = (
        LogEntry.objects.filter(kinds, Q(object_id=ONLY_ROW) | Q(object_id__in=schedules))
        .filter(action_time__gte=begin, action_time__lt=end)
        .order_by("-action_time", "-id")
        .values_list(
            "action_time",
            "change_message",
            "detail__reason",
            "content_type__app_label",
            "content_type__model",
        )
    )
    return [
        Mark(at, None, did.rstrip("."), why or "", reverse(f"admin:{app}_{model}_changelist"))
        for at, did, why, app, model in rows[:MOST_SHOWN]
    ]
