"""System checks of the limiter, which the server runs before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning

from ratelimits.engine import store

MIDDLEWARE = "ratelimits.requests.middleware.RateLimitMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


@register("opsconsole")
def check_limiter(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return list(_errors())


def _errors() -> Iterator[CheckMessage]:
    if settings.OPSCONSOLE_RATE_LIMIT_STORE is None and settings.OPSCONSOLE_WEB_PROCESSES > 1:
        yield Error(
            f"The server runs {settings.OPSCONSOLE_WEB_PROCESSES} processes, but each of them counts requests on its "
            "own. A client would get the full limit from each process.",
            hint="Set OPSCONSOLE_RATE_LIMIT_STORE (or CACHE_URL) to a Redis or Valkey server that they share.",
            id="ratelimits.E001",
        )
    order = [name for name in settings.MIDDLEWARE if name in {MIDDLEWARE, AUTHENTICATION}]
    if order != [AUTHENTICATION, MIDDLEWARE]:
        yield Error(
            f"{MIDDLEWARE} is missing from MIDDLEWARE, or comes before {AUTHENTICATION}. Refused requests would not be "
            "answered with 429, or signed-in users would count under their addresses.",
            hint=f"Add it directly after {AUTHENTICATION}.",
            id="ratelimits.E002",
        )


@register("opsconsole", deploy=True)
def check_store(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Warn about a store that evicts keys. Only ``check --deploy`` asks the store; processes ask it while they run."""
    policy = store.eviction()
    if not policy:
        return []
    return [
        CheckWarning(
            f"The maxmemory-policy of the rate limit store is {policy}: when its memory is full, it deletes counts, and "
            "clients get more than their limit.",
            hint="Set it to noeviction, or give the limiter a store of its own (OPSCONSOLE_RATE_LIMIT_STORE).",
            id="ratelimits.W001",
        )
    ]
