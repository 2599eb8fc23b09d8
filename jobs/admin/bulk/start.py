"""To the preview of a bulk operation: of what was ticked, of all that a list's filters match, or of a failure group."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from psycopg.errors import QueryCanceled

from jobs.bulk import freezing
from jobs.bulk.kinds import Kind
from jobs.runs.timeline import Actor
from opsconsole.kit.read_only_admin import ReadOnlyAdmin

VIEW = "jobs.view_bulkoperation"


def may(request: HttpRequest, kind: Kind) -> bool:
    """Whether this person may begin, cancel and resume operations of this kind."""
    return request.user.has_perms([kind.permission, VIEW])


def actor_of(request: HttpRequest) -> Actor:
    return Actor.operator(request.user.get_username(), request.user.pk)


def start_from_list(
    model_admin: ReadOnlyAdmin, request: HttpRequest, kind: Kind, chosen: QuerySet[Any]
) -> HttpResponse:
    """Freeze what an action of the list was called with."""
    scope, query = _scope(model_admin, request), _query(request)
    return start(request, kind, chosen, scope=scope, query=query, back=request.get_full_path())


def start(
    request: HttpRequest, kind: Kind, chosen: QuerySet[Any], *, scope: str, query: str, back: str
) -> HttpResponse:
    """Freeze what is chosen and lead to its preview, or ``back`` to where it can be narrowed; nothing else is changed."""
    if not may(request, kind):
        raise PermissionDenied
    try:
        operation = freezing.freeze(kind, chosen, actor_of(request), scope=scope, query=query)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        messages.error(request, "Finding all that matches took too long: narrow the filters and try again.")
        return redirect(back)
    return redirect("admin:jobs_bulkoperation_change", operation.pk)


def _across(request: HttpRequest) -> bool:
    return request.POST.get("select_across") == "1"


def _query(request: HttpRequest) -> str:
    return request.GET.urlencode() if _across(request) else ""


def _scope(model_admin: ReadOnlyAdmin, request: HttpRequest) -> str:
    return in_words(model_admin.get_changelist_instance(request)) if _across(request) else "those ticked"


def in_words(changelist: ChangeList) -> str:
    """What a list's filters and search leave, such as 'status: Failed, search: CUST-00417'."""
    parts = [f"{spec.title}: {chosen}" for spec in changelist.filter_specs if (chosen := _chosen(spec))]
    if changelist.query.strip():
        parts.append(f"search: {changelist.query.strip()}")
    return ", ".join(parts) or "all that the list shows"


def _chosen(spec: Any) -> str:
    value = spec.value() if hasattr(spec, "value") else None
    return next(
        (str(label) for choice, label in getattr(spec, "lookup_choices", ()) if str(choice) == value), ""
    )
