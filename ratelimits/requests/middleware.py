"""The middleware: limits paths, answers refused requests, and adds the RateLimit headers to responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_ratelimit.middleware import RatelimitMiddleware

from ratelimits.requests import limiting, responses


class RateLimitMiddleware(RatelimitMiddleware):  # type: ignore[misc]  # django-ratelimit has no types
    """django-ratelimit's middleware, which calls ``RATELIMIT_VIEW`` for a refused view, with paths, headers and ASGI."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._respond(request)
        if refusal := limiting.check_by_path(request):
            return limiting.finish(request, responses.refusal(refusal))
        response = self.get_response(request)
        if refusal := limiting.check_unanswered(request, response):
            response = responses.refusal(refusal)
        return limiting.finish(request, response)

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        # The check may wait for the store or the database, so it runs in a thread, not in the event loop.
        if refusal := await sync_to_async(limiting.check_by_path)(request):
            return limiting.finish(request, responses.refusal(refusal))
        response = await self.get_response(request)
        if refusal := await sync_to_async(limiting.check_unanswered)(request, response):
            response = responses.refusal(refusal)
        return limiting.finish(request, response)
