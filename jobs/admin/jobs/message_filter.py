"""The filter by the state of a waiting job's message."""

from __future__ import annotations

from types import MappingProxyType

from django.http import HttpRequest

from jobs.admin.jobs.filters import WeighingFilter
from jobs.admin.known_choices import Choices, ModelAdmin
from jobs.models import MessageTrouble, RecoveryControl
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.recovery import resends, waiting

CHOICES = {
    MessageTrouble.LOST: "Proven lost",
    MessageTrouble.UNPROVEN: "May be lost",
    MessageTrouble.USED_UP: "Re-sent in vain",
    MessageTrouble.UNSENT: "Not sent yet",
    MessageTrouble.REFUSED: "Refused",
}


class MessageFilter(WeighingFilter):
    title = "message"
    parameter_name = "message"

    # Whether recovery's cutoff leaves the lost ones to operators, as the overview counts them.
    parts = MappingProxyType(
        {
            "lost_since_cutoff": ("Proven lost, not from before the cutoff", resends.begun_since),
            "lost_before_cutoff": ("Proven lost, from before the cutoff", resends.begun_before),
        }
    )

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            *((trouble.value, words) for trouble, words in CHOICES.items()),
            *((name, words) for name, (words, _) in self.parts.items()),
        ]

    def apply(self, rows: JobQuerySet, value: str) -> JobQuerySet[JobWithMessage]:
        if value not in self.parts:
            return waiting.having(MessageTrouble(value), rows)
        _, part = self.parts[value]
        return part(waiting.having(MessageTrouble.LOST, rows), RecoveryControl.load().cutoff)
