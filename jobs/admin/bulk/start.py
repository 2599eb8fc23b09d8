"""The start of a bulk operation: freeze the selected rows, all rows that match a list's filters, or a failure group."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin import ListFilter, SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from psycopg.errors import QueryCanceled

from jobs.admin.known_choices import KnownFilter
from jobs.bulk import background_freezing
from jobs.bulk.kinds import Kind
from jobs.runs.timeline import Actor
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.read_only_admin import ReadOnlyAdmin

VIEW = "jobs.view_bulkoperation"


def may(request: HttpRequest, kind: Kind) -> bool:
    """Tell whether this person may begin, stop and resume operations of this kind."""
    return request.user.has_perms([kind.permission, VIEW]) and may_see(request.user, kind.page)


def actor_of(request: HttpRequest) -> Actor:
    return Actor.operator(request.user.get_username(), request.user.pk)


def start_from_list(
    model_admin: ReadOnlyAdmin, request: HttpRequest, kind: Kind, chosen: QuerySet[Any]
) -> HttpResponse:
    """Freeze the rows that a list's action was called with."""
    scope, query = _scope(model_admin, request), _query(request)
    return start(request, kind, chosen, scope=scope, query=query, back=request.get_full_path())


def start(
    request: HttpRequest, kind: Kind, chosen: QuerySet[Any], *, scope: str, query: str, back: str
) -> HttpResponse:
    """Freeze the chosen rows and redirect to the preview, or ``back`` to the list when finding them took too long."""
    if not may(request, kind):
        raise PermissionDenied
    try:
        operation = background_freezing.prepare(kind, chosen, actor_of(request), scope=scope, query=query)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        messages.error(
            request,
            "Finding all matching rows took too long. Nothing was changed. Narrow the filters and try again.",
        )
        return redirect(back)
    return redirect("admin:jobs_bulkoperation_change", operation.pk)


def _across(request: HttpRequest) -> bool:
    return request.POST.get("select_across") == "1"


def _query(request: HttpRequest) -> str:
    return request.GET.urlencode() if _across(request) else ""


def _scope(model_admin: ReadOnlyAdmin, request: HttpRequest) -> str:
    return in_words(model_admin.get_changelist_instance(request)) if _across(request) else "selected rows"


def in_words(changelist: ChangeList) -> str:
    """Describe a list's filters and search, such as 'status: Failed, search: CUST-00417'."""
    parts = [f"{spec.title}: {chosen}" for spec in changelist.filter_specs if (chosen := _chosen(spec))]
    if changelist.query.strip():
        parts.append(f"search: {changelist.query.strip()}")
    return ", ".join(parts) or "all rows of the list"


def _chosen(spec: ListFilter) -> str:
    if not isinstance(spec, SimpleListFilter):
        return ""
    chosen = ((choice, label) for choice, label in spec.lookup_choices if str(choice) == spec.value())
    # The scope is stored, and a title that was read from a letter may have to be hidden later.
    by_number = isinstance(spec, KnownFilter) and spec.by_number
    return next((str(choice if by_number else label) for choice, label in chosen), "")
