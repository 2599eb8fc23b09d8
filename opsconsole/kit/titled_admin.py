"""The base of the console's admin pages: their titles, what lists declare, and what a person may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import Model, prefetch_related_objects
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst

from opsconsole.kit import addresses, audit, declared_lookups, form_versions
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.declared_lookups import DeclaredChangeList
from opsconsole.kit.form_versions import VersionedForm
from opsconsole.kit.page_permissions import may_see, may_see_rows
from opsconsole.kit.reasons import ReasonForm, ReasonPageForm
from opsconsole.kit.row_actions import (
    NOTHING_SELECTED,
    RowActionsAdmin,
    choose_all_that_match,
    leave_out_impossible_rows,
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an action of a list asks before it is done; ``takes_away``: its button is red.

    ``seen`` returns what the answer refers to in a row, by its name for people: if that changes, the question is asked again.
    """

    action: str
    title: str
    button: str
    seen: Callable[[Any], dict[str, Any]]
    consequence: str = ""
    takes_away: bool = False
    form: type[ReasonForm] = ReasonPageForm


class TitledAdmin(RowActionsAdmin):
    """The base of every page of the console: what a list declares and what a person may see is decided here.

    A list has the title from the navigation instead of "Select ... to change", and reads no undeclared filter.
    """

    # Singular and plural on screen, for a model of another package with other names.
    shown_names: tuple[str, str] | None = None
    # What an empty list says of the next step.
    when_empty: str = ""
    # Columns and fields that quote pages of other models, such as 'jobs_job', which not everybody may see. A filter
    # names them itself, in an attribute of the same name.
    quotes: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    # Counting every choice of a filter would read the whole table.
    show_facets = admin.ShowFacets.NEVER
    # The models whose tables the list and the pages of rows show. Those that name any update themselves.
    live_on: tuple[str, ...] = ()
    rows_are_live = True
    # Where changes of a row are recorded that no person made: for the page of a history without any.
    recorded_at: str = ""

    @property
    def media(self) -> Media:
        """Load what the widgets of a form name, without the admin's own scripts, such as jQuery, which no page here uses."""
        return Media()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        if names := declared_lookups.undeclared(self, request):
            context = {"title": "There is no such filter", "names": names[:5]}
            return self.render(request, "admin/undeclared_filter.html", context, status=400)
        if request.method == "GET" and (shorter := declared_lookups.without_empty(request)) is not None:
            return redirect(f"{request.path}?{shorter}" if shorter else request.path)
        if request.method == "POST":
            choose_all_that_match(request)
            leave_out_impossible_rows(request, self.opts.pk)
            if self.nothing_is_selected(request):
                messages.warning(request, NOTHING_SELECTED.format(many=self.many))
                return redirect(request.get_full_path())
        titles = {"title": capfirst(self.many), "module_name": self.many}
        return super().changelist_view(request, titles | (extra_context or {}))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """Write a line of the audit, with its reason in a field of its own where ``message`` has one."""
        return self._log_parts(request, obj, message, ADDITION) or super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        return self._log_parts(request, obj, message, CHANGE) or super().log_change(request, obj, message)

    def _log_parts(self, request: HttpRequest, obj: Any, message: Any, flag: int) -> LogEntry | None:
        if not isinstance(message, AuditParts):
            return None
        [entry] = audit.log(
            request.user, [obj], message.did, why=message.why, result=message.result, flag=flag
        )
        return entry

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow declared filters only, also where the list is not shown but exported or acted upon."""
        return request is not None and lookup in declared_lookups.declared(self, request)

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Allow an address to name rows by their key only."""
        return to_field == self.opts.pk.name

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # Django looks for a field without a name where an address ends in '?_to_field='.
        return super().get_object(request, object_id, from_field or None)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        return super().change_view(request, addresses.for_django(object_id), form_url, extra_context)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DeclaredChangeList]:
        return DeclaredChangeList

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_see_rows(request.user, self.opts)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [name for name in super().get_list_display(request) if self.may_quote(request, name)]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [each for each in super().get_list_filter(request) if self.may_quote(request, each)]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            (heading, {**options, "fields": shown})
            for heading, options in super().get_fieldsets(request, obj)
            if (shown := [name for name in options["fields"] if self.may_quote(request, name)])
        ]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the lines of the audit about a row to those who may see the audit."""
        if not may_see(request.user, "admin_logentry"):
            raise PermissionDenied
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            prefetch_related_objects(list(response.context_data["action_list"].object_list), "detail")
            name = self.title_of(response.context_data["object"])
            response.context_data |= {
                "title": f"History: {name}",
                "row_name": name,
                "recorded_at": self.recorded_at,
            }
        return response

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the pages of a list. Those of a history begin with the newest line; Django begins with the oldest."""
        if getattr(queryset, "model", None) is LogEntry and self.model is not LogEntry:
            queryset = queryset.order_by("-action_time", "-pk")
        return super().get_paginator(request, queryset, *args, **kwargs)

    def title_of(self, row: Any) -> str:
        """Return what a row is called in titles and on the way to its page."""
        return str(row)

    def may_quote(self, request: HttpRequest, name: Any) -> bool:
        """Tell whether this person may see a column, filter or field, as far as it quotes other pages."""
        pages = self.quotes.get(name, ()) if isinstance(name, str) else getattr(name, "quotes", ())
        return all(may_see(request.user, page) for page in pages)

    def render(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, status: int = HTTPStatus.OK
    ) -> TemplateResponse:
        """Render a page with the context of every admin page. A form that was refused as out of date decides the status."""
        statuses = [form.status for form in context.values() if isinstance(form, VersionedForm)]
        status = max([status, *statuses])
        common = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, template, common | context, status=status)

    def ask_why(
        self, request: HttpRequest, question: Question, rows: Iterable[tuple[Model, str]]
    ) -> str | TemplateResponse:
        """Return the reason that was given, or the page that asks for one and names each row.

        Call it in the transaction that then writes, with rows that are locked.
        """
        rows = list(rows)
        # By the key, because the text that names a row may say what programs change, such as its last use.
        values = {
            f"{row.pk}: {name}": value
            for row, _ in rows
            for name, value in (
                question.seen(row) | {"last decision": form_versions.last_change(row)}
            ).items()
        }
        now = form_versions.of([row for row, _ in rows], values)
        form = question.form(request.POST if "reason" in request.POST else None, version=now)
        if form.is_valid():
            return str(form.cleaned_data["reason"])
        context = {
            "title": question.title,
            "question": question,
            "rows": rows,
            "form": form,
            "checkbox": ACTION_CHECKBOX_NAME,
            "list_name": capfirst(self.many),
            "list_url": reverse(self.address("changelist")),
        }
        return self.render(request, "admin/ask_why.html", context)

    def address(self, page: str) -> str:
        """Return the name of the address of a page of this model, such as 'changelist'."""
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"

    @property
    def one(self) -> str:
        """Return what a row is called on screen."""
        return str(self.shown_names[0] if self.shown_names else self.opts.verbose_name)

    @property
    def many(self) -> str:
        return str(self.shown_names[1] if self.shown_names else self.opts.verbose_name_plural)
