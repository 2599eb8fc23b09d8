"""Lock-outs after failed logins: the page that says so, and the list."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from opsconsole.kit import audit, problems
from opsconsole.kit.counting import exactly
from opsconsole.kit.display import NOTHING, age, badge, clock_time
from opsconsole.kit.durations import spell
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question
from opsconsole.sign_in import failures, second_factor
from opsconsole.sign_in.failures import Lockout

LIST = "admin:axes_accessattempt_changelist"
PAGES = "/admin/"
_SENTENCES = {
    "browser": "There were too many failed logins for this user in this browser.",
    "pair": "There were too many failed logins for this user from this address.",
    "client": "There were too many failed logins from this address, for several users.",
    "user": "There were too many failed logins for this user, from several addresses.",
}
_WHOLE = {"client": "Address locked out", "user": "User locked out"}


def page(
    request: HttpRequest, _response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """Show the lock-out page. It is the same for users who exist and users who don't."""
    lockout: Lockout | None = getattr(request, "log_in_lockout", None)
    verdict = getattr(request, "log_in_code", None)
    left = lockout.left if lockout else timedelta(seconds=1)
    context = {
        **admin.site.each_context(request),
        "title": "Locked out for a while",
        "sentence": _SENTENCES[lockout.scope if lockout else "pair"],
        "left": spell(left),
        "refused_code": second_factor.refusal(verdict) if verdict and not verdict.device else "",
        "second_factor": settings.OPSCONSOLE_SECOND_FACTOR != "off",
        "username": (credentials or {}).get("username") or "",
        "next": request.POST.get("next", ""),
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


@admin.register(AccessAttempt)
class FailedLogInAdmin(ReadOnlyAdmin):
    shown_names = ("failed login", "failed logins")
    list_display = ("username", "from_address", "state", "failed", "when", "kind")
    search_fields = ("username__startswith", "ip_address__startswith")
    search_help_text = "The beginning of a user name or an address"
    fields = (
        "username",
        "from_address",
        "state",
        "failed",
        "at",
        "kind",
        "path_info",
    )
    sortable_by = ()
    actions = ("unlock",)

    def title_of(self, row: AccessAttempt) -> str:
        return f"Failed logins of {row.username or 'nobody'} from {row.ip_address or 'an unknown address'}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = failures.with_totals(super().get_queryset(request).annotate(db_now=Now()))
        return rows

    @admin.display(description="state")
    def state(self, attempt: AccessAttempt) -> SafeString:
        match failures.state(attempt, attempt.db_now):
            case "over":
                return badge("Over")
            case "failed":
                return badge("Failed", "warning")
            case scope:
                return badge(_WHOLE.get(scope, "Locked out"), "bad")

    # The package that counts names its fields in title case.
    @admin.display(description="address")
    def from_address(self, attempt: AccessAttempt) -> str:
        return attempt.ip_address or NOTHING

    @admin.display(description="failed logins")
    def failed(self, attempt: AccessAttempt) -> int:
        return int(attempt.failures_since_start)

    @admin.display(description="last failed at")
    def at(self, attempt: AccessAttempt) -> str:
        return clock_time(attempt.attempt_time)

    @admin.display(description="what failed", ordering="user_agent")
    def kind(self, attempt: AccessAttempt) -> str:
        return str(attempt.user_agent)

    @admin.display(description="last")
    def when(self, attempt: AccessAttempt) -> SafeString:
        return age(attempt.attempt_time, attempt.db_now, suffix=" ago")

    def has_unlock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("axes.delete_accessattempt") and self.has_view_permission(request)

    @admin.action(description="Unlock", permissions=["unlock"])
    @transaction.atomic
    def unlock(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for a reason, then delete the failures of these users at these addresses."""
        chosen = list(locked(queryset, of=("self",)))
        reason = self.ask_why(
            request,
            Question(
                action="unlock",
                title="Unlock logins",
                button="Unlock",
                # Further failures are no reason to ask again: an attack would keep everybody locked out.
                seen=lambda attempt: {"user": attempt.username, "address": attempt.ip_address},
                consequence="This deletes their failed logins, so that they can try again at once. Where an address or a "
                "user is locked out as a whole, it deletes all that counted for it.",
            ),
            [(each, f"{_name(each)}, {exactly(each.failures_since_start, 'failure')}") for each in chosen],
        )
        if not isinstance(reason, str):
            return reason
        # Logged first: the rows that it names are deleted next.
        audit.log(request.user, chosen, f"Unlocked {_names(chosen)}.", why=reason)
        for each in chosen:
            failures.free(each)
        messages.success(request, f"Unlocked: {_names(chosen)}.")
        return redirect(LIST)


def _names(chosen: list[AccessAttempt]) -> str:
    return ", ".join(map(_name, chosen))


def _name(attempt: AccessAttempt) -> str:
    return f"{attempt.username} at {attempt.ip_address}"
