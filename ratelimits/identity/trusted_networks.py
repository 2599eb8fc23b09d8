"""Judgement of OPSCONSOLE_TRUSTED_PROXIES: networks so wide that strangers are in them make every address forgeable."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from ratelimits.identity import client_ip

# The widest network of one's own: 10.0.0.0/8. For IPv6, the largest block that a registry gives is a /19 or so.
WIDEST_IPV4, WIDEST_IPV6 = 8, 16
# Networks that are listed one by one, none of them wide, may still be most of the internet.
MOST_IPV4 = 2**28
LOCAL_IPV6 = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
# Addresses in here stand for IPv4 addresses of anybody (RFC 6052).
NAT64 = IPv6Network("64:ff9b::/96")


def too_wide(names: Iterable[str]) -> list[str]:
    """Return the networks that no deployment's own proxies fill, such as 0.0.0.0/0, also if it is given in parts."""
    networks = [client_ip.network(name) for name in names if name != client_ip.UNIX]
    ipv4 = list(collapse_addresses(each for each in networks if isinstance(each, IPv4Network)))
    ipv6 = list(collapse_addresses(each for each in networks if isinstance(each, IPv6Network)))
    wide = [str(each) for each in ipv4 if each.prefixlen < WIDEST_IPV4]
    wide += [str(each) for each in ipv6 if _is_wide(each)]
    if not wide and sum(each.num_addresses for each in ipv4) > MOST_IPV4:
        return [str(each) for each in ipv4]
    return wide


def _is_wide(network: IPv6Network) -> bool:
    if any(network.subnet_of(local) for local in LOCAL_IPV6):
        return False
    stands_for_ipv4 = network.subnet_of(NAT64) and network.prefixlen - NAT64.prefixlen < WIDEST_IPV4
    return network.prefixlen < WIDEST_IPV6 or stands_for_ipv4 or client_ip.MAPPED.subnet_of(network)
