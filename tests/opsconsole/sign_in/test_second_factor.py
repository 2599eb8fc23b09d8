"""Tests of the second factor and of sessions that expire."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from opsconsole.sign_in import sessions
from tests import people

pytestmark = pytest.mark.django_db
INDEX = reverse("admin:index")
JOBS = reverse("admin:jobs_job_changelist")
MANAGE = reverse("second_factor")
PROVE = reverse("second_factor_prove")


def token_of(device: Any, *, ahead: int = 0) -> str:
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    totp.time = time.time() + ahead * device.step
    return f"{totp.token():06d}"


def log_in(client: Client, user: User) -> None:
    client.post(reverse("admin:login"), {"username": user.username, "password": people.PASSWORD})


@pytest.fixture
def olga() -> User:
    return people.operator()


def set_up(client: Client) -> list[str]:
    client.get(MANAGE)
    page = client.post(MANAGE, {"token": token_of(TOTPDevice.objects.get())}).content.decode()
    return re.findall(r"<li><code>(\w+)</code>", page)


def test_set_up_second_factor_and_sign_in_with_it(client: Client, olga: User) -> None:
    log_in(client, olga)
    codes = set_up(client)
    assert len(codes) == 8
    assert client.get(JOBS).status_code == 200

    client.logout()
    log_in(client, olga)
    assert client.get(JOBS, follow=True).redirect_chain[-1][0].startswith(PROVE)

    device = TOTPDevice.objects.get()
    assert client.post(PROVE, {"token": token_of(device, ahead=1), "next": JOBS}).headers["Location"] == JOBS
    assert client.get(JOBS).status_code == 200


def test_backup_code_works_once(client: Client, olga: User) -> None:
    log_in(client, olga)
    code = set_up(client)[0]
    for expected in (200, 302):
        client.logout()
        log_in(client, olga)
        client.post(PROVE, {"token": f" {code.upper()} "})
        assert client.get(JOBS).status_code == expected
    assert StaticToken.objects.count() == 7


def test_wrong_code_is_refused_and_guessing_is_slowed(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    client.logout()
    log_in(client, olga)

    assert "That code is wrong" in client.post(PROVE, {"token": "000000"}).content.decode()
    # The right code immediately after a wrong one is refused: django-otp enforces a delay.
    client.post(PROVE, {"token": token_of(TOTPDevice.objects.get(), ahead=1)})

    assert client.get(JOBS).status_code == 302


def test_lockout_applies_to_users_with_second_factor(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    guesser = Client()
    form = {"username": olga.username, "password": "wrong"}
    answers = [guesser.post(reverse("admin:login"), form).status_code for _ in range(5)]
    assert answers == [200] * 4 + [429]

    # Now even the right password with a valid token is refused.
    token = token_of(TOTPDevice.objects.get(), ahead=1)
    right = {"username": olga.username, "password": people.PASSWORD, "token": token}
    assert guesser.post(reverse("admin:login"), right).status_code == 429
    assert guesser.post(PROVE, {"token": token}).headers["Location"].startswith(reverse("admin:login"))
    assert guesser.get(JOBS).status_code == 302
    assert "_auth_user_id" not in guesser.session


def test_every_page_requires_second_factor(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    client.logout()
    log_in(client, olga)

    for url in (INDEX, JOBS, reverse("search"), reverse("admin:password_change")):
        assert client.get(url).status_code == 302
    assert client.post(MANAGE, {"token": "000000"}).status_code == 302
    assert client.get(reverse("second_factor_picture")).status_code == 404
    assert "jobs_job" not in client.get(PROVE).content.decode()


def test_required_second_factor_is_set_up_first(client: Client, olga: User, settings: Any) -> None:
    settings.OPSCONSOLE_SECOND_FACTOR = "required"
    log_in(client, olga)

    assert client.get(JOBS, follow=True).redirect_chain[-1][0] == MANAGE
    assert set_up(client)
    assert client.get(JOBS).status_code == 200


def test_second_factor_is_not_requested_when_disabled(client: Client, olga: User, settings: Any) -> None:
    log_in(client, olga)
    set_up(client)
    settings.OPSCONSOLE_SECOND_FACTOR = "off"
    client.logout()
    log_in(client, olga)

    assert client.get(JOBS).status_code == 200
    assert client.get(MANAGE).status_code == 404


def test_qr_code_shows_only_own_unconfirmed_device(client: Client, olga: User) -> None:
    log_in(client, olga)
    client.get(MANAGE)

    answer = client.get(reverse("second_factor_picture"))

    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert "no-store" in answer.headers["Cache-Control"]
    assert client.post(reverse("second_factor_remove"), {"token": "000000"}).status_code == 302


def test_removal_requires_code(client: Client, olga: User) -> None:
    log_in(client, olga)
    codes = set_up(client)

    client.post(reverse("second_factor_remove"), {"token": codes[0]})

    assert not TOTPDevice.objects.exists()
    assert [entry.change_message.partition("\n")[0] for entry in LogEntry.objects.order_by("pk")] == [
        "Set up a second factor.",
        "Removed the second factor.",
    ]


def test_administrator_removes_a_lost_one_with_a_reason(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    client.logout()
    log_in(client, people.operator("otto"))
    form = {"action": "remove_second_factor", "_selected_action": [str(olga.pk)]}

    assert (
        "Give a reason"
        in client.post(reverse("admin:auth_user_changelist"), form | {"reason": ""}).content.decode()
    )
    client.post(reverse("admin:auth_user_changelist"), form | {"reason": "lost the phone"})

    assert not TOTPDevice.objects.exists()
    assert "lost the phone" in LogEntry.objects.latest("pk").change_message


def test_redirect_after_sign_in_stays_on_site(client: Client, olga: User) -> None:
    log_in(client, olga)
    codes = set_up(client)
    client.logout()
    log_in(client, olga)

    answer = client.post(PROVE, {"token": codes[0], "next": "https://evil.example/"})

    assert answer.headers["Location"] == INDEX


def test_polling_does_not_extend_session(client: Client, olga: User, settings: Any) -> None:
    settings.OPSCONSOLE_IDLE_SECONDS = 600
    client.force_login(olga)
    client.get(JOBS)
    _last_click(client, ago=500)
    assert client.get(JOBS, headers={sessions.POLL_HEADER: "1"}).status_code == 200

    _last_click(client, ago=601)
    assert client.get(JOBS, headers={sessions.POLL_HEADER: "1"}).status_code == 302
    assert client.get(JOBS).status_code == 302


def test_request_by_user_extends_session_without_a_write(client: Client, olga: User, settings: Any) -> None:
    settings.OPSCONSOLE_IDLE_SECONDS = 600
    client.force_login(olga)
    client.get(JOBS)
    _last_click(client, ago=599)

    with CaptureQueriesContext(connection) as queries:
        assert client.get(JOBS).status_code == 200

    assert [query["sql"] for query in queries if not query["sql"].startswith("SELECT")] == []
    request = RequestFactory().get("/")
    request.session, request.COOKIES = (
        client.session,
        {sessions.COOKIE: client.cookies[sessions.COOKIE].value},
    )
    assert time.time() - sessions.last_seen(request, 0) < 60


def test_last_click_counts_for_its_own_session_only(client: Client, olga: User, settings: Any) -> None:
    settings.OPSCONSOLE_IDLE_SECONDS = 600
    client.force_login(olga)
    client.get(JOBS)
    _last_click(client, ago=601)
    client.cookies[sessions.COOKIE] = sessions.signer("another").sign(str(int(time.time())))

    assert client.get(JOBS).status_code == 302


def _last_click(client: Client, *, ago: int) -> None:
    session = client.session
    session[sessions.LAST_SEEN] = int(time.time()) - ago
    session.save()
    client.cookies.pop(sessions.COOKIE, None)
