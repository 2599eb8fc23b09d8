"""Single sign-on behind nginx, in production, with a provider that is reached over TLS."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.auth.models import User

from tests.fakes import identity_provider
from tests.fakes.identity_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.field.console import NAME, PASSWORD, Console
from tests.field.proxy import HOST, Proxy, write_certificate
from tests.field.visitor import FORM, TOKEN, Visitor
from tests.opsconsole.sign_in.oidc.logout_tokens import claims
from tests.waiting import wait_until

JOBS = "/admin/jobs/job/"
BEGIN = f"/admin/oidc/begin/?next={JOBS}"
WAITING = 6


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    folder = tmp_path / "provider"
    folder.mkdir()
    write_certificate(folder)
    with identity_provider.serve(folder / "certificate.pem", folder / "key.pem") as served:
        yield served


@pytest.fixture
def proxy(console: Console, provider: Provider, tmp_path: Path) -> Iterator[Proxy]:
    secret = tmp_path / "client-secret"
    secret.write_text(f"{CLIENT_SECRET}\n")
    with console.served(
        OPSCONSOLE_OIDC_ISSUER=provider.issuer,
        OPSCONSOLE_OIDC_CLIENT_ID=CLIENT_ID,
        OPSCONSOLE_OIDC_CLIENT_SECRET_FILE=str(secret),
        OPSCONSOLE_OIDC_ROLES=json.dumps({"console-viewers": "Viewer"}),
        REQUESTS_CA_BUNDLE=str(provider.authority),
    ) as served:
        yield served


def at_provider(visitor: Visitor, provider: Provider) -> str:
    """Begin a sign-in; return the path to which the provider sends the browser back."""
    begun = visitor.get(BEGIN)
    assert begun.status == 302, begun.text
    parts = urlsplit(provider.visit(begun.headers["Location"]))
    return f"{parts.path}?{parts.query}"


def test_sign_in_role_removed_log_out_and_provider_hung(
    console: Console, proxy: Proxy, provider: Provider
) -> None:
    with Visitor(proxy) as ada:
        back = at_provider(ada, provider)
        assert all(name.startswith("__Host-") for name in ada.cookies), ada.cookies
        kept = dict(ada.cookies)
        assert provider.authorized[0]["redirect_uri"] == f"https://{HOST}:{proxy.port}/admin/oidc/return/"
        assert (answer := ada.get(back)).status == 302, answer.text
        assert answer.headers["Location"] == JOBS
        assert ada.get(JOBS).status == 200
        assert "form-action 'self'" in answer.headers["Content-Security-Policy"]

        # Replayed by the same browser, and by whoever kept its cookie.
        assert ada.get(back).status == 400
        with Visitor(proxy) as thief:
            thief.cookies = kept
            assert thief.get(back).status == 400
            assert thief.get(JOBS).status == 302

        provider.claims["groups"] = []
        with Visitor(proxy) as other:
            assert (refused := other.get(at_provider(other, provider))).status == 403
            assert "None of your groups" in refused.text
        assert ada.get(JOBS).status == 403, "the role is gone in the session of before, too"

        _log_out(ada, proxy, provider)
        with console.database.as_default():
            assert not User.objects.filter(username="ada", is_superuser=True).exists()
    _hang(proxy, provider)


def test_provider_ends_sessions_through_the_proxy(proxy: Proxy, provider: Provider) -> None:
    with Visitor(proxy) as ada, Visitor(proxy) as elsewhere, Visitor(proxy) as late:
        for visitor, name in ((ada, "s-1"), (elsewhere, "s-2")):
            provider.changes = {"sid": name}
            assert visitor.get(at_provider(visitor, provider)).status == 302
        provider.changes = {"sid": "s-1"}
        back = at_provider(late, provider)

        wrong: list[dict[str, Any]] = [
            {"aud": "another-client"},
            {"iss": "https://evil.example"},
            {"events": {}},
            {"nonce": "n"},
            {"sub": None},
            {"jti": None},
            {"iat": int(time.time()) - 3_600},
        ]
        assert [_told(proxy, provider, **each) for each in wrong] == [400] * len(wrong)
        assert _told(proxy, provider, sub=None, sid="s-9") == 200
        assert [visitor.get(JOBS).status for visitor in (ada, elsewhere)] == [200, 200]

        # Strangers behind the same proxy, more than the limit lets through.
        refused = [_sent(proxy, f"no token {number}") for number in range(110)]
        assert set(refused) == {400, 429} and refused[-1] == 429
        token = provider.signed(claims(provider, sid="s-1"))
        assert _sent(proxy, token) == 200
        assert [visitor.get(JOBS).status for visitor in (ada, elsewhere)] == [302, 200]
        assert (answer := late.get(back)).status == 403, answer.text
        assert "ended while you were signing in" in answer.text

        # A copy of the token ends nothing of what began since.
        assert late.get(at_provider(late, provider)).status == 302
        assert _sent(proxy, token) == 429, "a copy proves nothing, and the limit is used up"
        assert late.get(JOBS).status == 200


def _told(proxy: Proxy, provider: Provider, **changes: Any) -> int:
    return _sent(proxy, provider.signed(claims(provider, **changes)))


def _sent(proxy: Proxy, token: str) -> int:
    """Send a logout token as a provider does: without cookies, on a connection of its own."""
    with Visitor(proxy) as server:
        answer = server.ask("POST", "/admin/oidc/log-out/", urlencode({"logout_token": token}), FORM)
        assert not server.cookies
        return answer.status


def _log_out(ada: Visitor, proxy: Proxy, provider: Provider) -> None:
    token = TOKEN.search(ada.get("/admin/").text)
    assert token
    page = ada.ask("POST", "/admin/logout/", urlencode({"csrfmiddlewaretoken": token[1]}), FORM)
    leads_to = re.search(r'content="0;url=([^"]+)"', page.text)
    assert leads_to, page.text
    back = provider.visit(html.unescape(leads_to[1]))
    assert back.startswith(f"https://{HOST}:{proxy.port}/admin/login/?state=")
    assert ada.get(JOBS).status == 302


def _hang(proxy: Proxy, provider: Provider) -> None:
    """Let more people wait for the provider than there are threads: a password still gets in."""
    provider.claims["groups"] = ["console-viewers"]

    with ExitStack() as stack:
        waiting = [
            stack.enter_context(Visitor(proxy, address=f"127.0.0.{number}"))
            for number in range(10, 10 + WAITING)
        ]
        backs = [at_provider(visitor, provider) for visitor in waiting]
        provider.hangs.add("/token")
        before = provider.asked.count("/token")
        pool = stack.enter_context(ThreadPoolExecutor(WAITING))
        answers = [pool.submit(visitor.get, back) for visitor, back in zip(waiting, backs, strict=True)]
        wait_until(lambda: provider.asked.count("/token") > before, timeout=30, what="somebody waits")
        with Visitor(proxy) as olga:
            assert olga.log_in(NAME, PASSWORD).status == 302
            assert olga.get(JOBS).status == 200
        assert [answer.result(60).status for answer in answers] == [503] * WAITING
