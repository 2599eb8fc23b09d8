"""The identity that a request counts under: a valid API key, a signed-in user, or an address."""

from __future__ import annotations

from typing import NamedTuple

from django.http import HttpRequest

from ratelimits.identity import client_ip
from ratelimits.keys import api_keys

# In the order in which they are tried. The address is always the last resort.
_KINDS = {
    "default": ("api_key", "user"),
    "api_key": ("api_key",),
    "user": ("user",),
    "address": (),
}
UNKNOWN_ADDRESS = "unknown"


class Identity(NamedTuple):
    """``value`` identifies the client in the store and the records ("user:7"); ``label`` is for people ("olga")."""

    kind: str
    value: str
    label: str


def identify(request: HttpRequest, key: str = "default") -> Identity:
    """Return the identity of a request. ``key`` is a ``Policy.Key``.

    A request with an invalid API key, or without a signed-in user, counts under its address. If every unverified
    X-API-Key had its own quota, made-up keys would earn a full quota each.
    """
    for kind in _KINDS[key]:
        identity = _IDENTIFIERS[kind](request)
        if identity is not None:
            return identity
    return _by_address(request)


def _by_api_key(request: HttpRequest) -> Identity | None:
    if not api_keys.is_sent(request):
        return None
    api_key = api_keys.counted_as(request)
    return Identity("api_key", api_key.client, str(api_key)) if api_key else None


def _by_user(request: HttpRequest) -> Identity | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return Identity("user", f"user:{user.pk}", user.get_username())


def _by_address(request: HttpRequest) -> Identity:
    address = client_ip.client_address(request.META)
    label = client_ip.group(address) if address else UNKNOWN_ADDRESS
    return Identity("address", f"address:{label}", label)


_IDENTIFIERS = {"api_key": _by_api_key, "user": _by_user}
