"""Browser tests of alerts: notified, viewed, acknowledged; and a channel that fails and is repaired."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from alerts import notify
from alerts.models import Alert
from alerts.sending import banner, delivery
from tests.alerts import clock
from tests.fakes.slack import FakeSlack, Reply, serve
from tests.journeys import alerting
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    banner.memory.clear()
    with serve() as server:
        settings.SLACK_WEBHOOK_URL = server.url
        settings.OPSCONSOLE_PUBLIC_URL = "https://ops.example.com"
        yield server


def send() -> None:
    """Run a sender, some time later."""
    clock.move(timedelta(seconds=10))
    delivery.deliver()
    banner.memory.delete("banner")


def open_alerts(page: Page) -> None:
    if page.viewport_size and page.viewport_size["width"] < 1024:
        page.locator(".menu > summary").click()
        page.locator(".menu").get_by_role("link", name=re.compile("^Alerts")).first.click()
    else:
        page.locator("#console-nav").get_by_role("link", name=re.compile("^Alerts")).first.click()


@pytest.mark.parametrize("width", [1440, 390])
def test_view_and_acknowledge_alert(visitor: Visitor, slack: FakeSlack, width: int) -> None:
    alerting.dead_letters()
    send()
    review, dlq, alert_page = slack.posts[0]["blocks"][-1]["elements"][:3]
    assert (review["text"]["text"], dlq["text"]["text"]) == ("Review", "View DLQ")

    page = visitor.log_in("olga", width=width)
    expect(page.locator(".verdict")).to_contain_text("5 dead letters in default.")
    page.goto(visitor.address + alert_page["url"].removeprefix("https://ops.example.com"))
    expect(page.locator(".why")).to_contain_text("TimeoutError at maps (3)")
    expect(page.locator(".runbook")).to_contain_text("Replay one dead letter and see its job complete")
    expect(page.locator(".timeline")).to_contain_text("slack: Sent")
    expect(page.locator(".timeline")).to_contain_text("200 ok")

    page.get_by_role("link", name="Acknowledge", exact=True).click()
    page.get_by_label("Reason").fill("maps is down; their status page says until 4.")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".messagelist")).to_have_text("1 alert acknowledged.")
    expect(page.locator(".badges")).to_contain_text("Acknowledged")
    expect(page.locator(".timeline > li", has_text="olga")).to_contain_text("maps is down")

    notify.measure("dlq_not_empty", 0, scope="default")
    page.reload()
    expect(page.locator(".banner")).to_contain_text("If it stays away, the alert resolves at")
    clock.move(timedelta(minutes=15))
    notify.measure("dlq_not_empty", 0, scope="default")
    send()
    assert slack.texts[-1].startswith("✅ Resolved after")
    open_alerts(page)
    # The number of the navigation may be some seconds old; while it is there, it opens the alerts that fire.
    expect(page.locator(".empty")).to_contain_text(re.compile("There are no alerts|No alerts match"))
    if width < 768:
        page.locator("summary", has_text="Filters").click()
    page.locator("summary", has_text="State").click()
    page.get_by_role("link", name="Resolved", exact=True).click()
    expect(page.locator("#result_list")).to_contain_text("5 dead letters in default")


def test_snooze_until_morning(visitor: Visitor, slack: FakeSlack) -> None:
    alerting.dead_letters()
    page = visitor.log_in("olga")
    open_alerts(page)
    page.locator("input.action-select").check()
    page.get_by_role("button", name="Snooze").click()
    page.get_by_label("in 12 hours").check()
    page.get_by_label("Reason").fill("Support knows.")
    page.get_by_role("button", name="Snooze").click()
    expect(page.locator(".messagelist")).to_have_text("1 alert snoozed.")
    assert Alert.objects.get(fingerprint="dlq_not_empty:default").state == "snoozed"


def test_broken_channel_is_reported_everywhere_until_a_test_succeeds(
    visitor: Visitor, slack: FakeSlack
) -> None:
    slack.replies = [Reply(410, "channel_is_archived")]
    alerting.dead_letters()
    send()
    page = visitor.log_in("olga")
    for path in ("", "jobs/job/", "alerts/rule/", "auth/user/"):
        page.goto(f"{visitor.address}/admin/{path}")
        expect(page.locator(".banner-bad")).to_contain_text(
            "Alerts no longer reach slack: 410 channel_is_archived."
        )

    page.get_by_role("link", name="Open channels").click()
    expect(page.locator("#result_list")).to_contain_text("Broken")
    page.get_by_role("link", name="slack", exact=True).click()
    page.get_by_role("button", name="Send test message").click()
    expect(page.locator(".messagelist")).to_contain_text("A test message is being sent to slack")
    send()
    send()
    page.goto(f"{visitor.address}/admin/alerts/channel/slack/change/")
    expect(page.locator("h1")).to_contain_text("Working")
    expect(page.locator(".banner-bad")).to_have_count(0)
    assert [text.partition(":")[0] for text in slack.texts[1:]] == ["✅ Test", "🔴 Firing"]


def test_raise_threshold(visitor: Visitor, slack: FakeSlack) -> None:
    from alerts.models import Rule
    from alerts.rules import all_by_name

    Rule.objects.bulk_create(all_by_name().values(), ignore_conflicts=True)
    page = visitor.log_in("olga")
    page.goto(f"{visitor.address}/admin/alerts/rule/")
    page.get_by_role("link", name="Many stale jobs in a day").click()
    page.get_by_label("Threshold").fill("8")
    page.get_by_label("Reason").fill("We run twice as many workers.")
    page.get_by_role("button", name="Change the rule").click()
    expect(page.locator(".recent")).to_contain_text("threshold 5 to 8")
    expect(page.locator(".facts")).to_contain_text("8 jobs in 24 hours")
