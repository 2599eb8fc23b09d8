"""The list of outgoing messages: waiting, sent and refused, with the answer of SQS."""

from __future__ import annotations

from types import MappingProxyType

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin import labels
from jobs.admin.known_choices import Choices, ModelAdmin, StateFilter
from jobs.models import Outbox
from jobs.models.outbox import OutboxQuerySet
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.db_clock_list import AgedAdmin
from opsconsole.kit.display import age, badge


class MessageStateFilter(StateFilter):
    """Offers the states, and the waiting messages that are due or overdue."""

    states = Outbox.State

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [*super().lookups(request, model_admin), ("due", "Due now"), ("overdue", "Overdue")]

    def apply(self, rows: OutboxQuerySet, value: str) -> OutboxQuerySet:
        match value:
            case "due":
                return rows.due().order_by(*rows.query.order_by)
            case "overdue":
                return rows.stuck()
        return rows.filter(state=value)


@admin.register(Outbox)
class OutboxAdmin(AgedAdmin):
    when_empty = (
        "One is written with each job that is enqueued, requeued or recovered, and is sent within seconds."
    )
    recorded_at = (
        "When it was sent, and how often it was tried, is on its page and on the timeline of its job."
    )
    live_on = ("jobs.Outbox", "jobs.Job")
    list_display = (
        "number",
        "condition",
        "job_id_short",
        "run",
        "destination",
        "queue",
        "message_reason",
        "attempts",
        "written",
        "last_error",
    )
    list_filter = (MessageStateFilter,)
    quotes = MappingProxyType({"job_id_short": ("jobs_job",)})
    ordering = ("-id",)
    fields = (
        "condition",
        # By id: the relation's label would read the row of a job that may no longer exist.
        "job_id_short",
        "run",
        "destination",
        "queue",
        "message_reason",
        "is_retry",
        "dead_letter_id",
        "created_at",
        "available_at",
        "attempts",
        "resends",
        "sent_at",
        "message_id",
        "last_error",
    )

    @admin.display(description="message")
    def number(self, message: Outbox) -> str:
        return f"#{message.pk}"

    @admin.display(description="state")
    def condition(self, message: Outbox) -> SafeString:
        return badge(message.state.capitalize(), labels.MESSAGE_TONES.get(message.state, "quiet"))

    @admin.display(description="job")
    def job_id_short(self, message: Outbox) -> SafeString:
        return labels.job_link(message.job_id)

    @admin.display(description="run")
    def run(self, message: Outbox) -> int:
        return message.run_epoch

    @admin.display(description="reason")
    def message_reason(self, message: Outbox) -> str:
        return labels.message_reason(message.reason)

    @admin.display(description="retry")
    def is_retry(self, message: Outbox) -> str:
        return "yes" if message.retry else "no"

    @admin.display(description="written")
    def written(self, message: WithAnnotations[Outbox, DbNow]) -> SafeString:
        return age(message.created_at, message.db_now, suffix=" ago")
