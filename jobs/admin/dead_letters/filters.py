"""Filters of the dead letters list. Those undecided or being replayed are the default; listing the choices never reads the letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin import state_counts
from jobs.admin.known_choices import Choices, CountedFilter, KnownFilter, ModelAdmin, QueueFilter
from jobs.admin.sorting import Order, OrderMenu
from jobs.models import DeadLetter, DeadLetterQueue, FailureGroup
from jobs.models.dead_letter import EXPIRES_SOON, DeadLetterQuerySet

ALL = "all"
GROUPS_OFFERED = 20
SHORT_TITLE = 60


class LetterStateFilter(CountedFilter):
    title = "state"
    parameter_name = "state"
    bounded = frozenset({"group", "since", "before"})

    def counts(self, rows: QuerySet[Any] | None) -> Mapping[str, str]:
        if rows is not None:
            return state_counts.among_first(rows, "state")
        return state_counts.of_all(
            {state.value: DeadLetter.objects.filter(state=state) for state in DeadLetter.State}
        )

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            *((state.value, state.label.capitalize()) for state in DeadLetter.State),
            (ALL, "All letters"),
        ]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the choices; the default is not "All" but the letters that are undecided or being replayed."""
        first, *others = super().choices(changelist)
        yield first | {"display": DeadLetter.OPEN_LABEL.capitalize()}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == ALL:
            return queryset
        if self.value() in DeadLetter.State.values:
            return queryset.filter(state=self.value())
        return queryset.filter(state__in=DeadLetter.OPEN)


class SourceQueueFilter(QueueFilter):
    title = "source queue"


class DeadLetterQueueFilter(KnownFilter):
    title = "dead letter queue"
    parameter_name = "dlq"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(str(dlq.pk), dlq.label) for dlq in DeadLetterQueue.objects.order_by("pk")]

    def has_output(self) -> bool:
        """Show the filter only where there are several queues; otherwise the filter by source queue says the same."""
        return len(self.lookup_choices) > 1


class LeftFilter(KnownFilter):
    title = "time left"
    parameter_name = "left"
    spans = {"hour": timedelta(hours=1), "day": EXPIRES_SOON}

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [("hour", "SQS deletes it within an hour"), ("day", "SQS deletes it within a day")]

    def apply(self, rows: DeadLetterQuerySet, value: str) -> DeadLetterQuerySet:
        return rows.expiring(self.spans[value])


class LetterOrder(OrderMenu):
    """Sorts letters by what an index has: when SQS deletes them, while they are in their queue."""

    orders = MappingProxyType(
        {
            "deleted": Order(
                "In the queue, deleted soonest first",
                ("expires_at", "pk"),
                "time_left",
                indexed=True,
                narrows=True,
            )
        }
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        letters: DeadLetterQuerySet = queryset  # type: ignore[assignment]  # the list of letters
        return letters.present() if self.chosen else letters


class GroupFilter(KnownFilter):
    """Offers the newest groups and the chosen one."""

    title = "failure group"
    parameter_name = "group"
    by_number = True

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        chosen = request.GET.get(self.parameter_name, "")
        newest = list(FailureGroup.objects.order_by("-last_seen_at", "-pk")[:GROUPS_OFFERED])
        if chosen.isascii() and chosen.isdecimal() and len(chosen) < 19:
            newest += FailureGroup.objects.filter(pk=chosen).exclude(pk__in=[group.pk for group in newest])
        return [(str(group.pk), _short(group.shown_title)) for group in newest]


def _short(title: str) -> str:
    return title if len(title) <= SHORT_TITLE else f"{title[: SHORT_TITLE - 1]}…"
