"""The judgement of the Redis client about the parameters of a URL, which it alone knows."""

from __future__ import annotations

from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# A client's certificate proves as much as a password.
SECRETS = {"password", "ssl_certfile"}


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

    try:
        # This opens no connection.
        ConnectionPool.from_url(address).make_connection()
    except (TypeError, ValueError, AttributeError, LookupError, RedisError):
        return False
    return True
