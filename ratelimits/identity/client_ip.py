"""The address that a request comes from. X-Forwarded-For is believed only as far as trusted proxies wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings

from ratelimits.identity import untrusted_forwarding
from ratelimits.policies.policy_snapshot import Address, Network

UNIX = "unix"
# No real chain of proxies is longer. Entries beyond it are ignored.
MAX_HOPS = 20
IPV6_PREFIX = 64


def client_address(meta: Mapping[str, Any]) -> Address | None:
    """Return the client's address from ``request.META``, or None if even the peer's is unknown (a Unix socket).

    X-Forwarded-For is read from right to left. Each entry was written by the proxy to its right, so reading continues
    as long as that proxy is trusted. The first untrusted address is the client. An entry that is not an address ends
    the search.
    """
    peer = parse(meta.get("REMOTE_ADDR") or "")
    forwarded_for = meta.get("HTTP_X_FORWARDED_FOR")
    if not forwarded_for:
        return peer
    names = settings.OPSCONSOLE_TRUSTED_PROXIES
    trusted = _trusted(names)
    if not _is_trusted(peer, trusted, unix=UNIX in names):
        untrusted_forwarding.note_untrusted(peer)
        return peer
    client = peer
    for entry in reversed(forwarded_for.split(",")[-MAX_HOPS:]):
        address = parse(entry)
        if address is None:
            break
        client = address
        if not _is_trusted(address, trusted, unix=False):
            break
    return client


def came_from_trusted(meta: Mapping[str, Any]) -> bool:
    """Tell whether the peer is a trusted proxy, whose other headers can be believed too."""
    names = settings.OPSCONSOLE_TRUSTED_PROXIES
    return _is_trusted(parse(meta.get("REMOTE_ADDR") or ""), _trusted(names), unix=UNIX in names)


@lru_cache(maxsize=10_000)
def parse(text: str) -> Address | None:
    """Parse an address as proxies write it: with a port, in brackets, or as IPv4 mapped to IPv6."""
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
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _is_trusted(address: Address | None, trusted: tuple[Network, ...], *, unix: bool) -> bool:
    return unix if address is None else any(address in network for network in trusted)


@lru_cache(maxsize=8)
def _trusted(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(name) for name in names if name != UNIX)
