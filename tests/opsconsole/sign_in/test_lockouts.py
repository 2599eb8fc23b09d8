"""Tests of lockouts: password guessing is stopped for the guesser alone, and an administrator can unlock."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from opsconsole.kit import audit
from opsconsole.sign_in import failures, known_browsers
from tests import people
from tests.sending import versions_on

pytestmark = pytest.mark.django_db

LOGIN = reverse("admin:login")
INDEX, LOGOUT = reverse("admin:index"), reverse("admin:logout")
NEW = "another-battery-horse"
LIST = reverse("admin:axes_accessattempt_changelist")
MALLORY: dict[str, Any] = {"REMOTE_ADDR": "203.0.113.7"}
OFFICE: dict[str, Any] = {"REMOTE_ADDR": "198.51.100.20"}


@pytest.fixture
def few(settings: Any) -> None:
    """Lock out a user at a client after two failures, and a user or a client as a whole after 20."""
    settings.AXES_FAILURE_LIMIT = 2


@pytest.fixture(autouse=True)
def _olga() -> None:
    people.operator()


def log_in(password: str = "wrong", username: str = "olga", **extra: Any) -> Any:
    return Client().post(LOGIN, {"username": username, "password": password}, **extra)


def guess(times: int, username: str = "olga", **extra: Any) -> Any:
    answer = None
    for _ in range(times):
        answer = log_in(username=username, **extra)
    return answer


def test_fifth_failure_locks_out(settings: Any) -> None:
    assert guess(4, **MALLORY).status_code == 200
    locked = guess(1, **MALLORY)

    assert locked.status_code == 429
    assert "There were too many failed logins for this user from this address." in locked.content.decode()
    assert 0 < int(locked.headers["Retry-After"]) <= settings.AXES_COOLOFF_TIME.total_seconds()
    assert locked.headers["Cache-Control"] == "no-store"
    assert log_in(people.PASSWORD, **MALLORY).status_code == 429


def test_lockout_spares_other_addresses_and_other_users() -> None:
    people.viewer()
    guess(5, **MALLORY)

    assert log_in(people.PASSWORD, **OFFICE).status_code == 302
    assert log_in(people.PASSWORD, username="vera", **MALLORY).status_code == 302


def test_forged_header_does_not_evade_lockout() -> None:
    for number in range(5):
        log_in(**MALLORY, headers={"X-Forwarded-For": f"192.0.2.{number}"})

    assert log_in(people.PASSWORD, **MALLORY).status_code == 429


def test_unknown_user_is_locked_out_alike() -> None:
    nobody, somebody = guess(5, username="nobody", **MALLORY), guess(5, **MALLORY)

    assert nobody.status_code == somebody.status_code == 429
    assert [_plain(answer) for answer in (nobody, somebody)] == [_plain(nobody)] * 2


def _plain(answer: Any) -> str:
    """Return the page without the name that was entered, the token of its form and the time."""
    return re.sub(r' value="[^"]*"|again in [^.]*', "", answer.content.decode())


def test_lockout_expires() -> None:
    guess(5, **MALLORY)
    AccessAttempt.objects.update(attempt_time=Now() - timedelta(seconds=901))

    assert log_in(people.PASSWORD, **MALLORY).status_code == 302


def test_further_attempts_do_not_extend_lockout() -> None:
    guess(5, **MALLORY)
    AccessAttempt.objects.update(attempt_time=Now() - timedelta(seconds=600))
    assert int(guess(3, **MALLORY).headers["Retry-After"]) <= 300


def test_successful_login_resets_failures() -> None:
    guess(4, **MALLORY)
    assert log_in(people.PASSWORD, **MALLORY).status_code == 302

    assert guess(4, **MALLORY).status_code == 200


def test_passwords_are_not_stored() -> None:
    log_in("my-other-password", **MALLORY)

    kept = AccessAttempt.objects.get()
    assert "my-other-password" not in f"{kept.post_data}{kept.get_data}"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", None),
    ],
)
def test_lockouts_use_same_addresses_as_limiter(peer: str, expected: str | None) -> None:
    assert failures.address(RequestFactory().get("/", REMOTE_ADDR=peer)) == expected


def test_administrator_unlocks_with_a_reason(client: Client) -> None:
    guess(5, **MALLORY)
    client.force_login(people.operator("otto"))
    assert "Locked out" in client.get(LIST).content.decode()
    chosen = {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk]}

    question = client.post(LIST, chosen)
    assert "Unlock logins" in question.content.decode()
    assert AccessAttempt.objects.exists()
    client.post(LIST, chosen | versions_on(question) | {"reason": "she called"})

    assert not AccessAttempt.objects.exists()
    assert "she called" in audit.parts_of(LogEntry.objects.get()).why
    assert log_in(people.PASSWORD, **MALLORY).status_code == 302


def test_page_of_failed_logins_says_whose_they_are(client: Client) -> None:
    guess(5, **MALLORY)
    attempt = AccessAttempt.objects.get()
    client.force_login(people.operator("otto"))

    page = client.get(reverse("admin:axes_accessattempt_change", args=[attempt.pk])).content.decode()

    assert f"<h1>Failed logins of {attempt.username} from {attempt.ip_address}</h1>" in page


def test_viewer_cannot_unlock(client: Client) -> None:
    guess(5, **MALLORY)
    client.force_login(people.viewer())

    client.post(
        LIST, {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk], "reason": "x"}
    )
    assert AccessAttempt.objects.exists()


def test_posts_without_a_password_keep_nobody_out() -> None:
    for _ in range(12):
        assert Client().post(LOGIN, **MALLORY).status_code == 200
    assert log_in(people.PASSWORD, **MALLORY).status_code == 302
    assert not AccessAttempt.objects.exists()


@pytest.mark.usefixtures("few")
def test_guessing_is_bounded_over_all_users_from_one_client() -> None:
    answers = [log_in(username=f"user-{number}", **MALLORY).status_code for number in range(22)]

    assert answers == [200] * 19 + [429] * 3
    assert "from this address, for several users" in log_in(**MALLORY).content.decode()
    assert log_in(people.PASSWORD, **OFFICE).status_code == 302


@pytest.mark.usefixtures("few")
def test_guessing_is_bounded_over_all_clients_for_one_user() -> None:
    people.viewer()
    answers = [log_in(REMOTE_ADDR=f"203.0.113.{number}").status_code for number in range(22)]

    assert answers == [200] * 19 + [429] * 3
    assert "from several addresses" in log_in(people.PASSWORD, **OFFICE).content.decode()
    assert log_in(people.PASSWORD, username="vera", **OFFICE).status_code == 302


@pytest.mark.parametrize("guesses", ["her name", "many names"])
@pytest.mark.usefixtures("few")
def test_known_browser_gets_in_while_a_stranger_guesses_at_the_same_address(guesses: str) -> None:
    """Behind a proxy that the settings don't name, everybody has its address."""
    browser = Client(**OFFICE)
    browser.post(LOGIN, {"username": "olga", "password": people.PASSWORD})
    browser.get(INDEX)
    browser.post(LOGOUT)
    for number in range(22):
        log_in(username="olga" if guesses == "her name" else f"user-{number}", **OFFICE)

    right = {"username": "olga", "password": people.PASSWORD}
    assert log_in(people.PASSWORD, **OFFICE).status_code == 429
    assert browser.post(LOGIN, right).status_code == 302


