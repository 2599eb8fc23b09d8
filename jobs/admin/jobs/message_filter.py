"""What became of a waiting job's message: the filter beside "stale now", by proof instead of by time."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from jobs.admin.known_choices import ModelAdmin
from jobs.models import Outbox
from jobs.recovery import lost_messages
from jobs.recovery.waiting import Why


class MessageFilter(admin.SimpleListFilter):
    title = "message"
    parameter_name = "message"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [
            (Why.LOST, "Proven lost"),
            (Why.USED_UP, "Re-sent in vain"),
            (Why.UNSENT, "Not sent yet"),
            (Why.REFUSED, "Refused by SQS"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> QuerySet[Any]:
        match self.value():
            case Why.LOST:
                return lost_messages.proven(queryset.lost_candidates(), lost_messages.proofs())
            case Why.USED_UP:
                jobs: QuerySet[Any] = queryset.resends_used_up()
                return jobs
            case Why.UNSENT:
                return _with_letter(queryset, Outbox.State.WAITING)
            case Why.REFUSED:
                return _with_letter(queryset, Outbox.State.REFUSED)
        return queryset  # type: ignore[no-any-return]  # Django passes the list's own


def _with_letter(jobs: Any, state: Outbox.State) -> QuerySet[Any]:
    own = Outbox.objects.filter(
        job_id=OuterRef("pk"),
        run_epoch=OuterRef("run_epoch"),
        destination=Outbox.Destination.QUEUE,
        state=state,
    )
    found: QuerySet[Any] = jobs.waiting().filter(Exists(own))
    return found
