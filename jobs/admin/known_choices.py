"""Filters with known choices, so that none reads the table to find them."""

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
    """A filter that ignores values outside its choices. ``by_number``: what is stored names a choice by its value."""

    by_number = False

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
        """Return the configured queues and the chosen one, which may no longer be configured."""
        chosen = request.GET.get(self.parameter_name)
        names = set(settings.QUEUES) | ({chosen} if chosen else set())
        return [(name, name) for name in sorted(names)]
