"""A poll that would be answered by 304 is refused as soon as its sign-in is: nothing of a sign-in is remembered between polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django_otp
import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from jobs.models import RecoveryControl
from opsconsole import live_pages, overview
from opsconsole.sign_in import second_factor
from tests import people
from tests.page_costs import fewest_asked

pytestmark = pytest.mark.django_db(transaction=True)

QUEUES = "/admin/jobs/queuestate/"


@pytest.fixture
def olga() -> User:
    return people.operator()


@pytest.fixture
def polled(client: Client, olga: User, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that polls an open page on which nothing changed, and returns the status of the answer."""
    # The row that a migration creates, which these tests' databases lack.
    RecoveryControl.objects.update_or_create(pk=1, defaults={"mode": RecoveryControl.Mode.ARMED})
    client.force_login(olga)
    counted_at_once()
    overview.memory.clear()
    monkeypatch.setattr(live_pages, "RENDERED_EVERY", 300)
    known: dict[str, Any] = {"now": int(time.time()), "etag": ""}
    monkeypatch.setattr(live_pages, "_now", lambda: known["now"])

    def poll() -> int:
        known["now"] += live_pages.POLLED_EVERY + 2
        answer = client.get(QUEUES, headers={"X-Poll": "1", "If-None-Match": known["etag"]})
        known["etag"] = answer.headers.get("ETag", "")
        return int(answer.status_code)

    # The first one renders the page, and so does the second: something older may have been cached for the first.
    poll()
    poll()
    return poll


def counted_at_once() -> None:
    """Let PostgreSQL count at the end of the next transaction what this connection has written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")


def _give_device(user: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="App", confirmed=True)


ENDINGS: dict[str, Callable[[User], Any]] = {
    "session deleted": lambda _: Session.objects.all().delete(),
    "session over": lambda _: Session.objects.update(expire_date=Now() - timedelta(seconds=1)),
    "person deactivated": lambda olga: User.objects.filter(pk=olga.pk).update(is_active=False),
    "person no longer staff": lambda olga: User.objects.filter(pk=olga.pk).update(is_staff=False),
    "person deleted": lambda olga: olga.delete(),
    "password changed": lambda olga: User.objects.filter(pk=olga.pk).update(password="another"),
    "device added elsewhere": _give_device,
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_poll_is_refused_at_once(
    polled: Callable[[], int], olga: User, end: Callable[[User], object]
) -> None:
    assert polled() == 304

    end(olga)

    assert polled() == 401


def test_poll_of_a_removed_device_is_refused_at_once(
    client: Client, polled: Callable[[], int], olga: User, settings: Any
) -> None:
    settings.OPSCONSOLE_SECOND_FACTOR = "required"
    device = _give_device(olga)
    session = client.session
    session[django_otp.DEVICE_ID_SESSION_KEY] = device.persistent_id
    session.save()
    assert polled() == 304

    second_factor.remove(olga)

    assert polled() == 401


def test_unchanged_poll_asks_four_things(polled: Callable[[], int]) -> None:
    asked = fewest_asked(lambda: polled() == 304)

    tables = ["django_session", "auth_user", "otp_totp_totpdevice", "pg_stat_get_tuples"]
    assert len(asked) == len(tables)
    assert [table in sql for table, sql in zip(tables, asked, strict=True)] == [True] * len(tables)
