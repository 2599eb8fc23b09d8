"""The pages of the second factor: enter a code after the password, set it up, remove it."""

from __future__ import annotations

import io
import math
from base64 import b32encode
from http import HTTPStatus
from typing import Any, cast

import segno
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.decorators import user_passes_test
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from opsconsole.kit import audit
from opsconsole.sign_in import local_addresses, second_factor

staff = user_passes_test(lambda user: user.is_active and user.is_staff, login_url="admin:login")


@never_cache
@staff
def prove(request: HttpRequest) -> HttpResponse:
    """Ask for the second factor after the password."""
    if not second_factor.missing(request):
        return redirect(local_addresses.wanted(request))
    if not second_factor.has_device(request.user):
        return redirect("second_factor")
    lockout = None
    if request.method == "POST":
        verdict = second_factor.verify(request, request.POST.get("token", ""))
        if verdict.device:
            return redirect(local_addresses.wanted(request))
        messages.error(request, second_factor.refusal(verdict))
        lockout = verdict.lockout
    response = _page(
        request, "admin/second_factor/prove.html", "Second factor", next=local_addresses.wanted(request)
    )
    if lockout:
        response.status_code = HTTPStatus.TOO_MANY_REQUESTS
        response["Retry-After"] = str(math.ceil(lockout.left.total_seconds()))
    return response


@never_cache
@staff
def manage(request: HttpRequest) -> HttpResponse:
    """Show the state of the second factor, and offer to set it up."""
    if settings.OPSCONSOLE_SECOND_FACTOR == "off":
        raise Http404
    if second_factor.has_device(request.user):
        if second_factor.missing(request):
            return redirect("second_factor_prove")
        return _page(request, "admin/second_factor/present.html", "Second factor")
    if request.method == "POST":
        if codes := second_factor.confirm(request, request.POST.get("token", "")):
            _log(request, "Set up a second factor.")
            return _page(request, "admin/second_factor/codes.html", "Backup codes", codes=codes)
        messages.error(request, second_factor.WRONG)
    device = second_factor.pending(request)
    secret = b32encode(device.bin_key).decode()
    groups = [secret[start : start + 4] for start in range(0, len(secret), 4)]
    shown = {"groups": groups, "app_address": device.config_url}
    return _page(request, "admin/second_factor/set_up.html", "Set up a second factor", **shown)


@never_cache
@require_safe
@staff
def picture(request: HttpRequest) -> HttpResponse:
    """Show the QR code of the device that this session sets up, and of no other."""
    if settings.OPSCONSOLE_SECOND_FACTOR == "off" or second_factor.has_device(request.user):
        raise Http404
    drawn = io.BytesIO()
    address = second_factor.pending(request).config_url
    segno.make(address, error="m").save(drawn, kind="svg", scale=5, border=2, light="#fff", dark="#000")
    return HttpResponse(drawn.getvalue(), content_type="image/svg+xml")


@never_cache
@require_POST
@staff
def remove(request: HttpRequest) -> HttpResponse:
    if second_factor.missing(request):
        return redirect("second_factor")
    verdict = second_factor.verify(request, request.POST.get("token", ""))
    if not verdict.device:
        messages.error(request, second_factor.refusal(verdict))
        return redirect("second_factor")
    second_factor.remove(request.user)
    _log(request, "Removed the second factor.")
    messages.success(request, "Your second factor was removed.")
    return redirect("second_factor" if settings.OPSCONSOLE_SECOND_FACTOR == "required" else "admin:index")


def _log(request: HttpRequest, did: str) -> None:
    user = cast(User, request.user)
    audit.log(user, [user], did, why="their own decision")


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    return TemplateResponse(
        request, template, {**admin.site.each_context(request), "title": title, **context}
    )


urlpatterns = [
    path("", manage, name="second_factor"),
    path("prove/", prove, name="second_factor_prove"),
    path("picture.svg", picture, name="second_factor_picture"),
    path("remove/", remove, name="second_factor_remove"),
]
