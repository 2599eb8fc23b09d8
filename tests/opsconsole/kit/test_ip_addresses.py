"""IPv4 addresses inside IPv6 addresses, and the networks that hold them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from opsconsole.kit import ip_addresses


@pytest.mark.parametrize(
    ("written", "counts_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("64:ff9b::8.8.8.8", "8.8.8.8"),
        ("64:ff9b:0:0:0:0:808:808", "8.8.8.8"),
        # The well-known prefix must not stand for private addresses.
        ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
        ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1"),
        # RFC 6052, section 2.4, with each length within the prefix for local use.
        ("64:ff9b:1:c000:2:2100::", "192.0.2.33"),
        ("64:ff9b:1:abc0:0:221::", "192.0.2.33"),
        ("64:ff9b:1:abcd:c0:2:2100:0", "192.0.2.33"),
        ("64:ff9b:1::192.0.2.33", "192.0.2.33"),
        ("64:ff9b:1:abcd:12:3456:192.0.2.33", "192.0.2.33"),
        # Bits 64 to 71 are zero in every translated address.
        ("64:ff9b:1:abcd:1234:5678:192.0.2.33", "64:ff9b:1:abcd:1234:5678:c000:221"),
        ("64:ff9b:2::192.0.2.33", "64:ff9b:2::c000:221"),
        # 6to4 and Teredo: whoever sends them chooses the IPv4 address.
        ("2002:cb00:7107::1", "2002:cb00:7107::1"),
        ("2001:0:cb00:7107::1", "2001:0:cb00:7107::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_client_counts_by_the_embedded_address(written: str, counts_as: str) -> None:
    assert str(ip_addresses.plain(ip_address(written))) == counts_as


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("64:ff9b::808:800/120", "8.8.8.0/24"),
        ("64:ff9b::8.8.8.8", "8.8.8.8/32"),
        ("64:ff9b:1::192.0.2.33", "192.0.2.33/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        # Not all of IPv4, although it embeds it.
        ("64:ff9b::/96", "64:ff9b::/96"),
    ],
)
def test_network_is_read_as_its_addresses_are(written: str, read: str) -> None:
    assert str(ip_addresses.plain_network(written)) == read


@pytest.mark.parametrize(
    ("network", "everybody"),
    [
        ("64:ff9b::/96", True),
        ("::ffff:0:0/96", True),
        ("64:ff9b:1::/48", True),
        ("64:ff9b::/97", False),
        ("64:ff9b::/64", True),
        # Nobody knows which bytes of these are the IPv4 address: they would match no client.
        ("64:ff9b:1::808:800/120", True),
        ("64:ff9b:1::808:808", False),
        ("8.8.8.0/24", False),
        ("::/0", False),
    ],
)
def test_whole_prefixes_of_translators_are_known(network: str, everybody: bool) -> None:
    assert ip_addresses.embeds_everybody(network) == everybody
