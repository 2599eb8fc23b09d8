"""The identity that a request counts under: a valid API key, a signed-in user, or an address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from django.http import HttpRequest

from opsconsole.kit.ip_addresses import Address
from ratelimits.identity import client_ip
from ratelimits.keys import api_keys

UNKNOWN_ADDRESS = "unknown"


class Identity(NamedTuple):
    """``value`` identifies the client in the store and the records ("user:7"); ``label`` is for people ("olga")."""

    kind: str
    value: str
    label: str


def identify(request: HttpRequest, key: str, address: Address | None) -> Identity:
    """Return the identity of a request. ``key`` is a ``Policy.Key``; ``address``: see ``client_ip.client_address``.

    A request with an invalid API key, or without a signed-in user, counts under its address. If every unverified
    X-API-Key had its own quota, made-up keys would earn a full quota each.
    """
    for identified in _TRIED[key]:
        if (identity := identified(request)) is not None:
            return identity
    label = client_ip.group(address) if address else UNKNOWN_ADDRESS
    return Identity("address", f"address:{label}", label)


def _by_api_key(request: HttpRequest) -> Identity | None:
    # Most requests carry none, and nothing need be looked up or remembered for them.
    if not api_keys.is_sent(request):
        return None
    api_key = api_keys.counted_as(request)
    return Identity("api_key", api_key.client, str(api_key)) if api_key else None


def _by_user(request: HttpRequest) -> Identity | None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return Identity("user", f"user:{user.pk}", user.get_username())


# In the order in which they are tried. The address is always the last resort.
_TRIED: Mapping[str, Sequence[Callable[[HttpRequest], Identity | None]]] = {
    "default": (_by_api_key, _by_user),
    "api_key": (_by_api_key,),
    "user": (_by_user,),
    "address": (),
}
