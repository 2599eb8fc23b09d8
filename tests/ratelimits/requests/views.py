"""A small site with rate-limited views, for tests that use it as ``ROOT_URLCONF``."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from ratelimits.requests.decorators import rate_limited


@rate_limited("strict")
def strict(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


@rate_limited("strict")
async def strict_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


@rate_limited("strict", "standard")
def stacked(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


@rate_limited("standard")
def standard(request: HttpRequest, **_: Any) -> HttpResponse:
    return HttpResponse("ok")


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [
    path("strict", strict),
    path("strict-async", strict_async),
    path("stacked", stacked),
    path("standard/<name>", standard),
    path("plain", plain),
]
