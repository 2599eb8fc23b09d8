"""Tests of lockouts: password guessing is stopped for the guesser alone, and an administrator can unlock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from django.urls import reverse

from opsconsole.sign_in import lockouts
from ratelimits.policies import policy_cache
from tests import people

pytestmark = pytest.mark.django_db

LOGIN = reverse("admin:login")
LIST = reverse("admin:axes_accessattempt_changelist")
MALLORY: dict[str, Any] = {"REMOTE_ADDR": "203.0.113.7"}
OFFICE = {"REMOTE_ADDR": "198.51.100.20"}


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
    assert "There were 5 failed logins for this user from this address." in locked.content.decode()
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
    assert nobody.content == somebody.content


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
    assert lockouts.address(RequestFactory().get("/", REMOTE_ADDR=peer)) == expected


def test_administrator_unlocks_with_a_reason(client: Client) -> None:
    guess(5, **MALLORY)
    client.force_login(people.operator("otto"))
    assert "Locked out" in client.get(LIST).content.decode()
    chosen = {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk]}

    assert "Unlock logins" in client.post(LIST, chosen).content.decode()
    assert AccessAttempt.objects.exists()
    client.post(LIST, chosen | {"reason": "she called"})

    assert not AccessAttempt.objects.exists()
    assert "she called" in LogEntry.objects.get().change_message
    assert log_in(people.PASSWORD, **MALLORY).status_code == 302


def test_viewer_cannot_unlock(client: Client) -> None:
    guess(5, **MALLORY)
    client.force_login(people.viewer())

    client.post(
        LIST, {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk], "reason": "x"}
    )
    assert AccessAttempt.objects.exists()


def test_logins_are_limited_by_address_for_any_user() -> None:
    policy_cache.clear()
    answers = [log_in(username=f"user-{number}", **MALLORY).status_code for number in range(12)]

    assert answers == [200] * 10 + [429] * 2
    assert log_in(people.PASSWORD, **OFFICE).status_code == 302
    # Opening the form is not limited.
    assert Client(**MALLORY).get(LOGIN).status_code == 200


def test_limited_login_answers_with_page_or_problem_document() -> None:
    policy_cache.clear()
    for number in range(10):
        log_in(username=f"user-{number}", **MALLORY)

    page = log_in(**MALLORY, headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert "Too many requests came from your address." in page.content.decode()
    assert int(page.headers["Retry-After"]) >= 1
    document = log_in(**MALLORY, headers={"Accept": "application/json"})
    assert document.headers["Content-Type"] == "application/problem+json"
