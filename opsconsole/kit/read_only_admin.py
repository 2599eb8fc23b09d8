"""Read-only admin pages. Rows change through operations, never through model forms."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from opsconsole.kit import addresses
from opsconsole.kit.titled_admin import TitledAdmin

Row = TypeVar("Row", bound=Model)


class ReadOnlyAdmin(TitledAdmin):
    """Nothing can be added, changed or deleted; ``actions`` of a subclass name their own permissions."""

    change_form_template = "admin/readonly_form.html"
    show_full_result_count = False
    list_per_page = 50
    # What columns are called on the page of a row, where the name of the column says it to programs only.
    labels: Mapping[str, str] = MappingProxyType({})

    def action_checkbox(self, obj: Model) -> SafeString:
        """Return the same as Django, without a template per row, which takes a sixth of the page's time."""
        return mark_safe(  # noqa: S308 - escaped
            f'<input type="checkbox" name="{ACTION_CHECKBOX_NAME}" value="{escape(str(obj.pk))}" class="action-select"'
            f' aria-label="Select {escape(str(obj))}">'
        )

    def get_form(self, request: HttpRequest, obj: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().get_form(request, obj, *args, labels=dict(self.labels), **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        title = {"title": self.title_of(context["original"]), "subtitle": None}
        return super().render_change_form(request, context | title, *args, **kwargs)

    def title_of(self, row: Any) -> str:
        return f"{capfirst(self.one)} {row.pk}"


class OnePageAdmin(ReadOnlyAdmin):
    """An admin with a single page in place of the list; the addresses of rows redirect to it."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self.show(request)
        if not self.may_decide(request):
            raise PermissionDenied
        return self.decide(request)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Return the page."""
        raise NotImplementedError

    def may_decide(self, request: HttpRequest) -> bool:
        """Tell whether this person may send a form of the page."""
        return False

    def decide(self, request: HttpRequest) -> HttpResponse:
        """Do what a form of the page asks for."""
        raise NotImplementedError

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return redirect(self.address("changelist"))

    def history_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return redirect(self.address("changelist"))


class PageAdmin(ReadOnlyAdmin, Generic[Row]):
    """An admin whose rows have a page instead of the admin's form; the history is shown there too."""

    # The message for an address that names no row.
    missing: str
    # The anchor of the history on the page, such as '#timeline'.
    history_at = ""

    def load(self, key: str) -> Row | None:
        """Return the row with this key, or None; the key is unchecked text from an address."""
        raise NotImplementedError

    def page(self, request: HttpRequest, row: Row) -> HttpResponse:
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        row = self.load(addresses.key_of(object_id))
        if row is None:
            messages.warning(request, self.missing)
            return redirect(self.address("changelist"))
        return self.page(request, row)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect(reverse(self.address("change"), args=[object_id]) + self.history_at)
