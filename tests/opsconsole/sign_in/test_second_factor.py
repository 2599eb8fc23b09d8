"""Tests of the second factor and of sessions that expire."""

from __future__ import annotations

import re
import time
from base64 import b32decode
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from opsconsole.kit import audit
from opsconsole.kit.audit_models import Refusal
from opsconsole.sign_in import codes, failures, second_factor, sessions
from opsconsole.sign_in.session_store import STARTED
from tests import people
from tests.sending import versions_on

pytestmark = pytest.mark.django_db
INDEX = reverse("admin:index")
JOBS = reverse("admin:jobs_job_changelist")
MANAGE = reverse("second_factor")
PROVE = reverse("second_factor_prove")


def token_of(device: Any, *, ahead: int = 0) -> str:
    """Return the code so many half-minutes from now, by the clock that the device was found to have."""
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time() + ahead * device.step
    return f"{totp.token():06d}"


def log_in(client: Client, user: User) -> None:
    client.post(reverse("admin:login"), {"username": user.username, "password": people.PASSWORD})


@pytest.fixture
def olga() -> User:
    return people.operator()


def key_shown(client: Client) -> TOTPDevice:
    """Return what an authenticator app makes of the page that sets up a second factor."""
    page = client.get(MANAGE).content.decode()
    key = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
    assert key
    assert 'href="otpauth://totp/' in page and f"secret={key[1].replace(' ', '')}" in page
    return TOTPDevice(key=b32decode(key[1].replace(" ", "")).hex())


def set_up(client: Client) -> list[str]:
    page = client.post(MANAGE, {"token": token_of(key_shown(client))}).content.decode()
    return re.findall(r"<li><code>(\w+)</code>", page)


def test_set_up_second_factor_and_sign_in_with_it(client: Client, olga: User) -> None:
    log_in(client, olga)
    backup_codes = set_up(client)
    assert len(backup_codes) == 8
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


def guess_codes(client: Client, times: int, **extra: Any) -> list[int]:
    return [client.post(PROVE, {"token": "000000"}, **extra).status_code for _ in range(times)]


