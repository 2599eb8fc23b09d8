"""The filter by the state of a waiting job's message."""

from __future__ import annotations

from django.http import HttpRequest

from jobs.admin.jobs.filters import WeighingFilter
from jobs.admin.known_choices import Choices, ModelAdmin
from jobs.models import MessageTrouble
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.recovery import waiting

CHOICES = {
    MessageTrouble.LOST: "Proven lost",
    MessageTrouble.UNPROVEN: "May be lost",
    MessageTrouble.USED_UP: "Re-sent in vain",
    MessageTrouble.UNSENT: "Not sent yet",
    MessageTrouble.REFUSED: "Refused by SQS",
}


class MessageFilter(WeighingFilter):
    title = "message"
    parameter_name = "message"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(trouble.value, words) for trouble, words in CHOICES.items()]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet[JobWithMessage]:
        return waiting.having(MessageTrouble(value), rows)
