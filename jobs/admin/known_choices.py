"""Filters whose choices are known beforehand: none reads the table to find them out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet, TextChoices
from django.http import HttpRequest

ModelAdmin = admin.ModelAdmin[Any]
Choices = Iterable[tuple[str, str]]


class KnownFilter(admin.SimpleListFilter):
    """Leaves the list as it is when its value is none of its choices."""

    def apply(self, rows: Any, value: str) -> QuerySet[Any]:
        filtered: QuerySet[Any] = rows.filter(**{str(self.parameter_name): value})
        return filtered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        known = {str(lookup) for lookup, _ in self.lookup_choices}
        return self.apply(queryset, value) if value in known else queryset


class StateFilter(KnownFilter):
    title = "state"
    parameter_name = "state"
    states: Iterable[TextChoices]

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(state.value, state.label.capitalize()) for state in self.states]


class QueueFilter(KnownFilter):
    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        """The configured queues, and the one that is chosen: it may be one that was."""
        chosen = request.GET.get(self.parameter_name)
        names = set(settings.QUEUES) | ({chosen} if chosen else set())
        return [(name, name) for name in sorted(names)]
