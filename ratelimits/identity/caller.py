"""As whom a request counts: a validated API key, a signed-in user, or an address."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

from ratelimits.identity import client_ip
from ratelimits.keys import api_keys

# In the order in which they are tried; the address is always the last.
_TRIED = {
    "default": ("api_key", "user"),
    "api_key": ("api_key",),
    "user": ("user",),
    "address": (),
}
NOWHERE = "unknown"


@dataclass(frozen=True, slots=True)
class Identity:
    """``value`` names it in the store and the records ("user:7"); ``shown`` is for people ("olga")."""

    kind: str
    value: str
    shown: str


def of(request: HttpRequest, key: str = "default") -> Identity:
    """``key`` is one of ``Policy.Key``. A key that is not valid, or a user not signed in, counts by address.

    A bucket for each unchecked X-API-Key would give whoever makes keys up a full quota for each.
    """
    for kind in _TRIED[key]:
        found = _BY[kind](request)
        if found is not None:
            return found
    return _by_address(request)


def _by_api_key(request: HttpRequest) -> Identity | None:
    api_key = api_keys.authenticate(request)
    return Identity("api_key", f"key:{api_key.pk}", str(api_key)) if api_key else None


def _by_user(request: HttpRequest) -> Identity | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return Identity("user", f"user:{user.pk}", user.get_username())


def _by_address(request: HttpRequest) -> Identity:
    address = client_ip.of(request.META)
    shown = client_ip.group(address) if address else NOWHERE
    return Identity("address", f"address:{shown}", shown)


_BY = {"api_key": _by_api_key, "user": _by_user}