def test_wrong_code_is_refused_and_guessing_is_told_to_wait(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    guesser = Client()
    log_in(guesser, olga)

    assert "That code is wrong" in guesser.post(PROVE, {"token": "000000"}).content.decode()
    assert guess_codes(guesser, 4) == [200] * 3 + [429]
    refused = guesser.post(PROVE, {"token": token_of(TOTPDevice.objects.get(), ahead=1)})
    assert refused.status_code == 429 and 0 < int(refused.headers["Retry-After"]) <= 900
    assert "Too many wrong codes were entered from this address. You can try again in 1" in (
        refused.content.decode()
    )
    assert guesser.get(JOBS).status_code == 302
    # For the audit.
    assert sum(Refusal.objects.filter(who=olga.username).values_list("times", flat=True)) == 6


def test_guesser_with_the_password_does_not_lock_out_the_owner(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    client.get(JOBS)
    client.post(reverse("admin:logout"))
    guesser = Client()
    log_in(guesser, olga)
    assert guess_codes(guesser, 6)[-1] == 429

    log_in(client, olga)
    token = token_of(TOTPDevice.objects.get(), ahead=1)
    assert client.post(PROVE, {"token": token}).status_code == 302
    assert client.get(JOBS).status_code == 200


def test_codes_are_bounded_over_all_clients_and_sessions(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    statuses = []
    for number in range(6):
        guesser = Client(REMOTE_ADDR=f"203.0.113.{number}")
        log_in(guesser, olga)
        statuses += guess_codes(guesser, 4)
    assert statuses == [200] * 19 + [429] * 5
    AccessAttempt.objects.update(attempt_time=Now() - timedelta(hours=23))
    latest = Client(REMOTE_ADDR="198.51.100.1")
    log_in(latest, olga)
    right = token_of(TOTPDevice.objects.get(), ahead=1)
    refused = latest.post(PROVE, {"token": right})
    assert refused.status_code == 429 and "for this user today" in refused.content.decode()

    AccessAttempt.objects.update(attempt_time=Now() - timedelta(hours=25))
    assert latest.post(PROVE, {"token": right}).status_code == 302


@pytest.mark.parametrize("step", ["first", "second"])
def test_strangers_never_keep_out_who_has_both_factors(olga: User, step: str) -> None:
    """They guess at this user in all ways, also from the same address and with the password; the browser is a new one."""
    device = TOTPDevice.objects.create(user=olga, confirmed=True)
    backup_codes = codes.new_backup_codes(olga)
    kinds = [failures.CODE, failures.EARLY_CODE] + [failures.PASSWORD] * (step == "first")
    for address in ("127.0.0.1", *(f"203.0.113.{number}" for number in range(12))):
        for kind in kinds:
            for _ in range(5):
                failures.count(failures.source_of(kind, olga.username, address), "/")

    def enter(token: str) -> tuple[str, int]:
        browser = Client()
        right = {"username": olga.username, "password": people.PASSWORD}
        answer = browser.post(reverse("admin:login"), right)
        assert answer.status_code == (429 if step == "first" else 302)
        address, fields = (PROVE, {}) if step == "second" else (reverse("admin:login"), right)
        text = browser.post(address, {"token": token, **fields}).content.decode()
        return text, browser.get(JOBS).status_code

    older, newer = token_of(device, ahead=-1), token_of(device)
    refused = [newer, f"{newer}{older}", f"{older}000000", "a" * codes.BACKUP_CODE_CHARACTERS, ""]
    assert {enter(token)[1] for token in refused} == {302}
    assert "a code of your app and then the next one" in enter(newer)[0]
    assert "It changes every 30 seconds. Too many" in enter(f"{newer}{older}")[0]
    two = f"{older} {newer}"
    entered = [enter(token)[1] for token in (two, two, backup_codes[0], backup_codes[0], backup_codes[1])]
    assert entered == [200, 302, 200, 302, 200]


def test_two_codes_must_follow_each_other_and_be_recent(olga: User) -> None:
    device = TOTPDevice.objects.create(user=olga, confirmed=True)
    right = [
        (first, second)
        for first in range(-4, 5)
        for second in range(-4, 5)
        if codes.is_right(olga, token_of(device, ahead=first) + token_of(device, ahead=second))
    ]
    # A step may have ended since the first pair was computed.
    assert right[:2] in ([(-2, -1), (-1, 0)], [(-1, 0), (0, 1)]) and len(right) <= 4
    assert all(second == first + 1 for first, second in right)


def test_known_browser_guesses_codes_within_its_own_limit(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    client.get(JOBS)
    client.post(reverse("admin:logout"))
    log_in(client, olga)

    assert guess_codes(client, 5) == [200] * 4 + [429]
    assert guess_codes(client, 1, REMOTE_ADDR="203.0.113.9") == [429]


def test_second_factor_opens_a_lockout_by_others(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    login, device = reverse("admin:login"), TOTPDevice.objects.get()
    form = {"username": olga.username, "password": "wrong"}
    owner = Client()
    assert [Client().post(login, form).status_code for _ in range(5)] == [200] * 4 + [429]
    right = {"username": olga.username, "password": people.PASSWORD}
    page = owner.post(login, right)
    assert page.status_code == 429 and 'name="token"' in page.content.decode()

    refused = owner.post(login, right | {"token": "000000"})
    assert refused.status_code == 429 and "That code is wrong" in refused.content.decode()
    assert owner.post(login, right | {"token": token_of(device, ahead=1)}).status_code == 302
    # The code also counts as the second factor of the session.
    assert owner.get(JOBS).status_code == 200


def test_codes_without_the_password_keep_nobody_out_who_has_it(client: Client, olga: User) -> None:
    log_in(client, olga)
    backup_codes = set_up(client)
    wrong = {"username": olga.username, "password": "wrong"}
    for number in range(5):
        guesser = Client(REMOTE_ADDR=f"203.0.113.{number}")
        for _ in range(10):
            guesser.post(reverse("admin:login"), wrong | {"token": "000000"})
    owner = Client(REMOTE_ADDR="198.51.100.1")
    log_in(owner, olga)

    assert owner.post(PROVE, {"token": backup_codes[0]}).status_code == 302


def test_code_does_not_open_a_lockout_to_password_guessing(client: Client, olga: User) -> None:
    log_in(client, olga)
    backup_codes = set_up(client)
    login = reverse("admin:login")
    wrong = {"username": olga.username, "password": "wrong"}
    for _ in range(5):
        Client().post(login, wrong)

    answers = [Client().post(login, wrong | {"token": code}).status_code for code in backup_codes[:5]]
    assert answers == [200] * 4 + [429]
    right = wrong | {"password": people.PASSWORD, "token": backup_codes[5]}
    assert Client().post(login, right).status_code == 429
    # It was not even looked at.
    assert StaticToken.objects.count() == 3


def test_key_that_is_set_up_belongs_to_its_session(client: Client, olga: User) -> None:
    elsewhere = Client()
    log_in(client, olga)
    log_in(elsewhere, olga)
    first, second = key_shown(client), key_shown(elsewhere)
    assert first.key != second.key and key_shown(client).key == first.key
    assert not TOTPDevice.objects.exists()

    assert "That code is wrong" in elsewhere.post(MANAGE, {"token": token_of(first)}).content.decode()
    assert "Backup codes" in client.post(MANAGE, {"token": token_of(first)}).content.decode()
    # The other session now needs the device that the first one has confirmed.
    assert elsewhere.post(MANAGE, {"token": token_of(second)}).headers["Location"] == PROVE
    assert TOTPDevice.objects.get().key == first.key


@pytest.mark.parametrize("end", ["logout", "password", "time"])
def test_key_that_was_not_confirmed_ends(client: Client, olga: User, end: str) -> None:
    log_in(client, olga)
    shown = key_shown(client)
    if end == "logout":
        client.post(reverse("admin:logout"))
        log_in(client, olga)
    elif end == "password":
        new = "another-battery-horse"
        form = {"old_password": people.PASSWORD, "new_password1": new, "new_password2": new}
        assert client.post(reverse("admin:password_change"), form).status_code == 302
    else:
        session = client.session
        session[second_factor.PENDING] |= {"until": time.time() - 1}
        session.save()

    assert "That code is wrong" in client.post(MANAGE, {"token": token_of(shown)}).content.decode()
    assert key_shown(client).key != shown.key
    assert not TOTPDevice.objects.exists()


def test_token_that_confirmed_the_device_is_used_up(client: Client, olga: User) -> None:
    log_in(client, olga)
    token = token_of(key_shown(client))
    client.post(MANAGE, {"token": token})
    other = Client()
    log_in(other, olga)

    assert "That code is wrong" in other.post(PROVE, {"token": token}).content.decode()


def test_sessions_of_a_removed_device_need_the_new_one(client: Client, olga: User) -> None:
    other = Client()
    log_in(client, olga)
    backup_codes = set_up(client)
    log_in(other, olga)
    other.post(PROVE, {"token": backup_codes[0]})
    assert other.get(JOBS).status_code == 200
    client.post(reverse("second_factor_remove"), {"token": backup_codes[1]})
    set_up(client)

    assert other.get(JOBS, follow=True).redirect_chain[-1][0].startswith(PROVE)


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


def test_cookie_of_messages_is_as_well_kept_as_the_others(client: Client, olga: User, settings: Any) -> None:
    log_in(client, olga)
    set_up(client)
    settings.OPSCONSOLE_COOKIE_PREFIX, settings.SESSION_COOKIE_SECURE = "__Host-", True
    client.post(reverse("second_factor_remove"), {"token": "000000"})

    cookie = client.cookies["__Host-messages"]
    kept = [cookie[name] for name in ("secure", "httponly", "samesite", "path", "domain")]
    assert kept == [True, True, "Lax", "/", ""]
    assert "messages" not in client.cookies
    assert "That code is wrong" in client.get(MANAGE).content.decode()
    assert not client.cookies["__Host-messages"].value and client.cookies["__Host-messages"]["secure"]


@pytest.mark.parametrize("hours", [-24, 24])
def test_session_lasts_by_the_clock_of_the_database(
    client: Client, olga: User, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A host whose clock is wrong begins and judges sessions as all others do."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3_600)
    client.force_login(olga)
    assert client.get(JOBS).status_code == 200
    assert abs(client.session[STARTED] - real()) < 600
    assert client.get(JOBS).status_code == 200
    stored = Session.objects.annotate(left=F("expire_date") - Now()).get()
    assert timedelta(hours=11) < stored.left <= timedelta(hours=12)
    assert last_seen_of(client) - real() < 600


def test_session_that_began_in_the_future_is_refused(client: Client, olga: User) -> None:
    """One that was begun before the database's clock counted, on a host with a fast clock."""
    client.force_login(olga)
    _started(client, ago=-7_200)
    assert client.get(JOBS).status_code == 302


def last_seen_of(client: Client) -> int:
    request = RequestFactory().get("/")
    request.session = client.session
    request.COOKIES = {sessions.COOKIE: client.cookies[sessions.COOKIE].value}
    return sessions.last_seen(request, 0)


def test_removal_requires_code(client: Client, olga: User) -> None:
    log_in(client, olga)
    backup_codes = set_up(client)

    client.post(reverse("second_factor_remove"), {"token": backup_codes[0]})

    assert not TOTPDevice.objects.exists()
    changes = LogEntry.objects.exclude(change_message="Logged in.").order_by("pk")
    assert [entry.change_message for entry in changes] == [
        "Set up a second factor.",
        "Used a backup code instead of the app; 7 backup codes left.",
        "Removed the second factor.",
    ]


def test_administrator_removes_a_lost_one_with_a_reason(client: Client, olga: User) -> None:
    log_in(client, olga)
    set_up(client)
    client.logout()
    log_in(client, people.operator("otto"))
    form = {"action": "remove_second_factor", "_selected_action": [str(olga.pk)]}

    users = reverse("admin:auth_user_changelist")
    question = client.post(users, form | {"reason": ""})
    assert "Give a reason" in question.content.decode()
    again = client.post(users, form)
    client.post(users, form | versions_on(again) | {"reason": "lost the phone"})

    assert not TOTPDevice.objects.exists()
    assert "lost the phone" in audit.parts_of(LogEntry.objects.latest("pk")).why


def test_redirect_after_sign_in_stays_on_site(client: Client, olga: User) -> None:
    log_in(client, olga)
    backup_codes = set_up(client)
    client.logout()
    log_in(client, olga)

    answer = client.post(PROVE, {"token": backup_codes[0], "next": "https://evil.example/"})

    assert answer.headers["Location"] == INDEX


@pytest.mark.parametrize("poll", [{sessions.POLL_HEADER: "1"}, {"Sec-Fetch-Dest": "empty"}])
def test_polling_does_not_extend_session(
    client: Client, olga: User, settings: Any, poll: dict[str, str]
) -> None:
    settings.OPSCONSOLE_IDLE_SECONDS = 600
    client.force_login(olga)
    client.get(JOBS)
    _last_click(client, ago=500)
    assert client.get(JOBS, headers=poll).status_code == 200
    assert sessions.COOKIE not in client.cookies

    _last_click(client, ago=601)
    # A script gets no redirect: it would take the log-in for the page.
    assert client.get(JOBS, headers=poll).status_code == (401 if sessions.POLL_HEADER in poll else 302)
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


def test_clicks_do_not_extend_the_longest_session(client: Client, olga: User, settings: Any) -> None:
    settings.OPSCONSOLE_SESSION_SECONDS = settings.SESSION_COOKIE_AGE = 3_000
    client.force_login(olga)
    _started(client, ago=2_900)
    for _ in range(2):
        page = client.get(JOBS)
        assert page.status_code == 200
        # Also a session that is saved again ends at its time, in the database and in the browser.
        session = client.session
        session["clicked"] = time.time()
        session.save()
        assert Session.objects.get().expire_date <= timezone.now() + timedelta(seconds=100)
        assert "Your session ends at" in page.content.decode()

    _started(client, ago=3_000)
    assert client.get(JOBS).status_code == 302


@pytest.mark.parametrize("end", ["idle", "old", "password", "logout"])
def test_login_page_says_why_the_session_ended(client: Client, olga: User, settings: Any, end: str) -> None:
    settings.OPSCONSOLE_IDLE_SECONDS = 600
    log_in(client, olga)
    client.get(JOBS)
    if end == "idle":
        clicked = client.cookies[sessions.COOKIE].value
        _last_click(client, ago=601)
        client.cookies[sessions.COOKIE] = clicked.replace(clicked[:9], "100000000")
    elif end == "old":
        _started(client, ago=12 * 3_600)
    elif end == "password":
        olga.set_password("another-battery-horse")
        olga.save()
    else:
        client.post(reverse("admin:logout"))
    page = client.get(JOBS, follow=True).content.decode()
    sentence = (
        "Your session has ended. It lasts 12 h from the login, and ends sooner after 10 min without a click "
        "or with a new password."
    )

    assert (sentence in page) is (end != "logout")


def test_session_without_the_cookie_of_the_last_click_counts_from_its_log_in(
    client: Client, olga: User
) -> None:
    client.force_login(olga)
    _last_click(client, ago=3_601)
    stolen = client.cookies["sessionid"].value
    thief = Client()
    thief.cookies["sessionid"] = stolen
    # Withholding the cookie of the last click leaves only the log-in, which is long ago.
    assert thief.get(JOBS).status_code == 302


def test_new_log_in_begins_a_new_session(client: Client, olga: User) -> None:
    client.force_login(olga)
    _started(client, ago=40_000)
    log_in(client, olga)

    assert time.time() - client.session[STARTED] < 60


def _started(client: Client, *, ago: int) -> None:
    session = client.session
    session[STARTED] = int(time.time()) - ago
    session.save()


def _last_click(client: Client, *, ago: int) -> None:
    session = client.session
    session[sessions.LAST_SEEN] = int(time.time()) - ago
    session.save()
    client.cookies.pop(sessions.COOKIE, None)
