"""Tests of Forwarded, X-Real-IP and the scheme: what trusted proxies add is read, whatever a client sent before it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from ratelimits.identity import client_ip, forwarded, trusted_networks, untrusted_forwarding
from ratelimits.identity.forwarded import Hop

PROXY, INNER, CLIENT = "10.0.0.1", "10.9.9.9", "203.0.113.7"
V6 = "2001:db8:cafe::17"


@pytest.fixture(autouse=True)
def _behind_proxies(settings: Settings) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("10.0.0.0/8",)
    settings.OPSCONSOLE_FORWARDED_HEADER = "forwarded"


def origin(header: str = "", peer: str = PROXY, **more: str) -> tuple[str, str | None]:
    found = client_ip.origin({"REMOTE_ADDR": peer, "HTTP_FORWARDED": header} | more)
    return str(found.address), found.scheme


@pytest.mark.parametrize(
    ("header", "address", "scheme"),
    [
        (f"for={CLIENT}", CLIENT, None),
        (f"For={CLIENT};Proto=HTTPS;by=203.0.113.43", CLIENT, "https"),
        (f'for="{CLIENT}:47011"', CLIENT, None),
        (f'for="[{V6}]:4711"', V6, None),
        (f'FOR="[{V6}]"', V6, None),
        (f'for="[{V6}]:_port"', V6, None),
        (f"for=[{V6}]:4711;proto=https", V6, "https"),
        (f'for="\\{CLIENT}"', CLIENT, None),
        (f'host="a,for=6.6.6.6";for={CLIENT}', CLIENT, None),
        (f'host="a\\",for=6.6.6.6";for={CLIENT}', CLIENT, None),
        (f"for=6.6.6.6;proto=https, for={CLIENT};proto=http", CLIENT, "http"),
        (f"for={CLIENT};proto=https, for={INNER};proto=http", CLIENT, "https"),
        (f"for={CLIENT};proto=https,, for={INNER},", CLIENT, "https"),
        (f"for=6.6.6.6,for={CLIENT};proto=https,for={INNER};proto=http", CLIENT, "https"),
        (f" for={CLIENT} ; proto=https ", CLIENT, "https"),
        ("for=unknown;proto=https", PROXY, "https"),
        ("for=_hidden", PROXY, None),
        (f"for={CLIENT}, for=_SEVKISEK, for={INNER}", INNER, None),
        (f"for={CLIENT}, for=unknown", PROXY, None),
        ("proto=https", PROXY, "https"),
        (f"for={CLIENT};for=6.6.6.6", PROXY, None),
        (f"for=6.6.6.6 for={CLIENT}", PROXY, None),
        (f'for="6.6.6.6, for={CLIENT}', CLIENT, None),
        (f'for="6.6.6.6\\, for={CLIENT};host="h"', CLIENT, None),
        (f'for="6.6.6.6, for={CLIENT};proto=https, for={INNER}', CLIENT, "https"),
        ("for=", PROXY, None),
        ("for", PROXY, None),
        (";;;", PROXY, None),
        ("\x00", PROXY, None),
    ],
)
def test_forwarded_is_read_from_the_right(header: str, address: str, scheme: str | None) -> None:
    assert origin(header) == (address, scheme)


def test_nothing_is_read_from_a_stranger() -> None:
    assert origin("for=6.6.6.6;proto=https", peer=CLIENT) == (CLIENT, None)


def test_other_headers_are_not_read() -> None:
    assert origin(f"for={CLIENT}", HTTP_X_FORWARDED_FOR="6.6.6.6", HTTP_X_FORWARDED_PROTO="https") == (
        CLIENT,
        None,
    )


PARTS = st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=255), max_size=60)
QUOTED = st.text(alphabet='a,;="\\ for', max_size=20).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)


@given(sent=PARTS, host=QUOTED)
def test_client_cannot_hide_what_its_proxy_adds(sent: str, host: str) -> None:
    added = f"for={CLIENT};host={host};proto=https"
    assert forwarded.hops(f"{sent}, {added}", 20)[0] == Hop(CLIENT, "https")
    assert forwarded.hops(f"{sent}, for={CLIENT};proto=https", 20)[0] == Hop(CLIENT, "https")


@given(
    sent=st.lists(st.sampled_from(['for="', "for=6.6.6.6", '"', "\\", ",", ";", " ", "x=", "="]), max_size=30)
)
def test_no_sequence_of_fragments_hides_it(sent: list[str]) -> None:
    assert forwarded.hops("".join(sent) + f",for={CLIENT}", 20)[0] == Hop(CLIENT, None)


@given(text=PARTS)
def test_anything_is_read_without_an_error(text: str) -> None:
    assert len(forwarded.hops(text * 3, 5)) <= 5


@pytest.mark.parametrize("text", ['"' * 8_000, "," * 8_000, 'a="' + ";" * 8_000, ("a=b," * 2_000) + '"'])
def test_long_header_is_read_in_little_time(text: str) -> None:
    began = time.perf_counter()
    forwarded.hops(text, 20)
    assert time.perf_counter() - began < 5


def test_real_ip_is_the_last_proxys_word(settings: Settings) -> None:
    settings.OPSCONSOLE_FORWARDED_HEADER = "x-real-ip"
    assert origin("for=6.6.6.6", HTTP_X_REAL_IP=CLIENT, HTTP_X_FORWARDED_PROTO="https") == (CLIENT, "https")
    assert origin("", HTTP_X_REAL_IP=f"6.6.6.6,{CLIENT}") == (CLIENT, None)
    assert origin("", HTTP_X_REAL_IP="nonsense") == (PROXY, None)


@pytest.mark.parametrize(
    ("addresses", "schemes", "scheme"),
    [
        (CLIENT, "https", "https"),
        (f"6.6.6.6, {CLIENT}", "https, http", "http"),
        (f"{CLIENT}, {INNER}", "https, http", "https"),
        (f"{CLIENT}, {INNER}", "https", "https"),
        ("", "https", "https"),
        ("", "https, http", "http"),
    ],
)
def test_scheme_is_read_from_the_right(settings: Settings, addresses: str, schemes: str, scheme: str) -> None:
    settings.OPSCONSOLE_FORWARDED_HEADER = "x-forwarded-for"
    sent = {"HTTP_X_FORWARDED_FOR": addresses} if addresses else {}
    assert origin("", HTTP_X_FORWARDED_PROTO=schemes, **sent)[1] == scheme


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "secure"),
    [
        ({"Forwarded": f"for={CLIENT};proto=https"}, True),
        ({"Forwarded": f"for={CLIENT};proto=http", "X-Forwarded-Proto": "https"}, False),
        ({"X-Forwarded-Proto": "https"}, False),
        ({}, False),
    ],
)
def test_scheme_of_forwarded_decides_whether_a_request_is_secure(headers: Any, secure: bool) -> None:
    answer = Client().get("/admin/login/", REMOTE_ADDR=PROXY, headers=headers)
    assert answer.wsgi_request.is_secure() is secure


@pytest.mark.parametrize("header", ["X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "X_FORWARDED_PROTO"])
def test_every_header_of_an_unnamed_proxy_is_noted(header: str) -> None:
    client_ip.origin({"REMOTE_ADDR": CLIENT, f"HTTP_{header}": "for=192.0.2.1"})
    assert untrusted_forwarding.take() == CLIENT


def test_named_proxy_with_another_header_is_noted() -> None:
    assert origin("", HTTP_X_REAL_IP=CLIENT) == (PROXY, None)
    assert untrusted_forwarding.take_unread() == f"{PROXY} sends x-real-ip"
    origin(f"for={CLIENT}", HTTP_X_REAL_IP=CLIENT)
    assert untrusted_forwarding.take_unread() == ""


@pytest.mark.parametrize(
    ("networks", "wide"),
    [
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("0.0.0.0/1,128.0.0.0/1", True),
        ("0.0.0.0/1", True),
        (",".join(f"{number}.0.0.0/8" for number in range(0, 256, 2)), True),
        (",".join(f"{number}.0.0.0/8" for number in range(256)), True),
        ("::ffff:0:0/96", True),
        ("::ffff:0.0.0.0/97", True),
        ("::/64", True),
        ("2000::/3", True),
        ("64:ff9b::/96", True),
        ("10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.0/8,unix", False),
        ("fc00::/7,fe80::/10,::1", False),
        ("::ffff:10.0.0.0/104", False),
        ("173.245.48.0/20,2400:cb00::/32,2a06:98c0::/29", False),
        ("", False),
    ],
)
def test_networks_with_strangers_are_too_wide(networks: str, wide: bool) -> None:
    assert bool(trusted_networks.too_wide([name for name in networks.split(",") if name])) is wide


def test_mapped_network_is_ipv4(settings: Settings) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("::ffff:10.0.0.0/104",)
    assert origin(f"for={CLIENT}") == (CLIENT, None)
    assert origin(f"for={CLIENT}", peer="::ffff:10.0.0.1") == (CLIENT, None)
