"""Filters whose value somebody types: a name, words, or a time. The list shows their fields in one form.

What can't be read as such a value matches nothing: an action on all that match never reaches more than was asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_aware

from jobs.admin.known_choices import Choices, KnownFilter, ModelAdmin
from opsconsole.kit.storable import is_storable

LONGEST = 500


class TypedFilter(KnownFilter):
    """``wants`` says what can be typed; ``input_type`` is that of its field, and ``hint`` stands below it."""

    typed = True
    # It says itself what can't be read.
    reads_any = True
    input_type = "text"
    wants = "a text of at most 500 characters"
    hint = ""

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.given = request.GET.get(str(self.parameter_name), "").strip()
        super().__init__(request, params, model, model_admin)

    def read(self) -> str:
        """Return what was typed in words, or an empty text if it can't be read."""
        return self.given if is_storable(self.given) and len(self.given) <= LONGEST else ""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        words = self.read() if self.given else ""
        return [(self.given, words)] if words else []

    def value(self) -> str | None:
        return self.given or None

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.none() if self.problem else super().queryset(request, queryset)

    @property
    def shown(self) -> str:
        """Return the value of its field."""
        return self.given

    @property
    def chosen(self) -> str:
        """Return what was typed, in words."""
        return next((str(words) for _, words in self.lookup_choices), self.given)

    @property
    def problem(self) -> str:
        """Return why what was typed matches nothing; empty if it can be read."""
        return f"This is not {self.wants}." if self.given and not self.lookup_choices else ""


class TimeFilter(TypedFilter):
    """A moment. Without a zone it is one of UTC, as all times on pages are."""

    input_type = "datetime-local"
    wants = "a time, such as 2026-11-27 18:00 (UTC)"

    @property
    def moment(self) -> datetime | None:
        return moment_of(self.given)

    def read(self) -> str:
        return _in_words(self.moment) if self.moment else ""

    @property
    def shown(self) -> str:
        # With four digits of the year, which a browser wants.
        return self.moment.replace(tzinfo=None).isoformat(timespec="seconds") if self.moment else ""


class SinceFilter(TimeFilter):
    """From a moment on."""

    column: str

    def apply(self, rows: Any, value: str) -> QuerySet[Any]:
        since: QuerySet[Any] = rows.filter(**{f"{self.column}__gte": moment_of(value)})
        return since


class UntilFilter(TimeFilter):
    """Before a moment. ``begins`` is the parameter of the filter from which moment on."""

    column: str
    begins: str

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self._begin = moment_of(request.GET.get(self.begins, "").strip())
        super().__init__(request, params, model, model_admin)

    @property
    def problem(self) -> str:
        if self.moment and self._begin and self.moment <= self._begin:
            return f"This is not later than {_in_words(self._begin)}, from when on rows are wanted."
        return super().problem

    def apply(self, rows: Any, value: str) -> QuerySet[Any]:
        until: QuerySet[Any] = rows.filter(**{f"{self.column}__lt": moment_of(value)})
        return until


def _in_words(moment: datetime) -> str:
    """Return a moment with its date, also where that is today: whoever gets the address may open it tomorrow."""
    return f"{moment.replace(tzinfo=None).isoformat(' ', timespec='seconds')} UTC"


def moment_of(text: str) -> datetime | None:
    """Return the moment that a text names: a date, or a date and a time, of UTC unless it names another zone."""
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if moment is None:
            return None
        # A time zone can move the first and the last day out of the calendar's range.
        return moment.astimezone(UTC) if is_aware(moment) else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
