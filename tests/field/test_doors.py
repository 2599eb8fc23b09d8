"""Attacks on the log-in over real servers, with and without the proxy: storms of guesses, forged headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django_otp.plugins.otp_totp.models import TOTPDevice

from opsconsole.sign_in import failures
from tests.field.console import NAME, PASSWORD, Console, Serve
from tests.field.visitor import FORM, TOKEN, Answer, Visitor
from tests.opsconsole.sign_in.test_second_factor import token_of
from tests.serving import gunicorn, uvicorn

# Each address of this network is a client of its own; only nginx connects from 127.0.0.1.
STRANGER, OWNER = "127.0.0.2", "127.0.0.3"
LOGIN = "/admin/login/"
FORGED = "198.51.100.77"
HEADERS = {
    "X-Forwarded-For": FORGED,
    "X-Forwarded-Proto": "https",
    "X-Real-IP": FORGED,
    "Forwarded": f"for={FORGED};proto=https",
    "X_Forwarded_For": FORGED,
    "X_Forwarded_User": NAME,
}
SIGN_IN = {"X-Forwarded-User": NAME}
# Paths, and headers that would move them.
MOVES = [
    ("/x/admin/login/", {"SCRIPT_NAME": "/x"}),
    ("/x/admin/login/", {"SCRIPT-NAME": "/x"}),
    ("/%78/admin/login/", {"SCRIPT_NAME": "/%78"}),
    ("/x/admin/login/", {"X-Script-Name": "/x", "X-Forwarded-Prefix": "/x"}),
    ("/nothing", {"PATH_INFO": LOGIN, "PATH-INFO": LOGIN, "X-Original-URL": LOGIN, "X-Rewrite-URL": LOGIN}),
]
SERVERS = pytest.mark.parametrize(
    ("serve", "options"),
    [
        (gunicorn, ()),
        # With gunicorn's own default.
        (gunicorn, ("--worker-class", "gthread", "--forwarder-headers", "SCRIPT_NAME,PATH_INFO")),
        (uvicorn, ()),
    ],
    ids=["gunicorn as shipped", "gunicorn", "uvicorn"],
)
GUESSES, THREADS = 32, 4
SESSION = "__Host-sessionid"


@SERVERS
def test_forged_headers_change_nothing(console: Console, serve: Serve, options: tuple[str, ...]) -> None:
    with console.served(*options, serve=serve, OPSCONSOLE_SIGN_IN_HEADER="X-Forwarded-User") as proxy:
        for around in (True, False):
            with Visitor(proxy, address=STRANGER, around_the_proxy=around) as stranger:
                # The header is sent over HTTPS only.
                is_secure = "Strict-Transport-Security" in stranger.get(LOGIN, **HEADERS).headers
                assert is_secure is not around
                # A proxy must overwrite this header, which nginx does as it is documented.
                assert stranger.get("/admin/jobs/job/", **HEADERS | SIGN_IN).status == 302
                assert stranger.log_in(NAME, "wrong", **HEADERS).status == 200
                for path, headers in MOVES:
                    assert stranger.get(path, **headers).status == 404, headers
        # From where the proxy connects, the server itself believes more.
        with Visitor(proxy, around_the_proxy=True) as neighbour:
            for path, headers in MOVES:
                assert neighbour.get(path, **headers).status == 404, headers
                assert neighbour.get(LOGIN).status == 200
    assert counted(console) == {(NAME, STRANGER): 2}


@pytest.mark.parametrize("serve", [gunicorn, uvicorn], ids=["gunicorn as shipped", "uvicorn"])
def test_forwarded_is_read_over_the_real_server(console: Console, serve: Serve) -> None:
    """Send it in several lines, as proxies do that add one each."""
    with (
        console.served(serve=serve, OPSCONSOLE_FORWARDED_HEADER="forwarded") as proxy,
        Visitor(proxy, around_the_proxy=True) as neighbour,
    ):
        page = neighbour.get(LOGIN)
        assert "Strict-Transport-Security" not in page.headers
        token = TOKEN.search(page.text)
        assert token
        form = urlencode({"csrfmiddlewaretoken": token[1], "username": NAME, "password": "wrong"})
        connection = neighbour.connection
        connection.putrequest("POST", LOGIN, skip_host=True)
        cookies = "; ".join(f"{name}={value}" for name, value in neighbour.cookies.items())
        lines = {
            "Host": f"localhost:{proxy.port}",
            "Referer": proxy.address,
            "Cookie": cookies,
            "Content-Length": str(len(form)),
            **FORM,
        }
        for name, value in lines.items():
            connection.putheader(name, value)
        for forwarded in (
            f'for="{FORGED}',
            'for="[2001:db8::17]:4711";proto=https',
            "for=127.0.0.1;proto=http",
        ):
            connection.putheader("Forwarded", forwarded)
        connection.endheaders(form.encode())
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200 and "Strict-Transport-Security" in answer.headers
    assert counted(console) == {(NAME, "2001:db8::"): 1}


def test_storm_keeps_out_no_browser_that_is_known(console: Console) -> None:
    """Guess from the address that the owner has as well: behind a proxy that is not named, everybody has it."""
    environment = {"OPSCONSOLE_TRUSTED_PROXIES": "", "OPSCONSOLE_LOGIN_FAILURES": "1"}
    with console.served(serve=gunicorn, **environment) as proxy:
        for around in (False, True):
            visit = partial(Visitor, proxy, address=OWNER, around_the_proxy=around)
            with visit() as owner:
                assert owner.log_in(NAME, PASSWORD).status == 302
                assert owner.get("/admin/").status == 200
                with visit() as stranger:
                    assert {stranger.post(LOGIN, {}).status for _ in range(12)} == {200}
                with storm(visit) as guesses:
                    del owner.cookies[SESSION]
                    assert owner.log_in(NAME, PASSWORD).status == 302
                    assert owner.get("/admin/").status == 200
            with visit() as latecomer:
                answer = latecomer.log_in(NAME, PASSWORD)
                assert answer.status == 429 and "locked out" in answer.text.lower()
                assert_second_factor_opens(console, latecomer)
            # All but the first few were refused without a look at the password, and left no row.
            assert guesses[429] >= GUESSES - 2 * THREADS
            failed = counted(console)
            assert sum(failed.values()) <= 2 * THREADS, failed
            console.database.sql("DELETE FROM axes_accessattempt")


def assert_second_factor_opens(console: Console, visitor: Visitor) -> None:
    """Enter a code of the app, which is not looked at any more after others' wrong ones, and then two in a row."""
    with console.database.as_default():
        device = TOTPDevice.objects.create(user=User.objects.get(username=NAME), confirmed=True)
        for number in range(failures.CODES_PER_DAY):
            failures.count(failures.source_of(failures.EARLY_CODE, NAME, f"203.0.113.{number}"), LOGIN)
    older, newer = token_of(device, ahead=-1), token_of(device)
    right = {"username": NAME, "password": PASSWORD}
    refused = visitor.post(LOGIN, right | {"token": newer})
    assert refused.status == 429 and "You need not wait" in refused.text
    assert visitor.post(LOGIN, right | {"token": f"{older} {newer}"}).status == 302
    assert visitor.get("/admin/").status == 200
    assert all(name.startswith("__Host-") for name in visitor.cookies), visitor.cookies
    console.database.sql(
        "DELETE FROM otp_totp_totpdevice; DELETE FROM axes_accessattempt WHERE user_agent ~ 'first'"
    )


