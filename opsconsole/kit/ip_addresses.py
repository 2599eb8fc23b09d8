"""IPv4 addresses inside IPv6 addresses: a client counts by the IPv4 address that a translator embedded (RFC 6052).

Mapped addresses (``::ffff:0:0/96``) and those of NAT64 (``64:ff9b::/96``, and ``64:ff9b:1::/48`` for local use) are read as
the IPv4 address within. Addresses of 6to4 and Teredo are not: no translator of the operator made them, so whoever sends them
chooses the IPv4 address (docs/decisions/0008-rate-limiting.md).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
# Of a network that embeds all of IPv4, or more, nothing can be read.
EMBEDS_ALL = 96
# A shorter prefix means a large part of IPv6, and not its translated addresses.
FEWEST_BITS = 16
# Where RFC 6052 puts the four bytes for each length of the prefix within NAT64_LOCAL, and where the rest begins, which is zero.
LAYOUTS = (((6, 7, 9, 10), 11), ((7, 9, 10, 11), 12), ((9, 10, 11, 12), 13))


@lru_cache(maxsize=10_000)
def plain(address: Address) -> Address:
    """Return the IPv4 address that is embedded in an IPv6 address, or the address itself."""
    if not isinstance(address, IPv6Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address in NAT64:
        # This prefix must not stand for private addresses, so one that does is nobody's translation.
        embedded = IPv4Address(address.packed[-4:])
        return embedded if embedded.is_global else address
    return _local(address) if address in NAT64_LOCAL else address


def _local(address: IPv6Address) -> Address:
    """Read an address of the prefix for local use, whose translator may use any length of RFC 6052."""
    packed = address.packed
    if packed[8]:  # Bits 64 to 71 are always zero.
        return address
    for places, rest in LAYOUTS:
        embedded = bytes(packed[place] for place in places)
        if embedded[0] and not any(packed[rest:]):
            return IPv4Address(embedded)
    return IPv4Address(packed[-4:]) if packed[-4] else address


def plain_network(text: str) -> Network:
    """Read a network as ``plain`` reads the addresses in it. Raise ``ValueError`` if it is none."""
    network = ip_network(text)
    if isinstance(network, IPv4Network) or network.prefixlen <= EMBEDS_ALL:
        return network
    first = plain(network.network_address)
    embeds = any(network.subnet_of(prefix) for prefix in (MAPPED, NAT64))
    if isinstance(first, IPv4Address) and embeds:
        return IPv4Network((first, network.prefixlen - EMBEDS_ALL))
    return IPv4Network(first) if isinstance(first, IPv4Address) and network.num_addresses == 1 else network


def embeds_everybody(text: str) -> bool:
    """Tell whether a network holds translated addresses, which count by their IPv4 addresses instead, and is not one of IPv4."""
    network = ip_network(text)
    if isinstance(network, IPv4Network):
        return False
    if network.subnet_of(NAT64_LOCAL):
        # How long the translator's prefix is, a single address tells and a network does not.
        return network.num_addresses > 1
    translated = (MAPPED, NAT64, NAT64_LOCAL)
    return any(
        (network.subnet_of(prefix) and network.prefixlen <= EMBEDS_ALL)
        or (prefix.subnet_of(network) and network.prefixlen >= FEWEST_BITS)
        for prefix in translated
    )
