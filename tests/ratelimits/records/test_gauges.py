"""The gauge of requests refused with 429, and its alert."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.db.models.functions import Now
from django.urls import reverse

from alerts.models import Alert, Gauge, Notification
from ratelimits import tasks
from ratelimits.models import RateLimitRequest
from ratelimits.records import gauges

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def record(
    hits: int, *, outcome: str = "limited", policy: str = "strict", ago: timedelta = timedelta(0)
) -> None:
    RateLimitRequest.objects.create(
        key="ip:203.0.113.9", endpoint="/x", method="GET", hits=hits, outcome=outcome, policy=policy,
        created_at=Now() - ago,
    )  # fmt: skip


def test_more_than_a_hundred_refused_requests_raise_one_alert() -> None:
    record(60)
    record(40, policy="relaxed", ago=59 * MINUTE)
    assert tasks.watch() == "limited_requests_hour: 100"
    assert not Alert.objects.exists()

    record(1)
    gauges.watch()
    gauges.watch()

    alert = Alert.objects.get()
    assert (alert.fingerprint, alert.value, alert.threshold) == ("limited_requests_hour", 101, 100)
    assert alert.title == "101 requests were refused with 429 in the last hour"
    assert alert.facts == [["strict", "61"], ["relaxed", "40"]]
    assert "203.0.113.9" not in str(Alert.objects.values().get())
    # The first step of its runbook says "Follow Review".
    assert alert.link == reverse("admin:ratelimits_ratelimithour_changelist")
    assert Notification.objects.count() == 1


@pytest.mark.parametrize(
    ("outcome", "ago"),
    [
        ("allowed", timedelta(0)),
        ("shadow", timedelta(0)),
        ("denied", timedelta(0)),
        ("", timedelta(0)),
        ("limited", 61 * MINUTE),
    ],
)
def test_only_requests_limited_in_the_last_hour_count(outcome: str, ago: timedelta) -> None:
    record(1_000, outcome=outcome, ago=ago)
    gauges.watch()
    assert Gauge.objects.get().value == 0


def test_alert_names_the_five_policies_that_refused_most() -> None:
    by_policy = {"": 7, "a": 1, "b": 9, "c": 2, "d": 3, "e": 3}
    assert [policy for policy, _ in gauges.facts(by_policy)] == ["b", "No policy", "d", "e", "c"]


def test_unreadable_gauge_is_unknown_rather_than_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    record(200)
    gauges.watch()

    def fail() -> dict[str, int]:
        raise DatabaseError("canceling statement due to statement timeout")

    monkeypatch.setattr(gauges, "limited_in_last_hour", fail)
    assert gauges.watch() == "unknown"
    alert = Alert.objects.open().get()
    assert alert.unknown_why == "canceling statement due to statement timeout"