@contextmanager
def storm(visit: Callable[[], Visitor]) -> Iterator[Counter[int]]:
    """Guess at many users and at the owner from several connections; on leaving, wait for the rest."""
    statuses: Counter[int] = Counter()

    def guess(number: int) -> None:
        with visit() as guesser:
            token = TOKEN.search(guesser.get(LOGIN).text)
            assert token
            for each in range(GUESSES // THREADS):
                # One other name, because every new one costs a check of a password, which is slow on purpose.
                name = f"user-{number}" if each == 0 else NAME
                fields = {"csrfmiddlewaretoken": token[1], "username": name, "password": f"guess {each}"}
                answer: Answer = guesser.ask("POST", LOGIN, urlencode(fields), FORM)
                statuses[answer.status] += 1

    with ThreadPoolExecutor(THREADS) as pool:
        guessing = [pool.submit(guess, number) for number in range(THREADS)]
        yield statuses
        for each in guessing:
            each.result()


def counted(console: Console) -> dict[tuple[str, str], int]:
    """Return the failed log-ins by user and client."""
    rows = console.database.value(
        "SELECT coalesce(json_agg(json_build_array(username, host(ip_address), failures_since_start)), '[]') FROM axes_accessattempt"
    )
    found: Counter[tuple[str, str]] = Counter()
    for username, address, times in rows:
        found[username, address] += times
    return dict(found)
