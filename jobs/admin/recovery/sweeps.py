"""The list of sweeps: when each ran, what it found and what it did."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin.known_choices import Choices, KnownFilter, ModelAdmin
from jobs.models import Sweep
from opsconsole.kit import actors
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import NOTHING, age, badge, pretty
from opsconsole.kit.durations import NO_BREAK, spell, unbroken

# A sweep that has not ended by then was interrupted: its process died.
UNFINISHED_AFTER = timedelta(minutes=5)
# A sweep that recovered runs also found them; with both conditions an index on found sweeps can be used.
OUTCOMES = {
    "recovered": ("Requeued runs", Q(found__gt=0, requeued__gt=0)),
    "found": ("Found stale runs", Q(found__gt=0)),
    "errors": ("With errors", Q(errors__gt=0)),
    "locked": ("Passed over locked runs", Q(locked__gt=0)),
}
SPANS = {
    "hour": ("In the last hour", timedelta(hours=1)),
    "day": ("In the last 24 hours", timedelta(days=1)),
    "week": ("In the last 7 days", timedelta(days=7)),
}


class OutcomeFilter(KnownFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(name, label) for name, (label, _) in OUTCOMES.items()]

    def apply(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(OUTCOMES[value][1])


class WhenFilter(KnownFilter):
    title = "time"
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(name, label) for name, (label, _) in SPANS.items()]

    def apply(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(started_at__gte=Now() - SPANS[value][1])


@admin.register(Sweep)
class SweepAdmin(AgedAdmin):
    when_empty = "The cluster sweeps every few minutes: start run_cluster."
    live_on = ("jobs.Sweep",)
    list_filter = (OutcomeFilter, WhenFilter)
    quotes = MappingProxyType({"lines": ("jobs_job",)})
    list_display = (
        "when",
        "outcome",
        "found",
        "requeued",
        "quarantined",
        "skipped",
        "locked",
        "errors",
        "lost_resent",
        "took",
        "note",
    )
    fields = (
        "started_by",
        "outcome",
        "started_at",
        "finished_at",
        "took",
        "found",
        "requeued",
        "quarantined",
        "skipped",
        "locked",
        "errors",
        "resent",
        "note",
        "lines",
    )

    @admin.display(description="when")
    def when(self, sweep: WithAnnotations[Sweep, DbNow]) -> SafeString:
        # A row per sweep: most have one line also on a tablet.
        return age(sweep.started_at, sweep.db_now, suffix=f"{NO_BREAK}ago")

    @admin.display(description="started by")
    def started_by(self, sweep: Sweep) -> str:
        return actors.in_words(sweep.trigger)

    @admin.display(description="outcome")
    def outcome(self, sweep: WithAnnotations[Sweep, DbNow]) -> SafeString:
        if sweep.finished_at is None:
            cut_off = sweep.db_now - sweep.started_at > UNFINISHED_AFTER
            return badge("Did not finish", "bad") if cut_off else badge("Running", "running")
        if sweep.errors:
            return badge("With errors", "bad")
        if sweep.mode != Sweep.Mode.ARMED:
            tone = "warning" if sweep.mode == Sweep.Mode.HELD else "waiting"
            return badge(sweep.get_mode_display().capitalize(), tone)
        if sweep.requeued or sweep.quarantined:
            return badge("Recovered", "good") if sweep.requeued else badge("Quarantined", "warning")
        if sweep.locked:
            return badge("Locked by others", "warning")
        return badge("Left alone", "waiting") if sweep.found else badge("Nothing found")

    @admin.display(description="re-sent")
    def lost_resent(self, sweep: Sweep) -> int:
        return sweep.resent

    @admin.display(description="took")
    def took(self, sweep: Sweep) -> str:
        if sweep.duration is None:
            return NOTHING
        milliseconds = sweep.duration / timedelta(milliseconds=1)
        return unbroken(f"{milliseconds:.0f} ms" if milliseconds < 1_000 else spell(sweep.duration))

    @admin.display(description="skipped, locked or failed")
    def lines(self, sweep: Sweep) -> SafeString:
        return pretty(sweep.details) if sweep.details else NOTHING
