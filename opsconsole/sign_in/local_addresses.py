"""Where a person goes after the log-in: to the page that they asked for, if it is one of ours."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def wanted(request: HttpRequest) -> str:
    """Return the address in ``next`` if it is on this host, or else that of the overview."""
    address = request.POST.get("next") or request.GET.get("next") or ""
    here = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return address if here else reverse("admin:index")
