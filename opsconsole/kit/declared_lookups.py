"""What a list reads from its address: the parameters of its declared filters, and nothing else.

Django's lists accept every lookup on every column, and through relations: ``?body__contains=a`` would tell a viewer
character by character what no page shows, by whether rows are found. Sorting by a column tells its values likewise.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import FieldListFilter, ModelAdmin, SimpleListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR, ChangeList
from django.http import HttpRequest

from opsconsole.kit import addresses

# The list itself reads these: none of them names a column.
OF_EVERY_LIST = frozenset({ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR})


def undeclared(of_list: ModelAdmin[Any], request: HttpRequest) -> list[str]:
    """Return the parameters of the address that the list does not declare, in order."""
    others = request.GET.keys() - OF_EVERY_LIST
    return sorted(others - declared(of_list, request)) if others else []


def declared(of_list: ModelAdmin[Any], request: HttpRequest) -> set[str]:
    """Return the parameters of the declared filters of a list."""
    return {name for each in of_list.get_list_filter(request) for name in _parameters(each, of_list, request)}


def _parameters(declaration: Any, of_list: ModelAdmin[Any], request: HttpRequest) -> list[str]:
    if isinstance(declaration, type) and issubclass(declaration, SimpleListFilter):
        return [str(declaration.parameter_name)]
    path, create = declaration if isinstance(declaration, tuple) else (declaration, FieldListFilter.create)
    field = get_fields_from_path(of_list.model, path)[-1]
    made = create(field, request, {}, of_list.model, of_list, field_path=path)
    return [str(name) for name in made.expected_parameters()]


def without_empty(request: HttpRequest) -> str | None:
    """Return the query string without the fields of a form that were left empty; None if there are none.

    What is left is an address to share.
    """
    if "" not in request.GET.values():
        return None
    kept = request.GET.copy()
    for name, value in request.GET.items():
        if value == "" and name not in OF_EVERY_LIST:
            del kept[name]
    return kept.urlencode() if kept != request.GET else None


class DeclaredChangeList(ChangeList):
    """A list that is sorted by the columns that it offers for sorting only; Django sorts by any column shown.

    A choice that a filter does not have matches nothing: a mistyped or outdated address would show all rows, to be acted upon.
    """

    def url_for_result(self, result: Any) -> str:
        """Return the address of the page of a row, as ``addresses.of_row`` does."""
        return addresses.of_row(self.opts.label_lower.replace(".", "_"), getattr(result, self.pk_attname))

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        return rows.none() if self.unknown_choices else rows

    @property
    def unknown_choices(self) -> list[tuple[str, str]]:
        """Return the filters whose choice does not exist, each with the choice. Some read any value: ``reads_any``."""
        return [
            (str(spec.title), str(value)[:100])
            for spec in self.filter_specs
            if isinstance(spec, SimpleListFilter) and not getattr(spec, "reads_any", False)
            if (value := spec.value()) is not None
            and value not in {str(known) for known, _ in spec.lookup_choices}
        ]

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        offered = [column for column in self.params.pop(ORDER_VAR, "").split(".") if self._offers(column)]
        if offered:
            self.params[ORDER_VAR] = ".".join(offered)
        return super().get_ordering(request, queryset)

    @property
    def offered_filters(self) -> list[Any]:
        """Return the filters with a list of choices."""
        return [spec for spec in self.filter_specs if not getattr(spec, "typed", False)]

    @property
    def typed_filters(self) -> list[tuple[Any, str]]:
        """Return the filters whose value is typed, each with the query string of the list without it."""
        return [
            (spec, self.get_query_string({str(spec.parameter_name): None}))  # type: ignore[attr-defined]  # of a SimpleListFilter
            for spec in self.filter_specs
            if getattr(spec, "typed", False)
        ]

    @property
    def set_filters(self) -> list[str]:
        """Return the titles of the filters that the address sets, without a menu that only sorts."""
        return [
            str(spec.title)
            for spec in self.filter_specs
            if not getattr(spec, "only_sorts", False)
            and any(name in self.params for name in spec.expected_parameters())
        ]

    @property
    def shows_filters_first(self) -> bool:
        """Tell whether the filters, which a phone folds, are what is to be looked at: they leave no row, or one is refused."""
        refused = any(spec.problem for spec, _ in self.typed_filters)
        return refused or bool(self.set_filters and not self.result_count)

    @property
    def other_parameters(self) -> list[tuple[str, str]]:
        """Return what the form of the typed filters keeps of the address. It opens the first page."""
        typed = {spec.parameter_name for spec, _ in self.typed_filters}
        return [(name, str(value)) for name, value in self.params.items() if name not in typed | {PAGE_VAR}]

    def _offers(self, column: str) -> bool:
        index = column.removeprefix("-")
        if not (
            index.isascii() and index.isdecimal() and len(index) < 4 and int(index) < len(self.list_display)
        ):
            return False
        return self.list_display[int(index)] in (self.sortable_by or ())
