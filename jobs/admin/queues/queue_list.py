"""The list of queues as they were last read, and the page of each; pages never ask SQS."""

from __future__ import annotations

from typing import TypeAlias

from django.contrib import admin
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin.queues import queue_page
from jobs.models import Job, QueueState
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.read_only_admin import PageAdmin
from opsconsole.kit.storable import is_storable

AgedQueue: TypeAlias = "WithAnnotations[QueueState, DbNow]"


@admin.register(QueueState)
class QueueStateAdmin(AgedAdmin, PageAdmin[AgedQueue]):
    when_empty = "Name one in SQS_QUEUE_URL or OPSCONSOLE_QUEUES, and restart the console; its cluster reads it within a minute."
    missing = "There is no queue with this name."
    live_on = ("jobs.QueueState", "jobs.Job", "jobs.DeadLetter", "jobs.DeadLetterQueue", "jobs.RunRollup")
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
        return queue_page.visibility_timeout(queue) or NOTHING

    @admin.display(description="last read")
    def read(self, queue: WithAnnotations[QueueState, DbNow]) -> SafeString:
        return age(queue.read_at, queue.db_now, suffix=" ago")

    def load(self, key: str) -> AgedQueue | None:
        """Return the queue, also one that was never read or that only jobs name."""
        known = QueueState.objects.annotate(db_now=Now()).filter(pk=key).first()
        if known is not None or not is_storable(key) or not queue_page.is_known(key):
            return known
        unread = QueueState(name=key, error="")
        unread.db_now = Job.objects.values_list(Now(), flat=True)[:1].first() or timezone.now()  # type: ignore[attr-defined]  # as annotated
        return unread  # type: ignore[return-value]  # as annotated

    def page(self, request: HttpRequest, row: AgedQueue) -> HttpResponse:
        return self.render(
            request, "admin/jobs/queuestate/page.html", queue_page.queue_page(row, request.user)
        )