def test_valid_session_is_known_without_the_cookie() -> None:
    browser = Client(**OFFICE)
    browser.force_login(User.objects.get())
    guess(5, **OFFICE)

    assert browser.post(LOGIN, {"username": "olga", "password": people.PASSWORD}).status_code == 302


def test_known_browser_is_locked_out_by_its_own_failures_alone() -> None:
    browser = _known()
    wrong = {"username": "olga", "password": "wrong"}

    assert [browser.post(LOGIN, wrong).status_code for _ in range(6)] == [200] * 4 + [429] * 2
    assert "in this browser" in browser.post(LOGIN, wrong).content.decode()
    assert log_in(people.PASSWORD, **OFFICE).status_code == 302


def test_known_browser_is_known_for_its_own_user_alone() -> None:
    people.viewer()
    browser = _known()
    guess(5, username="vera", **OFFICE)

    assert browser.post(LOGIN, {"username": "vera", "password": people.PASSWORD}).status_code == 429


def test_new_password_ends_known_browsers_and_sessions() -> None:
    browser, elsewhere = _known(), Client(**MALLORY)
    log_in_with(elsewhere, people.PASSWORD)
    form = {"old_password": people.PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert elsewhere.post(reverse("admin:password_change"), form).status_code == 302
    guess(5, **OFFICE)
    guess(5, **MALLORY)

    assert log_in_with(browser, NEW).status_code == 429
    assert elsewhere.get(INDEX).status_code == 200
    elsewhere.post(LOGOUT)
    # Where it was changed, the browser is known by the new password.
    assert log_in_with(elsewhere, NEW).status_code == 302


def test_forged_cookie_makes_nobody_known() -> None:
    browser = _known()
    [name] = [name for name in browser.cookies if name.startswith(known_browsers.COOKIE)]
    forger = Client(**OFFICE)
    forger.cookies[name] = browser.cookies[name].value[:-1] + "x"
    guess(5, **OFFICE)

    assert browser.cookies[name]["httponly"] and browser.cookies[name]["samesite"] == "Lax"
    assert log_in_with(forger, people.PASSWORD).status_code == 429


@pytest.mark.usefixtures("few")
def test_storm_fills_no_table_and_costs_few_queries() -> None:
    AccessAttempt.objects.bulk_create(
        AccessAttempt(
            username=f"u{number}",
            ip_address="192.0.2.1",
            user_agent="Password, unknown browser",
            failures_since_start=1,
        )
        for number in range(300)
    )
    AccessAttempt.objects.update(attempt_time=Now() - timedelta(seconds=901))
    for number in range(25):
        log_in(username=f"user-{number}", **MALLORY)

    assert AccessAttempt.objects.count() == 20
    with CaptureQueriesContext(connection) as queries:
        assert log_in(**MALLORY).status_code == 429
    assert len(queries) <= 3


@pytest.mark.usefixtures("few")
def test_administrator_frees_an_address_that_is_locked_out_as_a_whole(client: Client) -> None:
    for number in range(20):
        log_in(username=f"user-{number}", **MALLORY)
    client.force_login(people.operator("otto"))
    assert "Address locked out" in client.get(LIST).content.decode()
    chosen = {"action": "unlock", "_selected_action": [AccessAttempt.objects.latest("pk").pk]}
    client.post(LIST, chosen | versions_on(client.post(LIST, chosen)) | {"reason": "the office"})

    assert log_in(people.PASSWORD, **MALLORY).status_code == 302


def test_old_password_is_guessed_as_rarely_as_at_the_login() -> None:
    browser = Client(**OFFICE)
    log_in_with(browser, people.PASSWORD)
    change = reverse("admin:password_change")
    form = {"old_password": "wrong", "new_password1": NEW, "new_password2": NEW}
    assert [browser.post(change, form).status_code for _ in range(6)] == [200] * 5 + [302]
    refused = browser.post(change, form | {"old_password": people.PASSWORD}, follow=True)

    assert "Too many wrong passwords were entered in this browser." in refused.content.decode()
    assert User.objects.get().check_password(people.PASSWORD)
    assert browser.get(INDEX).status_code == 200
    assert log_in(people.PASSWORD, **MALLORY).status_code == 302


def _known() -> Client:
    browser = Client(**OFFICE)
    log_in_with(browser, people.PASSWORD)
    browser.post(LOGOUT)
    return browser


def log_in_with(browser: Client, password: str) -> Any:
    answer = browser.post(LOGIN, {"username": "olga", "password": password})
    browser.get(INDEX)
    return answer
