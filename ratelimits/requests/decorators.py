"""``@rate_limited("standard")``: a view under a policy. django-ratelimit's decorator with our engine as its rate."""

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
    """Limit a view, synchronous or not, by the policies of these names: counted by all of them or by none.

    A refused request raises ``Limited``, which the middleware answers with 429. A policy that also covers the path
    is counted once.
    """

    def ask(_group: str, request: HttpRequest) -> None:
        """A rate of django-ratelimit: None, since counting is done here; it raises when the request is refused."""
        if limiting.by_name(request, *names):
            raise responses.Limited(limiting.seen(request).decisions)

    def decorate(view: View) -> View:
        limited = ratelimit(group=names[0], key="ip", rate=ask)
        if not iscoroutinefunction(view):
            return cast("View", limited(view))
        count = sync_to_async(limited(lambda _request: None))

        @wraps(view)
        async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            await count(request)
            return await view(request, *args, **kwargs)

        return cast("View", wrapped)

    return decorate
