"""The list of what is kept for how long. The page Data and the command ``retention`` read this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.db.models.functions import Now

from alerts.watch import retention as alert_retention
from jobs.models import IdempotencyKey, RunProgress, RunRollup
from jobs.watch import retention as job_retention
from jobs.watch import settled_letters
from opsconsole.kit import one_statement
from opsconsole.kit.counting import COUNTED_TO, figure
from opsconsole.kit.models import HourlyFigure
from opsconsole.kit.one_statement import count_of
from opsconsole.kit.removals import kept
from opsconsole.kit.retention_models import Removal
from opsconsole.retention import audit_lines
from ratelimits.models import RateLimitHour

COUNTING_MS = 2_000


@dataclass(frozen=True)
class Subject:
    """A kind of rows. ``name`` is that of its removals, ``stays`` says what is kept for longer.

    ``due`` is given what ``kept`` returned.
    """

    name: str
    setting: str
    kept: Callable[[], timedelta]
    due: Callable[[timedelta], QuerySet[Any]]
    counts_from: str
    stays: str = ""


def _kept(setting: str) -> Callable[[], timedelta]:
    return lambda: kept(setting)


SUBJECTS: tuple[Subject, ...] = (
    Subject(
        "sweeps",
        "OPSCONSOLE_KEEP_SWEEPS_DAYS",
        _kept("SWEEPS"),
        lambda _: job_retention.old_sweeps(),
        "their start",
    ),
    Subject(
        "messages",
        "OPSCONSOLE_KEEP_MESSAGES_DAYS",
        _kept("MESSAGES"),
        lambda _: job_retention.old_messages(),
        "the time they were due",
        "what is waiting or refused, and the message of a run that still waits",
    ),
    Subject(
        "dead letters",
        "OPSCONSOLE_KEEP_LETTERS_DAYS",
        settled_letters.kept_for,
        lambda _: settled_letters.due(),
        "the end of the last action",
        "what nobody replayed or discarded, what is still in its queue, and each entry of the ledger",
    ),
    Subject(
        "failure groups",
        "OPSCONSOLE_KEEP_LETTERS_DAYS",
        settled_letters.kept_for,
        lambda _: settled_letters.empty_groups(),
        "the last dead letter",
        "groups that have a dead letter or a note",
    ),
    Subject(
        "alerts",
        "OPSCONSOLE_KEEP_ALERTS_DAYS",
        _kept("ALERTS"),
        lambda _: alert_retention.old_alerts(),
        "their resolution",
        "open alerts",
    ),
    Subject(
        "bulk members",
        "OPSCONSOLE_KEEP_MEMBERS_DAYS",
        _kept("MEMBERS"),
        lambda _: job_retention.old_members(),
        "the end of the operation",
        "the operations with their counts and decisions",
    ),
    Subject(
        audit_lines.SUBJECT,
        "OPSCONSOLE_KEEP_AUDIT_DAYS",
        audit_lines.kept_for,
        lambda keep: LogEntry.objects.filter(action_time__lt=Now() - keep),
        "their time",
        "lines whose seal covers younger ones, or does not match",
    ),
    Subject(
        "kept answers",
        "OPSCONSOLE_KEEP_ANSWERS_DAYS",
        _kept("ANSWERS"),
        lambda _: IdempotencyKey.objects.expired(),
        "the request",
    ),
    Subject(
        "figures",
        "OPSCONSOLE_KEEP_FIGURES_DAYS",
        _kept("FIGURES"),
        lambda keep: HourlyFigure.objects.filter(hour__lt=Now() - keep),
        "their hour",
    ),
    Subject(
        "progress of runs",
        "OPSCONSOLE_KEEP_PROGRESS_DAYS",
        _kept("PROGRESS"),
        lambda _: RunProgress.objects.expired(),
        "its first report",
        "the progress of a run that goes on",
    ),
    Subject(
        "rollups of runs",
        "OPSCONSOLE_KEEP_FIGURES_DAYS",
        _kept("FIGURES"),
        lambda _: RunRollup.objects.expired(),
        "their time",
    ),
    Subject(
        "limited hours",
        "OPSCONSOLE_KEEP_FIGURES_DAYS",
        _kept("FIGURES"),
        lambda _: RateLimitHour.objects.expired(),
        "their hour",
    ),
)


@dataclass(frozen=True)
class SubjectLine:
    """A subject as it is now. ``due`` is what the next run removes: None if counting took too long."""

    subject: Subject
    days: int
    due: int | None
    last: Removal | None

    @property
    def due_text(self) -> str:
        return "too many to count quickly" if self.due is None else figure(self.due)

    def as_json(self) -> dict[str, Any]:
        return {
            "subject": self.subject.name,
            "setting": self.subject.setting,
            "days": self.days,
            "due": self.due,
            "due_is_capped": self.due is not None and self.due > COUNTED_TO,
            "last_removed_at": self.last.at if self.last else None,
            "last_removed_rows": self.last.rows if self.last else None,
        }


def lines() -> list[SubjectLine]:
    """Return each subject with what is due and what was last removed."""
    return of_removals(latest_removals())


def latest_removals() -> QuerySet[Removal]:
    """Return the last removal of each subject."""
    return Removal.objects.order_by("subject", "-pk").distinct("subject")


def of_removals(latest: Iterable[Removal]) -> list[SubjectLine]:
    """Return the same, given the last removal of each subject."""
    last, keep = {removal.subject: removal for removal in latest}, [subject.kept() for subject in SUBJECTS]
    due = _due(keep)
    return [
        SubjectLine(subject, time.days, due[subject.name], last.get(subject.name))
        for subject, time in zip(SUBJECTS, keep, strict=True)
    ]


def _due(keep: Iterable[timedelta]) -> dict[str, int | None]:
    """Count what is due of each subject together, or, where that takes too long, of each alone: None for those that take long."""
    readings = {
        subject.name: count_of(subject.due(time)) for subject, time in zip(SUBJECTS, keep, strict=True)
    }
    together = one_statement.read_if_possible(readings, milliseconds=COUNTING_MS)
    return together or one_statement.read_apart(readings, milliseconds=COUNTING_MS)
