"""Answers to requests that Django refuses before a page reads them."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import defaults

TOO_LARGE = 413


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say that a form was too large, which is no mistake of an address or a host name; otherwise answer as Django does."""
    if not isinstance(exception, RequestDataTooBig):
        return defaults.bad_request(request, exception)
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return render(request, "too_large.html", {"most": f"{most:,} bytes"}, status=TOO_LARGE)
