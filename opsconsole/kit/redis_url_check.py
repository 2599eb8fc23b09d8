"""The judgement of the Redis client about the parameters of a URL, which it alone knows."""

from __future__ import annotations

import codecs
import re
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# A client's certificate proves as much as a password.
SECRETS = {"password", "ssl_certfile"}
# The client takes any value for these, and fails at the first connection: they are objects of a program, which no URL can hold.
OBJECTS = {"command_packer", "credential_provider", "event_dispatcher", "redis_connect_func", "retry"}
POSITIVE = {"socket_connect_timeout", "socket_read_size", "socket_timeout"}


def refusal(address: str) -> str:
    """Return what the client of Redis refuses in this URL, or ''. Nothing of the URL is repeated but a parameter's name."""
    before, _, query = address.partition("?")
    if not query or _client_accepts(address):
        return ""
    names = [
        name
        for name, value in parse_qsl(query)
        if not _client_accepts(f"{before}?{urlencode({name: value})}")
    ]
    if not names:
        return "with parameters that the client accepts"
    tls = (
        "; for TLS, begin it with rediss://"
        if names[0].startswith("ssl") and before.startswith("redis:")
        else ""
    )
    return f"without the parameter '{names[0][:40]}', whose value or name the client refuses{tls}"


def has_no_secret(address: str) -> bool:
    """Tell whether this URL reaches a store over the network without a password or a certificate."""
    parts = urlsplit(address)
    if parts.scheme == "unix" or parts.hostname in LOOPBACK:
        return False
    return not parts.password and not SECRETS & parse_qs(parts.query).keys()


def _client_accepts(address: str) -> bool:
    # Imported only for a URL with parameters, because it takes a while.
    from redis.connection import ConnectionPool  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    given = dict(parse_qsl(address.partition("?")[2]))
    try:
        # This opens no connection.
        ConnectionPool.from_url(address).make_connection()
        codecs.lookup(given.get("encoding", "utf-8"))
        codecs.lookup_error(given.get("encoding_errors", "strict"))
        positive = all(float(given[name]) > 0 for name in POSITIVE & given.keys())
    except (TypeError, ValueError, AttributeError, LookupError, RedisError):
        return False
    named = re.fullmatch(r"[!-~]*", given.get("client_name", ""))
    return positive and bool(named) and not OBJECTS & given.keys() and int(given.get("db", 0)) >= 0
