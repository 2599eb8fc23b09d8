"""The filters of the list of alerts, by state and by rule. By default, the list shows open alerts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from alerts.catalog import NO_RULE, RULES
from alerts.models import Alert

State = Alert.State


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [
            (State.FIRING, "Firing"),
            (State.ACKNOWLEDGED, "Acknowledged"),
            (State.SNOOZED, "Snoozed"),
            ("unknown", "Unknown"),
            (State.RESOLVED, "Resolved"),
            ("all", "All"),
        ]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Open"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case State.FIRING | State.ACKNOWLEDGED | State.SNOOZED | State.RESOLVED as state:
                return queryset.filter(state=state)
            case "unknown":
                return queryset.filter(resolved_at=None).exclude(unknown_since=None)
            case "all":
                return queryset
        return queryset.filter(resolved_at=None)


class RuleFilter(admin.SimpleListFilter):
    title = "rule"
    parameter_name = "rule"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [*((name, rule.title) for name, rule in RULES.items()), (NO_RULE, "No rule")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(rule="" if value == NO_RULE else value)
