"""Trust in proxies is decided once, on the socket's peer: over real servers, and as a client that forges headers."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from jobs.models import RecoveryControl
from ratelimits.models import LimiterTrouble
from tests import presets
from tests.serving import gunicorn, uvicorn

pytestmark = pytest.mark.django_db(transaction=True)

SIGN_IN = {"OPSCONSOLE_SIGN_IN_HEADER": "X-Forwarded-User"}
PROXIED = SIGN_IN | {"OPSCONSOLE_TRUSTED_PROXIES": "127.0.0.1"}
# Trusts a network that only a forged header can name: these tests connect from 127.0.0.1.
ELSEWHERE = SIGN_IN | {"OPSCONSOLE_TRUSTED_PROXIES": "10.0.0.0/8"}
FORGED = {"X-Forwarded-For": "10.0.0.3", "X-Forwarded-User": "root"}
CLIENT = "203.0.113.7"
LIMITED = "/api/queue/TEST-001"

Serve: TypeAlias = Callable[..., AbstractContextManager[int]]
SERVERS = pytest.mark.parametrize(
    ("serve", "options"),
    [
        (uvicorn, ()),
        (uvicorn, ("--forwarded-allow-ips", "*")),
        (uvicorn, ("--http", "h11", "--no-proxy-headers")),
        (gunicorn, ("--forwarded-allow-ips", "*")),
    ],
    ids=["uvicorn", "uvicorn-trusts-all", "uvicorn-h11-trusts-none", "gunicorn-trusts-all"],
)


@pytest.fixture(autouse=True)
def _superuser(limiter: None) -> Iterator[None]:
    presets.write()
    User.objects.create_superuser("root")
    # Other tests empty all tables.
    RecoveryControl.objects.get_or_create(pk=1)
    yield
    LimiterTrouble.objects.all().delete()


def get(port: int, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", path, headers=headers | {"Connection": "close"})
        response = client.getresponse()
        response.read()
        return response
    finally:
        client.close()


def signs_in(port: int, headers: dict[str, str]) -> bool:
    status = get(port, reverse("admin:auth_user_changelist"), headers).status
    assert status in {200, 302}
    return status == 200


def counted_clients() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT key FROM rate_limit_requests")
        return {key for (key,) in cursor.fetchall()}


def troubles() -> set[str]:
    return set(LimiterTrouble.objects.values_list("kind", flat=True))


@SERVERS
def test_trusted_proxy_signs_in_and_names_its_client(
    serve: Serve, options: tuple[str, ...], tmp_path: Path
) -> None:
    """Under uvicorn the header was dead, and the client was reported as an untrusted proxy."""
    with serve(tmp_path, *options, **PROXIED) as port:
        assert signs_in(port, {"X-Forwarded-User": "root", "X-Forwarded-For": CLIENT})
        assert not signs_in(port, {"X-Forwarded-For": CLIENT})
        assert get(port, LIMITED, {"X-Forwarded-For": f"192.0.2.1, {CLIENT}"}).status == 200
    # A process writes what it has noted when it ends.
    assert counted_clients() == {f"address:{CLIENT}"}
    assert not troubles()


@SERVERS
def test_client_cannot_forge_a_proxy(serve: Serve, options: tuple[str, ...], tmp_path: Path) -> None:
    """With --forwarded-allow-ips '*' it could sign in as any superuser."""
    with serve(tmp_path, *options, **ELSEWHERE) as port:
        assert not signs_in(port, FORGED)
        assert not signs_in(port, FORGED | {"X-Forwarded-For": "10.0.0.3:1234"})
        assert get(port, LIMITED, FORGED).status == 200
    assert counted_clients() == {"address:127.0.0.1"}
    assert troubles() == {"untrusted proxy"}
    assert set(LimiterTrouble.objects.values_list("detail", flat=True)) == {"127.0.0.1"}


def test_server_that_hides_the_peer_trusts_nobody_and_says_so(tmp_path: Path) -> None:
    app = "tests.opsconsole.asgi_behind_middleware:application"
    with uvicorn(tmp_path, app=app, **PROXIED) as port:
        assert not signs_in(port, {"X-Forwarded-User": "root"})
        assert not signs_in(port, {"X-Forwarded-User": "root", "X-Forwarded-For": CLIENT})
        assert get(port, LIMITED, {"X-Forwarded-For": CLIENT}).status == 200
    assert troubles() == {"hidden peer"}
    assert f"address:{CLIENT}" not in counted_clients()
    assert "The ASGI server hides who connects" in (tmp_path / "uvicorn.log").read_text()
