"""Tests of routes and mutes: who is told of an alert, at the boundaries of hours, and that no gap keeps it from everybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts import channel_settings, notify
from alerts.channel_settings import Route
from alerts.models import Alert, Channel, Delivery, Notification
from alerts.sending import addressing, routing
from alerts.sending.routing import About
from alerts.trouble import Trouble
from alerts.watch import monitor_alerts

NIGHT = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("begin", "end", "hours"),
    [
        (None, None, set(range(24))),
        (8, 18, set(range(8, 18))),
        (22, 6, {22, 23, 0, 1, 2, 3, 4, 5}),
        (0, 23, set(range(23))),
        (23, 0, {23}),
        (7, 7, set(range(24))),
    ],
)
def test_hours_of_the_day(begin: int | None, end: int | None, hours: set[int]) -> None:
    channel = Channel(
        name="mail", least_severity="info", rules=[], queues=[], from_hour=begin, until_hour=end
    )
    told = {hour for hour in range(24) if routing.takes(channel, "info", About(), NIGHT.replace(hour=hour))}
    assert told == hours
    assert ("UTC" in routing.in_words(channel)) is (len(hours) < 24)


@pytest.mark.parametrize(
    ("least", "rules", "severity", "rule", "takes"),
    [
        ("info", [], "info", "", True),
        ("warning", [], "info", "", False),
        ("warning", [], "critical", "", True),
        ("critical", [], "warning", "", False),
        ("info", ["dlq_not_empty"], "info", "dlq_not_empty", True),
        ("info", ["dlq_not_empty"], "critical", "stale_runs", False),
        ("info", ["dlq_not_empty"], "critical", "", False),
    ],
)
def test_severity_and_rules(least: str, rules: list[str], severity: str, rule: str, takes: bool) -> None:
    channel = Channel(name="mail", least_severity=least, rules=rules, queues=[])
    assert routing.takes(channel, severity, About(rule), NIGHT) is takes


@pytest.mark.parametrize(
    ("fingerprint", "queues", "takes"),
    [
        ("dlq_not_empty:slow", [], True),
        ("dlq_not_empty:slow", ["slow"], True),
        ("dlq_not_empty:slow", ["fast", "slow"], True),
        # One dead letter queue of several queues.
        ("dlq_not_empty:fast+slow", ["slow"], True),
        ("dlq_not_empty:slower", ["slow"], False),
        ("dlq_not_empty:fast", ["slow"], False),
        (f"{monitor_alerts.RULE}:{monitor_alerts.of_queue('fast+slow')}", ["slow"], True),
        (f"{monitor_alerts.RULE}:{monitor_alerts.of_queue('fast')}", ["slow"], False),
        (f"{monitor_alerts.RULE}:sweep", ["slow"], False),
        ("stale_runs", ["slow"], False),
        ("stale_runs", [], True),
    ],
)
def test_queues(fingerprint: str, queues: list[str], takes: bool) -> None:
    channel = Channel(name="mail", least_severity="info", rules=[], queues=queues)
    about = About.of(Alert(fingerprint=fingerprint, rule=fingerprint.partition(":")[0]))
    assert routing.takes(channel, "critical", about, NIGHT) is takes


@pytest.fixture
def two_channels(db: None, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = ""
    settings.OPSCONSOLE_ALERT_CHANNELS = {"mail": "json://127.0.0.1:9", "pager": "pagerduty://KEY@API"}
    addressing.create_missing_channels()


def route(name: str, severity: str, **more: Any) -> None:
    channel_settings.change(name, Route(severity, **more), "tests")


def fired(severity: str, fingerprint: str = "disk") -> set[str]:
    notify.fire(fingerprint, Trouble(title="Disk is full", severity=severity))
    return addressed()


def addressed() -> set[str]:
    """Return the channels that the newest notification is addressed to."""
    addressing.address_notifications()
    newest = Notification.objects.latest("pk")
    return set(Delivery.objects.filter(notification=newest).values_list("channel", flat=True))


def test_only_channels_that_want_it_are_told(two_channels: None) -> None:
    route("pager", "critical")
    assert fired("warning", "a") == {"mail"}
    assert fired("critical", "b") == {"mail", "pager"}
    route("mail", "info", rules=["dlq_not_empty"])
    assert fired("critical", "c") == {"pager"}


def test_alert_that_no_channel_wants_is_told_to_all_that_are_not_muted(two_channels: None) -> None:
    route("mail", "critical")
    route("pager", "critical")
    assert fired("warning", "a") == {"mail", "pager"}
    channel_settings.mute("mail", timedelta(hours=1), "ada", "noise")
    assert fired("warning", "b") == {"pager"}
    channel_settings.mute("pager", timedelta(hours=1), "ada", "noise")
    assert fired("critical", "c") == set()
    assert channel_settings.unmute("mail")
    assert fired("warning", "d") == {"mail"}


def test_who_was_told_hears_of_the_end(two_channels: None) -> None:
    assert fired("warning") == {"mail", "pager"}
    route("pager", "critical")
    route("mail", "critical")
    notify.resolve("disk")
    assert addressed() == {"mail", "pager"}

    assert fired("critical") == {"mail", "pager"}
    for name in ("mail", "pager"):
        channel_settings.mute(name, timedelta(hours=1), "ada", "noise")
    notify.resolve("disk")
    assert addressed() == {"pager"}, "its incident would stay open"


def test_mute_ends_by_itself(two_channels: None) -> None:
    channel_settings.mute("mail", timedelta(hours=1), "ada", "noise")
    Channel.objects.filter(pk="mail").update(muted_until=datetime(2026, 1, 1, tzinfo=UTC))
    assert fired("warning") == {"mail", "pager"}
    assert not channel_settings.unmute("mail")
