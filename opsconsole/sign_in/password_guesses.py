"""Guesses of the old password on the page that changes it. They count for the browser, as its wrong passwords at the log-in."""

from __future__ import annotations

import math

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from opsconsole.kit.durations import spell
from opsconsole.sign_in import failures, known_browsers
from opsconsole.sign_in.failures import Source

OLD_PASSWORD = "old_password"  # noqa: S105 - the name of a field


def refuse_guess(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a form that is not looked at, because this browser has failed too often."""
    lockout = failures.lockout(_source(request))
    if lockout is None:
        return None
    messages.error(
        request,
        f"Too many wrong passwords were entered in this browser. You can try again in {spell(lockout.left)}.",
    )
    response = redirect("admin:password_change")
    response["Retry-After"] = str(math.ceil(lockout.left.total_seconds()))
    return response


def count_wrong_old_password(request: HttpRequest, response: HttpResponse) -> None:
    if request.method != "POST" or not isinstance(response, TemplateResponse):
        return
    form = (response.context_data or {}).get("form")
    if form is not None and OLD_PASSWORD in form.errors and request.POST.get(OLD_PASSWORD):
        failures.count(_source(request), request.path)


def _source(request: HttpRequest) -> Source:
    username = request.user.get_username()
    browser = known_browsers.known_as(request, username)
    return failures.source_of(failures.PASSWORD, username, failures.address(request), browser)
