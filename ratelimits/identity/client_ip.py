"""Where a request comes from. X-Forwarded-For is a claim, believed only as far as trusted proxies made it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings

from ratelimits.identity import untrusted_forwarding
from ratelimits.policies.policy_snapshot import Address, Network

UNIX = "unix"
# A list of claims longer than any chain of proxies is not walked to its end.
MOST_HOPS = 20
IPV6_PREFIX = 64


def of(meta: Mapping[str, Any]) -> Address | None:
    """The client's address, from ``request.META``; None when not even the peer's is known (a Unix socket).

    From the right: each entry was written by the proxy to its right, so the walk goes on while that one
    is trusted. The first address that is not is the client; an entry that is no address ends the walk.
    """
    peer = parse(meta.get("REMOTE_ADDR") or "")
    claims = meta.get("HTTP_X_FORWARDED_FOR")
    if not claims:
        return peer
    names = settings.OPSCONSOLE_TRUSTED_PROXIES
    trusted = _trusted(names)
    if not _is_trusted(peer, trusted, unix=UNIX in names):
        untrusted_forwarding.note_untrusted(peer)
        return peer
    client = peer
    for claim in reversed(claims.split(",")[-MOST_HOPS:]):
        address = parse(claim)
        if address is None:
            break
        client = address
        if not _is_trusted(address, trusted, unix=False):
            break
    return client


def came_from_trusted(meta: Mapping[str, Any]) -> bool:
    """Whether the peer itself is a trusted proxy, so that other headers of its are no mere claims."""
    names = settings.OPSCONSOLE_TRUSTED_PROXIES
    return _is_trusted(parse(meta.get("REMOTE_ADDR") or ""), _trusted(names), unix=UNIX in names)


@lru_cache(maxsize=10_000)
def parse(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, IPv4 within IPv6. None: it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=10_000)
def group(address: Address) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is one household's."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _is_trusted(address: Address | None, trusted: tuple[Network, ...], *, unix: bool) -> bool:
    return unix if address is None else any(address in network for network in trusted)


@lru_cache(maxsize=8)
def _trusted(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(name) for name in names if name != UNIX)
