"""What a list's filters choose, for the command and the API: the filters of the pages, with unknown values refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from django_stubs_ext import MutableHttpRequest

from jobs.admin.bulk.start import in_words
from jobs.admin.typed_filters import TypedFilter
from opsconsole.kit import admin_pages
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.page_permissions import Asker
from opsconsole.kit.storable import plain_text


class UnknownFilter(OpsConsoleError):
    """A filter, or a value of one, that the list does not have. ``value`` None: the filter itself is unknown."""

    def __init__(self, name: str, value: str | None, known: list[str]) -> None:
        super().__init__(f"{name}: {value!r} is none of: {', '.join(known)}.")
        self.name, self.value, self.known = name, value, known


@dataclass(frozen=True)
class ListChoice:
    """The rows that a list shows with these filters, and the choice in words."""

    changelist: Any
    query: str

    @property
    def rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.changelist.queryset
        return rows

    @property
    def scope(self) -> str:
        return in_words(self.changelist)


def choose(model: type[Model], filters: Mapping[str, str], search: str, asker: Asker) -> ListChoice:
    """Return what the list of this model shows to ``asker``. Raise ``UnknownFilter`` for what a page would show as no rows.

    Nothing is read yet, but what the filters offer.
    """
    query = QueryDict(mutable=True)
    query.update({name: plain_text(value) for name, value in filters.items()})
    if search:
        query[SEARCH_VAR] = plain_text(search)
    request = MutableHttpRequest()
    request.method, request.GET = "GET", query
    request.user = asker  # type: ignore[assignment]  # a principal answers what lists ask of a user
    _refuse_unknown_names(model, request, filters)
    changelist = _changelist(model, request)
    _refuse_unknown_values(changelist, filters)
    return ListChoice(changelist, query.urlencode())


def _refuse_unknown_names(model: type[Model], request: HttpRequest, filters: Mapping[str, str]) -> None:
    declared: Any = admin_pages.site().get_model_admin(model).get_list_filter(request)
    filters_of_rows = (each for each in declared if not getattr(each, "for_pages_only", False))
    names = [str(each.parameter_name) for each in filters_of_rows if hasattr(each, "parameter_name")]
    for name in filters:
        if name not in names:
            raise UnknownFilter(name, None, names)


def _changelist(model: type[Model], request: HttpRequest) -> ChangeList:
    """Return the list without the rows of its first page, which nobody shows."""
    of_list: Any = admin_pages.site().get_model_admin(model)
    shown = of_list.get_changelist(request)
    unread: type[ChangeList] = type(shown.__name__, (shown,), {"get_results": lambda _self, _request: None})
    return unread(
        request,
        of_list.model,
        of_list.get_list_display(request),
        (),
        of_list.get_list_filter(request),
        of_list.date_hierarchy,
        of_list.get_search_fields(request),
        of_list.get_list_select_related(request),
        of_list.list_per_page,
        of_list.list_max_show_all,
        of_list.list_editable,
        of_list,
        (),
        of_list.search_help_text,
    )


def _refuse_unknown_values(changelist: ChangeList, filters: Mapping[str, str]) -> None:
    by_name = {
        str(spec.parameter_name): spec
        for spec in changelist.filter_specs
        if isinstance(spec, SimpleListFilter)
    }
    for name, value in filters.items():
        spec = by_name.get(name)
        known = [str(choice) for choice, _ in spec.lookup_choices] if spec else []
        if plain_text(value).strip() not in known:
            known = [spec.wants] if isinstance(spec, TypedFilter) else known
            raise UnknownFilter(name, value, known)
