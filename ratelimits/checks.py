"""System checks of the limiter, with those that the server runs before it serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

MIDDLEWARE = "ratelimits.requests.middleware.RateLimitMiddleware"
USERS = "django.contrib.auth.middleware.AuthenticationMiddleware"


@register("opsconsole")
def limiter(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return list(_faults())


def _faults() -> Iterator[CheckMessage]:
    if settings.OPSCONSOLE_RATE_LIMIT_STORE is None and settings.OPSCONSOLE_WEB_PROCESSES > 1:
        yield Error(
            f"Requests are counted in each process alone, but {settings.OPSCONSOLE_WEB_PROCESSES} processes "
            "serve: a client would get the limit from each of them.",
            hint="Set OPSCONSOLE_RATE_LIMIT_STORE (or CACHE_URL) to a Redis or Valkey that they share.",
            id="ratelimits.E001",
        )
    order = [name for name in settings.MIDDLEWARE if name in {MIDDLEWARE, USERS}]
    if order != [USERS, MIDDLEWARE]:
        yield Error(
            f"{MIDDLEWARE} is missing from MIDDLEWARE, or stands before {USERS}: refusals would not "
            "be answered with 429, or users not be told apart.",
            hint="Put it right after the other.",
            id="ratelimits.E002",
        )
