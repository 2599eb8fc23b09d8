"""``sweeps``: one row per sweep: when it ran, what it found and did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, When, Window
from django.db.models.functions import Coalesce, Lag, Now

BEFORE_ANY_SWEEP = datetime(1970, 1, 1, tzinfo=UTC)


class SweepQuerySet(models.QuerySet["Sweep"]):
    def finished(self) -> Self:
        return self.filter(finished_at__isnull=False)

    def newest_finished(self) -> Self:
        return self.finished().order_by("-started_at", "-id")

    def worth_telling(self, among: int) -> Self:
        """Return, newest first, those of so many newest sweeps that did something, or left other runs than the sweep before.

        What is left alone is found anew by each sweep.
        """
        oldest = Subquery(self.newest_finished().values("started_at")[among - 1 : among])
        left = ("mode", "skipped", "locked")
        before = {
            f"{name}_before": Window(Lag(name), order_by=[F("started_at").asc(), F("id").asc()])
            for name in left
        }
        did_something = Q(requeued__gt=0) | Q(quarantined__gt=0) | Q(errors__gt=0)
        as_before = Q(**{name: F(f"{name}_before") for name in left})
        left_others = Q(found__gt=0) & (Q(mode_before=None) | ~as_before)
        searched = self.finished().filter(started_at__gte=Coalesce(oldest, BEFORE_ANY_SWEEP))
        rows = searched.annotate(**before).filter(did_something | left_others)
        return rows.order_by("-started_at", "-id")

    def last_finished(self) -> Sweep | None:
        return self.newest_finished().first()

    def acted(self) -> Self:
        """Return the finished sweeps that might recover what they found, unlike those that only observed."""
        return self.finished().filter(mode=Sweep.Mode.ARMED)

    def refusals(self) -> models.QuerySet[Sweep, Any]:
        """Return what the database refused in the last sweep that acted, as ``details`` tells it; None or no row: nothing.

        Others only observe, perhaps for months: from the index of those with errors, they are not read.
        """
        later = Sweep.objects.acted().filter(started_at__gt=OuterRef("started_at"))
        refused = Case(When(~Exists(later), then=F("details__refused")))
        return self.acted().newest_finished().filter(errors__gt=0).values_list(refused)[:1]


class Sweep(models.Model):
    class Mode(models.TextChoices):
        ARMED = "armed", "recovered what it found"
        OBSERVE = "observe", "observed only"
        HELD = "held", "held: mass staleness"
        PAUSED = "paused", "paused: observed only"

    trigger = models.TextField(help_text="What started it: 'schedule', 'command' or 'operator:NAME'.")
    mode = models.TextField(choices=Mode)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    found = models.IntegerField(db_default=0)
    requeued = models.IntegerField(db_default=0)
    quarantined = models.IntegerField(db_default=0)
    skipped = models.IntegerField(db_default=0)
    locked = models.IntegerField("locked by others", db_default=0)
    errors = models.IntegerField("failed", db_default=0)
    resent = models.IntegerField("lost messages re-sent", db_default=0)
    note = models.TextField(blank=True, db_default="")
    details = models.JSONField(
        db_default={}, help_text="The first skips, locks and errors, one sentence each."
    )

    objects = SweepQuerySet.as_manager()

    class Meta:
        db_table = "sweeps"
        ordering = ["-started_at", "-id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="sweeps_newest_idx"),
            models.Index(
                fields=["-started_at", "-id"], name="sweeps_found_idx", condition=models.Q(found__gt=0)
            ),
            models.Index(
                fields=["-started_at", "-id"], name="sweeps_errors_idx", condition=models.Q(errors__gt=0)
            ),
            models.Index(
                fields=["-started_at", "-id"], name="sweeps_locked_idx", condition=models.Q(locked__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"sweep {self.pk}"

    @property
    def totals(self) -> str:
        """Return what it found and did, in one line. What was found is in exactly one of the other numbers."""
        return (
            f"found {self.found:,}, requeued {self.requeued:,}, quarantined {self.quarantined:,}, skipped {self.skipped:,}, "
            f"locked by others {self.locked:,}, failed {self.errors:,}"
        )

    @property
    def duration(self) -> timedelta | None:
        """Return how long the sweep took; None while it runs, and forever when its process died."""
        return self.finished_at - self.started_at if self.finished_at else None
