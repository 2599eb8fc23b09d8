"""The orders in which a list can be read, as a menu beside its filters: it stands in the address, and works on a phone, too.

An order that an index has is exact on any number of rows. Any other is one of the newest rows, or of the oldest, and the list
says how far it was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.admin.views.main import ORDER_VAR
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin.known_choices import Choices, KnownFilter, ModelAdmin
from opsconsole.kit.declared_lookups import DeclaredChangeList

PARAMETER = "sort"


@dataclass(frozen=True)
class Order:
    """An order. ``column`` shows what is sorted by; ``indexed``: an index reads the rows that have it in this order.

    ``narrows``: the list is then only of the rows that the order is about. ``from_oldest``: without an index, the rows that were
    created first are looked through first, because what the order shows first is among them.
    """

    label: str
    by: Sequence[Any]
    column: str
    indexed: bool = False
    narrows: bool = False
    from_oldest: bool = False


class OrderMenu(KnownFilter):
    """Sorts a list; the API and the commands, which read row by row, have no such choice."""

    title = "sort"
    parameter_name = PARAMETER
    for_pages_only = True
    # An unknown order leaves no rows out.
    reads_any = True
    orders: Mapping[str, Order]
    unsorted = "Newest first"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(value, order.label) for value, order in self.orders.items()]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Name the order of the list without a choice, and forget the one of a column."""
        first, *others = super().choices(changelist)
        yield first | {
            "display": self.unsorted,
            "query_string": changelist.get_query_string(remove=[PARAMETER, ORDER_VAR]),
        }
        for choice, value in zip(others, self.orders, strict=True):
            yield choice | {"query_string": changelist.get_query_string({PARAMETER: value}, [ORDER_VAR])}

    @property
    def chosen(self) -> Order | None:
        return self.orders.get(self.value() or "")

    @property
    def only_sorts(self) -> bool:
        """Tell whether the order leaves no rows out."""
        return self.chosen is None or not self.chosen.narrows

    def sorted(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.order_by(*self.chosen.by) if self.chosen else rows


class SortedChangeList(DeclaredChangeList):
    """A list with a menu of orders: while one is chosen, no column is marked as the one that sorts."""

    @property
    def menu(self) -> OrderMenu | None:
        """Return the menu if an order is chosen in it."""
        return of_list(self)

    def get_ordering_field_columns(self) -> dict[int, Literal["desc", "asc"]]:
        return {} if self.menu else super().get_ordering_field_columns()


def of_list(changelist: Any) -> OrderMenu | None:
    """Return the menu of this list if an order is chosen in it."""
    menus = (spec for spec in changelist.filter_specs if isinstance(spec, OrderMenu))
    return next((menu for menu in menus if menu.chosen), None)


def chosen_by(request: HttpRequest, menu: type[OrderMenu]) -> Order | None:
    """Return the order that the address of a list names."""
    return menu.orders.get(request.GET.get(PARAMETER, ""))
