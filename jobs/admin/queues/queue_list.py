"""The list of queues as they were last read; pages never ask SQS."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.models import QueueState
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.durations import spell


@admin.register(QueueState)
class QueueStateAdmin(AgedAdmin):
    when_empty = "Name one in SQS_QUEUE_URL or OPSCONSOLE_QUEUES; the cluster reads it within a minute."
    live_on = ("jobs.QueueState",)
    list_display = (
        "name",
        "condition",
        "visible",
        "in_flight",
        "delayed",
        "visibility_timeout",
        "read",
        "error",
    )
    ordering = ("name",)

    @admin.display(description="state")
    def condition(self, queue: QueueState) -> SafeString:
        if queue.read_at is None:
            return badge("Never read", "bad")
        return badge("Unknown", "bad") if queue.error else badge("Read", "good")

    @admin.display(description="visibility timeout")
    def visibility_timeout(self, queue: QueueState) -> str:
        seconds = queue.visibility_timeout_seconds
        return NOTHING if seconds is None else spell(timedelta(seconds=seconds))

    @admin.display(description="last read")
    def read(self, queue: WithAnnotations[QueueState, DbNow]) -> SafeString:
        return age(queue.read_at, queue.db_now, suffix=" ago")
