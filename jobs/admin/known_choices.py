"""Filters with known choices, so that none reads the table to find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet, TextChoices
from django.http import HttpRequest

ModelAdmin = admin.ModelAdmin[Any]
Choices = Iterable[tuple[str, str]]


class KnownFilter(admin.SimpleListFilter):
    """A filter of known choices; ``DeclaredChangeList`` shows no rows for others.

    ``by_number``: what is stored names a choice by its value.
    """

    by_number = False

    def apply(self, rows: Any, value: str) -> QuerySet[Any]:
        filtered: QuerySet[Any] = rows.filter(**{str(self.parameter_name): value})
        return filtered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        known = {str(lookup) for lookup, _ in self.lookup_choices}
        return self.apply(queryset, value) if value in known else queryset


class CountedFilter(KnownFilter):
    """A filter that shows how many rows each choice has. Where this would read too many of them, it shows none.

    ``bounded`` names the other filters by which PostgreSQL finds the first rows of a choice through an index.
    """

    bounded: frozenset[str] = frozenset()

    def counts(self, rows: QuerySet[Any] | None) -> Mapping[str, str]:
        """Return the counts by choice: of all rows, or of those that the other filters leave."""
        raise NotImplementedError

    def choices(self, changelist: Any) -> Iterator[Any]:
        counts = self._counts(changelist)
        first, *others = super().choices(changelist)
        yield first
        for choice, (value, _) in zip(others, self.lookup_choices, strict=True):
            yield choice | {"count": counts.get(str(value), "")}

    def _counts(self, changelist: Any) -> Mapping[str, str]:
        others = [spec for spec in changelist.filter_specs if spec is not self and _is_active(spec)]
        if changelist.query or any(spec.parameter_name not in self.bounded for spec in others):
            return {}
        if not others:
            return self.counts(None)
        rows = changelist.root_queryset.order_by(*changelist.model._meta.ordering)  # noqa: SLF001 - documented
        for spec in others:
            rows = spec.queryset(self.request, rows)
        return self.counts(rows)


def _is_active(spec: Any) -> bool:
    if getattr(spec, "only_sorts", False):
        return False
    value = getattr(spec, "value", None)
    return bool(value()) if value else bool(getattr(spec, "used_parameters", None))


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
