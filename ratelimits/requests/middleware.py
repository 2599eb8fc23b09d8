"""Limits paths, turns a decorator's refusal into its answer, and tells every limited client where it stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_ratelimit.middleware import RatelimitMiddleware

from ratelimits.requests import limiting, responses


class RateLimitMiddleware(RatelimitMiddleware):  # type: ignore[misc]
    """django-ratelimit's own, which asks ``RATELIMIT_VIEW`` when a view was refused; with paths, headers and ASGI."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer(request)
        if limiting.by_path(request):
            return limiting.finish(request, responses.refusal(limiting.seen(request).decisions))
        return limiting.finish(request, self.get_response(request))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        # The store and the database are asked in a thread: the event loop goes on.
        if await sync_to_async(limiting.by_path)(request):
            return limiting.finish(request, responses.refusal(limiting.seen(request).decisions))
        return limiting.finish(request, await self.get_response(request))
