"""Lock-outs after failed logins, per user and address (django-axes): the page that says so, and the list."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from opsconsole.kit import audit, problems
from opsconsole.kit.counting import exactly
from opsconsole.kit.display import age, badge
from opsconsole.kit.durations import spell
from opsconsole.kit.read_only_admin import Question, ReadOnlyAdmin
from ratelimits.identity import client_ip

LIST = "admin:axes_accessattempt_changelist"
PAGES = "/admin/"


def address(request: HttpRequest) -> str | None:
    """Return the client's address as the rate limiter sees it; for IPv6, the first address of its /64 network."""
    found = client_ip.client_address(request.META)
    return client_ip.group(found).partition("/")[0] if found else None


def page(
    request: HttpRequest, _response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """Show the lock-out page. It is the same for users who exist and users who don't."""
    username = (credentials or {}).get("username")
    left = _left(username, address(request))
    context = {
        **admin.site.each_context(request),
        "title": "Locked out for a while",
        "limit": settings.AXES_FAILURE_LIMIT,
        "left": spell(left),
    }
    response = render(request, "admin/locked_out.html", context, status=429)
    response["Retry-After"] = str(math.ceil(left.total_seconds()))
    response["Cache-Control"] = "no-store"
    return response


class TooManyMiddleware:
    """Replaces the 429 problem document with a page where a browser asked."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # At other addresses the client is a program, such as curl, whatever it accepts.
        if (
            response.status_code == 429
            and isinstance(response, HttpResponse)
            and response.headers.get("Content-Type") == problems.MEDIA_TYPE
            and request.path_info.startswith(PAGES)
            and request.accepts("text/html")
        ):
            left = timedelta(seconds=int(response.headers.get("Retry-After", 1)))
            context = {**admin.site.each_context(request), "title": "Too many requests", "left": spell(left)}
            html = render_to_string("admin/locked_out.html", context, request)
            problems.replace_body(response, html, "text/html; charset=utf-8")
        return response


def _left(username: str | None, ip_address: str | None) -> timedelta:
    """Return how much longer the lock-out lasts, counted from the last failure that counted."""
    tries = AccessAttempt.objects.filter(username=username, ip_address=ip_address)
    found = tries.aggregate(last=Max("attempt_time"), now=Max(Now()))
    cool_off: timedelta = settings.AXES_COOLOFF_TIME
    if found["last"] is None:
        return cool_off
    left: timedelta = found["last"] + cool_off - found["now"]
    return max(left, timedelta(seconds=1))


@admin.register(AccessAttempt)
class FailedLogInAdmin(ReadOnlyAdmin):
    shown_names = ("failed login", "failed logins")
    list_display = ("username", "ip_address", "state", "failures_since_start", "when", "user_agent")
    search_fields = ("username__startswith", "ip_address__startswith")
    search_help_text = "The beginning of a user name or an address"
    fields = (
        "username",
        "ip_address",
        "state",
        "failures_since_start",
        "attempt_time",
        "user_agent",
        "path_info",
    )
    sortable_by = ()
    actions = ("unlock",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    @admin.display(description="state")
    def state(self, attempt: AccessAttempt) -> SafeString:
        if attempt.db_now - attempt.attempt_time > settings.AXES_COOLOFF_TIME:
            return badge("Over")
        locked = attempt.failures_since_start >= settings.AXES_FAILURE_LIMIT
        return badge("Locked out", "bad") if locked else badge("Failed", "warning")

    @admin.display(description="last")
    def when(self, attempt: AccessAttempt) -> SafeString:
        return age(attempt.attempt_time, attempt.db_now, suffix=" ago")

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("axes.delete_accessattempt") and self.has_view_permission(request)

    @admin.action(description="Unlock", permissions=["unlock"])
    def unlock(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for a reason, then delete the failures of these users at these addresses."""
        chosen = list(queryset)
        reason = self.ask_why(
            request,
            Question(
                action="unlock",
                title="Unlock logins",
                button="Unlock",
                consequence="This deletes their failed logins, so that they can try again at once.",
            ),
            [(each, f"{_name(each)}, {exactly(each.failures_since_start, 'failure')}") for each in chosen],
        )
        if not isinstance(reason, str):
            return reason
        # Logged first: the rows that it names are deleted next.
        audit.log(request.user, chosen, f"Unlocked {_names(chosen)}: {reason}")
        for each in chosen:
            AxesProxyHandler.reset_attempts(ip_address=each.ip_address, username=each.username)
        messages.success(request, f"Unlocked: {_names(chosen)}.")
        return redirect(LIST)


def _names(chosen: list[AccessAttempt]) -> str:
    return ", ".join(map(_name, chosen))


def _name(attempt: AccessAttempt) -> str:
    return f"{attempt.username} at {attempt.ip_address}"
