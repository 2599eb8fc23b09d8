"""The address and the scheme that a request comes with. Headers are believed only as far as trusted proxies wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from django.conf import settings

from opsconsole.kit.ip_addresses import Address, Network, plain
from ratelimits.identity import forwarded, untrusted_forwarding
from ratelimits.identity.forwarded import Hop

UNIX = "unix"
# No real chain of proxies is longer. Entries beyond it are ignored.
MAX_HOPS = 20
IPV6_PREFIX = 64
# With brackets, a zone and a port. What is longer is no address, and is not kept in the cache of ``parse``.
LONGEST_ADDRESS = 100
MAPPED = IPv6Network("::ffff:0:0/96")
SCHEME = "HTTP_X_FORWARDED_PROTO"
# The header that OPSCONSOLE_FORWARDED_HEADER names, in WSGI.
META_NAMES = {
    "x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    "forwarded": "HTTP_FORWARDED",
    "x-real-ip": "HTTP_X_REAL_IP",
}
# By these, a request says that somebody else sent it.
_FORWARDING = frozenset({*META_NAMES.values(), SCHEME})


class Origin(NamedTuple):
    """Where a request came from. ``address`` None: a Unix socket; ``scheme`` None: no trusted proxy tells it."""

    address: Address | None
    scheme: str | None


def client_address(meta: Mapping[str, Any]) -> Address | None:
    """Return the client's address from ``request.META``, or None if even the peer's is unknown (a Unix socket).

    Of a translated address (NAT64) it is the IPv4 address within. Whether a proxy is trusted is judged before that.
    """
    if meta.keys().isdisjoint(_FORWARDING):
        return _peer(meta.get("REMOTE_ADDR") or "")
    address = origin(meta).address
    return plain(address) if address else None


@lru_cache(maxsize=10_000)
def _peer(text: str) -> Address | None:
    address = parse(text)
    return plain(address) if address else None


def origin(meta: Mapping[str, Any]) -> Origin:
    """Return the client's address and scheme from ``request.META``.

    The header that the settings name is read from right to left. Each entry was written by the proxy to its right, so
    reading continues as long as that proxy is trusted. The first untrusted address is the client. An entry that is not
    an address ends the search.
    """
    peer = parse(meta.get("REMOTE_ADDR") or "")
    sent = [name for name, key in META_NAMES.items() if meta.get(key)]
    if not sent and not meta.get(SCHEME):
        return Origin(peer, None)
    names = settings.OPSCONSOLE_TRUSTED_PROXIES
    trusted = _trusted(names)
    if not _is_trusted(peer, trusted, unix=UNIX in names):
        untrusted_forwarding.note_untrusted(peer)
        return Origin(peer, None)
    if sent and settings.OPSCONSOLE_FORWARDED_HEADER not in sent:
        untrusted_forwarding.note_unread(peer, sent[0])
    return _follow(peer, _hops(meta), trusted)


def _follow(peer: Address | None, hops: Sequence[Hop], trusted: tuple[Network, ...]) -> Origin:
    client, scheme = peer, None
    for hop in hops:
        scheme = hop.scheme
        address = parse((hop.client or "")[:LONGEST_ADDRESS])
        if address is None:
            break
        client = address
        if not _is_trusted(address, trusted, unix=False):
            break
    return Origin(client, scheme.lower() if scheme else None)


def _hops(meta: Mapping[str, Any]) -> list[Hop]:
    """Return what the proxies say, from right to left."""
    header = settings.OPSCONSOLE_FORWARDED_HEADER
    text = meta.get(META_NAMES[header]) or ""
    if header == "forwarded":
        return forwarded.hops(text, MAX_HOPS)
    schemes = _entries(meta.get(SCHEME) or "")
    if header == "x-real-ip":
        # Only the last proxy's word counts: it replaces the header, or adds a line of its own.
        return [Hop(_entries(text)[0], schemes[0])]
    # A proxy that adds its own scheme, instead of replacing the header, adds one entry to each.
    return [
        Hop(client, schemes[min(number, len(schemes) - 1)]) for number, client in enumerate(_entries(text))
    ]


def _entries(text: str) -> list[str]:
    """Return the entries of a list from right to left; one empty entry if there are none."""
    return [entry.strip() for entry in reversed(text.split(",")[-MAX_HOPS:])]


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
    """Return what counts as one client: an IPv4 address, also an embedded one, or the /64 network of an IPv6 address."""
    address = plain(address)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _is_trusted(address: Address | None, trusted: tuple[Network, ...], *, unix: bool) -> bool:
    return unix if address is None else any(address in network for network in trusted)


@lru_cache(maxsize=8)
def _trusted(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(network(name) for name in names if name != UNIX)


def network(name: str) -> Network:
    """Return a network as ``parse`` returns its addresses: IPv4 mapped to IPv6 is IPv4."""
    named = ip_network(name)
    if isinstance(named, IPv6Network) and named.subnet_of(MAPPED):
        return IPv4Network((int(named.network_address) & 0xFFFFFFFF, named.prefixlen - 96))
    return named
