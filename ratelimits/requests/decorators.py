"""``@rate_limited("standard")``: limits a view by policies. It is django-ratelimit's decorator with this engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django_ratelimit.decorators import ratelimit

from ratelimits.requests import limiting, responses

View = TypeVar("View", bound=Callable[..., Any])


def rate_limited(*names: str) -> Callable[[View], View]:
    """Limit a view, synchronous or asynchronous, by the policies with these names.

    Either all policies count a request or none does. A refused request raises ``Limited``, which the middleware
    answers with 429. A policy that also covers the path counts the request only once.
    """

    def rate(_group: str, request: HttpRequest) -> None:
        """Check the request. django-ratelimit calls this for a rate; None tells it not to count itself."""
        if refusal := limiting.check_by_name(request, *names):
            raise responses.Limited(refusal)

    def decorate(view: View) -> View:
        limited_view = ratelimit(group=names[0], key="ip", rate=rate)
        if not iscoroutinefunction(view):
            return cast("View", limited_view(view))
        check = sync_to_async(limited_view(lambda _request: None))

        @wraps(view)
        async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await check(request)
            return await view(request, *args, **kwargs)

        return cast("View", wrapped)

    return decorate
