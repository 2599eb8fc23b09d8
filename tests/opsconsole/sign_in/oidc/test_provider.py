"""Tests of a provider that is away, slow or strange: single sign-on says so within seconds, and everything else goes on."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.test.utils import override_script_prefix

from opsconsole.sign_in.oidc import provider as known
from opsconsole.sign_in.oidc.checks import check_single_sign_on
from opsconsole.sign_in.oidc.errors import ProviderAway
from opsconsole.verification import single_sign_on
from opsconsole.verification.check import Verdict, Wishes
from tests import people
from tests.fakes.identity_provider import Provider
from tests.opsconsole.sign_in.oidc.test_sign_in import BACK, BEGIN, LOG_IN, at_provider, said, sign_in

pytestmark = pytest.mark.django_db
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture(autouse=True)
def _roles() -> None:
    call_command("sync_roles", stdout=io.StringIO())


@contextmanager
def impatient() -> Iterator[None]:
    """Wait shortly for what does not come."""
    from opsconsole.sign_in.oidc import client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "TURN_SECONDS", 0.05)
        patch.setattr(client, "READ_SECONDS", 0.3)
        patch.setattr(client, "WHOLE_SECONDS", 0.6)
        yield


def test_hanging_provider_is_told_and_passwords_work(client: Client, provider: Provider) -> None:
    people.viewer()
    provider.hangs.add(DISCOVERY)

    with impatient():
        answer = client.get(BEGIN)

    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    assert "did not answer in time" in said(answer) and "can log in on the login page" in said(answer)
    client.get(BEGIN)
    assert provider.asked == [DISCOVERY], "nobody waits again for a while"
    logged_in = client.post(LOG_IN, {"username": "vera", "password": people.PASSWORD, "next": "/admin/"})
    assert logged_in.status_code == 302


@pytest.mark.parametrize("path", ["/token", "/keys"])
def test_provider_that_hangs_or_fails_later_signs_nobody_in(
    client: Client, provider: Provider, path: str
) -> None:
    back = at_provider(client, provider)
    provider.hangs.add(path)
    with impatient():
        assert client.get(back).status_code == 503
    provider.hangs.clear()
    provider.fails[path] = 502
    known.forget()
    assert sign_in(client, provider).status_code == 503
    provider.fails.clear()

    assert sign_in(client, provider).status_code == 302


def test_only_few_threads_wait_for_the_provider(client: Client, provider: Provider) -> None:
    back = at_provider(client, provider)
    with known.place(), known.place(), impatient():
        assert client.get(back).status_code == 503
        assert provider.tokens_sent == 0
        assert client.get(LOG_IN).status_code == 200


def test_document_outlives_an_outage(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client, provider)
    provider.fails[DISCOVERY] = 500
    monkeypatch.setattr(known, "KEPT_SECONDS", 0)

    assert sign_in(client, provider).status_code == 302
    monkeypatch.setattr(known, "KEPT_IF_AWAY_SECONDS", 0)
    assert client.get(BEGIN).status_code == 503


def test_answer_that_drips_or_has_no_end_is_given_up() -> None:
    """A server whose bytes come one by one is never silent for long."""
    from opsconsole.sign_in.oidc import client

    for body in (b"{" + b" " * 90, b"{" + b" " * (client.LARGEST + 1)):
        with socket.create_server(("127.0.0.1", 0)) as server:
            ended = threading.Event()
            thread = threading.Thread(target=_drip, args=(server, body, ended))
            thread.start()
            with impatient(), pytest.raises(ProviderAway):
                client.fetch_json(f"http://127.0.0.1:{server.getsockname()[1]}/")
            ended.set()
            thread.join(30)


def _drip(server: socket.socket, body: bytes, ended: threading.Event) -> None:
    peer, _ = server.accept()
    step = 1 if len(body) < 100 else len(body)
    with peer:
        peer.recv(65_536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
        for start in range(0, len(body), step):
            try:
                peer.sendall(body[start : start + step])
            except OSError:
                return
            if ended.wait(0.1):
                return


STRANGE: list[tuple[dict[str, Any], str]] = [
    ({"issuer": "https://evil.example"}, "of the issuer 'https://evil.example'"),
    ({"issuer": None}, "of the issuer 'None'"),
    ({"token_endpoint": None}, "no usable token_endpoint"),
    ({"authorization_endpoint": "javascript:alert(1)"}, "no usable authorization_endpoint"),
    ({"jwks_uri": "http://keys.example.com/"}, "no usable jwks_uri"),
    ({"end_session_endpoint": "//evil.example"}, "no usable end_session_endpoint"),
    ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "none of the accepted algorithms"),
]


def test_strange_document_is_not_used(client: Client, provider: Provider) -> None:
    for changes, problem in STRANGE:
        known.forget()
        provider.document_changes = changes
        assert client.get(BEGIN).status_code == 503
        judged = single_sign_on.provider_can_be_used(Wishes())
        assert judged.verdict is Verdict.WRONG and problem in judged.sentence


def test_redirect_of_the_provider_is_not_followed(client: Client, provider: Provider) -> None:
    provider.fails[DISCOVERY] = 302

    assert client.get(BEGIN).status_code == 503


def test_production_sends_nothing_without_tls(provider: Provider, settings: Any) -> None:
    assert known.is_safe(provider.issuer)
    settings.OPSCONSOLE_ENV = "production"

    assert not known.is_safe(provider.issuer)
    assert known.is_safe("https://login.example.com/token")
    assert known.problem_with(provider.document(), provider.issuer)


def test_verify_judges_provider_and_roles(provider: Provider, settings: Any) -> None:
    judged = single_sign_on.provider_can_be_used(Wishes())
    assert judged.verdict is Verdict.WRONG and "No such role" in judged.sentence

    settings.OPSCONSOLE_OIDC_ROLES = {"console-viewers": ["Viewer"]}
    assert single_sign_on.provider_can_be_used(Wishes()).verdict is Verdict.OK
    provider.document_changes = {"code_challenge_methods_supported": ["plain"]}
    assert "S256" in single_sign_on.provider_can_be_used(Wishes()).sentence
    provider.fails["/keys"] = 500
    assert "keys" in single_sign_on.provider_can_be_used(Wishes()).sentence

    settings.OPSCONSOLE_OIDC_ISSUER = ""
    settings.OPSCONSOLE_OIDC_ROLES = {}
    assert single_sign_on.provider_can_be_used(Wishes()).verdict is Verdict.SKIPPED


def test_half_set_settings_are_refused(provider: Provider, settings: Any) -> None:
    assert check_single_sign_on(None) == []
    settings.OPSCONSOLE_OIDC_ROLES = {}
    [found] = check_single_sign_on(None)
    assert found.id == "opsconsole.E035" and "OPSCONSOLE_OIDC_ROLES is missing" in found.msg
    settings.OPSCONSOLE_OIDC_ISSUER = settings.OPSCONSOLE_OIDC_CLIENT_ID = ""
    [found] = check_single_sign_on(None)
    assert "OPSCONSOLE_OIDC_ISSUER and OPSCONSOLE_OIDC_CLIENT_ID and" in found.msg
    settings.OPSCONSOLE_OIDC_CLIENT_SECRET = ""
    assert check_single_sign_on(None) == []


def test_addresses_are_those_of_the_proxy(client: Client, provider: Provider, settings: Any) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("127.0.0.1",)
    behind = {"X-Forwarded-Proto": "https", "Host": "localhost"}
    with override_script_prefix("/ops/"):
        answer = client.get(BEGIN, headers=behind)

    provider.visit(answer["Location"])

    assert provider.authorized[-1]["redirect_uri"] == f"https://localhost/ops{BACK}"
