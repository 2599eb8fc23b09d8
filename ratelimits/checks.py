"""System checks of the limiter, which the server runs before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning

from opsconsole.kit import schema_version
from ratelimits.engine import store
from ratelimits.identity import client_ip, trusted_networks
from ratelimits.identity.untrusted_forwarding import SET_HEADER
from ratelimits.models import LimiterTrouble

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


@register("opsconsole", "store", deploy=True)
def check_store(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Warn about a store that evicts keys. ``check --deploy`` asks the store, and so does each server at its start."""
    return judge_eviction(store.eviction())


def judge_eviction(policy: str) -> list[CheckMessage]:
    """Return the warning about a store with this policy; '' if it evicts no keys. Pure."""
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


@register("opsconsole", deploy=True)
def check_trusted_networks(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Refuse trust in everybody: any client could then choose the address that it counts under."""
    wide = trusted_networks.too_wide(settings.OPSCONSOLE_TRUSTED_PROXIES)
    if not wide:
        return []
    return [
        Error(
            f"OPSCONSOLE_TRUSTED_PROXIES trusts strangers ({', '.join(wide)}): every client can forge its address and claim "
            "that it came over HTTPS.",
            hint="Name only the addresses from which your own proxies connect.",
            id="ratelimits.E003",
        )
    ]


@register("proxies", deploy=True)
def check_seen_proxies(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Tell what the serving processes saw of proxies within the last day."""
    if not databases or "default" not in databases or schema_version.is_behind():
        return []
    seen = dict.fromkeys(LimiterTrouble.objects.of_proxies().order_by("kind").values_list("kind", "detail"))
    return [_judged(kind, detail) for kind, detail in seen]


def _judged(kind: str, detail: str) -> CheckMessage:
    if kind == LimiterTrouble.Kind.UNREAD_HEADER:
        return Error(
            f"{detail}, which is not read, although OPSCONSOLE_TRUSTED_PROXIES names this proxy: all its clients count as one.",
            hint=SET_HEADER,
            id="ratelimits.E005",
        )
    address = client_ip.parse(detail)
    sentence = f"{detail} sent headers of a proxy within the last day, and OPSCONSOLE_TRUSTED_PROXIES does not name it."
    if address is not None and address.is_global:
        # Whoever reaches the console from the internet can do this, and must not be able to fail a deployment.
        return CheckWarning(
            f"{sentence} If it is no proxy of yours, clients reach the console without your proxies.",
            hint="Name it if it is yours; otherwise let only your proxies connect.",
            id="ratelimits.W002",
        )
    return Error(
        f"{sentence} All clients behind it count as one: one of them can use up the limits of all.",
        hint="Name the address from which your proxy connects. If it is not yours, let only your proxies connect.",
        id="ratelimits.E004",
    )
