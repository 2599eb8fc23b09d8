"""The pages of alerts, rules, channels and monitors: content, permissions, reasons and validation."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from alerts import notify, rules
from alerts.channels import wording
from alerts.channels.targets import all_targets
from alerts.models import Alert, Channel, Delivery, Monitor, Notification
from alerts.notify import Trouble
from alerts.sending import banner, delivery
from opsconsole.kit import addresses, audit
from tests import people
from tests.alerts.conftest import Later
from tests.fakes.slack import FakeSlack, Reply
from tests.page_costs import fewest_statements
from tests.page_text import spaced
from tests.sending import send, versions_on

pytestmark = pytest.mark.django_db

LIST = reverse("admin:alerts_alert_changelist")
RULE = "stale_jobs_day"
REASON = "Its <b>host</b> was shut down."


@pytest.fixture(autouse=True)
def _fresh_banner() -> None:
    banner.memory.clear()


def fire_alert(**content: Any) -> Alert:
    notify.measure("dlq_not_empty", 5, Trouble(title="5 dead letters", **content), scope="default")
    return Alert.objects.get(fingerprint="dlq_not_empty:default")


def page_of(alert: Alert) -> str:
    return reverse("admin:alerts_alert_change", args=[alert.pk])


def decide(name: str) -> str:
    return reverse("admin:alerts_alert_decide", args=[name])


def test_list_is_filtered_by_state_and_shows_open_alerts_by_default(operator: Client) -> None:
    for number, state in enumerate(("firing", "acknowledged", "snoozed", "resolved", "firing")):
        notify.fire(f"a{number}", Trouble(title=f"Title {number}", severity="warning"))
        alert = Alert.objects.filter(fingerprint=f"a{number}")
        alert.update(
            state=state,
            resolved_at=Now() if state == "resolved" else None,
            snoozed_until=Now() if state == "snoozed" else None,
        )
    notify.unknown("a4", why="AccessDenied")
    # What is empty is hidden on a phone, and is the same dash everywhere.
    listed = operator.get(reverse("admin:alerts_alert_changelist")).text
    assert 'class="field-handler"><span class="nothing">' in listed
    for query, titles in {
        "": {0, 1, 2, 4},
        "firing": {0, 4},
        "acknowledged": {1},
        "snoozed": {2},
        "unknown": {4},
        "resolved": {3},
        "all": {0, 1, 2, 3, 4},
        "nonsense": set(),
    }.items():
        response = operator.get(LIST, {"state": query} if query else {})
        titles_shown = {row.title for row in response.context["cl"].result_list}
        assert titles_shown == {f"Title {number}" for number in titles}, query


def test_most_urgent_alert_comes_first(operator: Client) -> None:
    for severity in ("info", "critical", "warning"):
        notify.fire(severity, Trouble(title=severity, severity=severity))
    Alert.objects.filter(fingerprint="info").update(state="acknowledged")
    rows = operator.get(LIST).context["cl"].result_list
    assert [row.title for row in rows] == ["critical", "warning", "info"]


def test_page_shows_facts_links_attempts_and_runbook(
    operator: Client, slack: FakeSlack, later: Later
) -> None:
    slack.replies = [Reply(500, "rollup_error")]
    alert = fire_alert(
        summary="Two new groups.",
        facts=[("Customers", "CUST-1 <script>")],
        links=[("View DLQ", "https://console.aws.amazon.com/"), ("Bad", "javascript:alert(1)")],
        link="/admin/jobs/job/",
    )
    delivery.deliver()
    later(5)
    delivery.deliver()
    page = operator.get(page_of(alert)).text
    for words in (
        "Two new groups.",
        "CUST-1 &lt;script&gt;",
        'href="https://console.aws.amazon.com/"',
        "500 rollup_error",
        "200 ok",
        '5, <span class="quiet">alert above 0 dead letters</span>',
        "Dead letter queue not empty",
        "What it says.",
        "docs/runbooks/dlq-not-empty.md",
    ):
        assert words in page, words
    assert "javascript:" not in page
    assert slack.url not in page


def test_page_says_whether_the_last_notification_was_sent_or_only_written(
    operator: Client, slack: FakeSlack, later: Later
) -> None:
    slack.replies = [Reply(500, "rollup_error")]
    alert = fire_alert()

    def last() -> str:
        shown = operator.get(page_of(alert)).text
        return spaced(strip_tags(shown.partition("<dt>Last notification</dt>")[2].partition("</dd>")[0]))

    assert re.fullmatch("queued .+ ago, not sent yet", last())
    delivery.deliver()
    assert re.fullmatch("queued .+ ago, not sent yet", last())
    later(5)
    delivery.deliver()
    assert re.fullmatch("sent .+ ago", last())
    Delivery.objects.create(notification=Notification.objects.get(), channel="another")
    assert re.fullmatch("sent .+ ago, to 1 more channel not yet", last())
    Delivery.objects.all().delete()
    assert re.fullmatch("written .+ ago, sent to no channel", last())
    Notification.objects.all().delete()
    assert last() == "not yet"


def test_resolved_alert_tells_what_was_wrong(operator: Client) -> None:
    alert = fire_alert(summary="Two new groups.")
    assert "What is wrong</h2>" in operator.get(page_of(alert)).text
    Alert.objects.filter(pk=alert.pk).update(state="resolved", resolved_at=Now())
    page = operator.get(page_of(alert)).text
    assert "What was wrong</h2>" in page and "What is wrong" not in page


def test_operator_acknowledges_an_alert_with_a_reason(operator: Client) -> None:
    alert = fire_alert()
    confirmation = operator.get(decide("acknowledge"), {"id": alert.pk})
    assert "5 dead letters" in confirmation.text and Alert.objects.get().state == "firing"

    entries = {"id": alert.pk} | versions_on(confirmation)
    no_reason = operator.post(decide("resolve"), entries | {"reason": "  "})
    assert "Give a reason" in no_reason.text and Alert.objects.get().state == "firing"

    result = operator.post(decide("acknowledge"), entries | {"reason": REASON}, follow=True)
    assert result.redirect_chain[-1][0] == page_of(alert)
    assert "1 alert acknowledged." in result.text
    assert "Its &lt;b&gt;host&lt;/b&gt; was shut down." in result.text
    alert_after = Alert.objects.get()
    assert (alert_after.state, alert_after.handled_by, alert_after.handled_reason) == (
        "acknowledged",
        "olga",
        REASON,
    )
    assert audit.parts_of(LogEntry.objects.get()) == audit.AuditParts("Acknowledged.", REASON)


def test_alert_that_grows_meanwhile_is_acknowledged(operator: Client) -> None:
    alert = fire_alert()
    confirmation = operator.get(decide("acknowledge"), {"id": alert.pk})
    Alert.objects.update(title="35 dead letters (default)")
    fields = {"id": alert.pk, "reason": "", **versions_on(confirmation)}
    response = operator.post(decide("acknowledge"), fields)
    assert response.status_code == 302
    alert.refresh_from_db()
    assert alert.handled_by == "olga"


def test_alert_that_somebody_else_acknowledged_is_told_as_changed(operator: Client) -> None:
    alert = fire_alert()
    confirmation = operator.get(decide("acknowledge"), {"id": alert.pk})
    Alert.objects.update(handled_by="ann", title="35 dead letters (default)")
    fields = {"id": alert.pk, "reason": "", **versions_on(confirmation)}
    response = operator.post(decide("acknowledge"), fields)
    assert response.status_code == 409
    assert f"Alert {alert.pk}: handled by" in response.text


def test_alert_is_acknowledged_without_typing(operator: Client) -> None:
    alert = fire_alert()
    confirmation = operator.get(decide("acknowledge"), {"id": alert.pk})
    assert "May stay empty" in confirmation.text and "autofocus" not in confirmation.text
    result = operator.post(
        decide("acknowledge"), {"id": alert.pk, "reason": ""} | versions_on(confirmation), follow=True
    )
    assert "1 alert acknowledged." in result.text
    assert audit.parts_of(LogEntry.objects.get()) == audit.AuditParts("Acknowledged.")


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({"length": "240"}, 4),
        ({"length": "other", "until": "2999-01-01T00:00"}, None),
        ({"length": "other"}, None),
    ],
)
def test_snooze_needs_a_valid_end(operator: Client, fields: dict[str, str], hours: int | None) -> None:
    alert = fire_alert()
    entries = {"id": alert.pk, "reason": "Later.", **fields}
    page = f"{decide('snooze')}?id={alert.pk}"
    response = send(operator, decide("snooze"), entries, page=page, follow=True)
    alert_after = Alert.objects.get()
    if hours is None:
        assert "Enter an end for the snooze" in response.text or "Enter the time" in response.text
        assert alert_after.state == "firing"
        return
    assert alert_after.state == "snoozed" and alert_after.snoozed_until and alert_after.handled_at
    assert abs(alert_after.snoozed_until - alert_after.handled_at - timedelta(hours=hours)) < timedelta(
        minutes=1
    )
    assert "Snoozed until" in response.text


def test_selected_alerts_are_resolved_together(operator: Client) -> None:
    for name in ("a", "b", "c"):
        notify.fire(name, Trouble(title=name, severity="warning"))
    ids = list(Alert.objects.values_list("pk", flat=True))
    confirmation = operator.post(LIST, {"action": "resolve_selected", "_selected_action": ids})
    assert "Resolve 3 alerts?" in confirmation.text
    notify.resolve("b")
    entries = {"id": ids, "reason": "All over."} | versions_on(confirmation)
    result = operator.post(decide("resolve"), entries, follow=True)
    assert "2 alerts resolved." in result.text
    assert "1 alert was resolved in the meantime" in result.text
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize("name", ["acknowledge", "snooze", "resolve"])
def test_each_decision_needs_its_own_permission(client: Client, name: str) -> None:
    alert = fire_alert()
    others = {"acknowledge_alert", "snooze_alert", "resolve_alert"} - {f"{name}_alert"}
    client.force_login(people.allowed(*others))
    fields = {"id": str(alert.pk), "reason": "x", "length": "60"}
    assert client.get(decide(name), fields).status_code == 403
    assert client.post(decide(name), fields).status_code == 403
    client.post(LIST, {"action": f"{name}_selected", "_selected_action": [alert.pk]})
    assert Alert.objects.get().state == "firing"
    assert f"operation-{name}" not in client.get(page_of(alert)).text

    client.force_login(people.allowed(f"{name}_alert", name="petra"))
    assert f"operation-{name}" in client.get(page_of(alert)).text
    assert send(client, decide(name), fields, page=f"{decide(name)}?id={alert.pk}").status_code == 302
    assert Alert.objects.get().state != "firing"


def test_pages_are_linked_for_those_who_may_open_them(client: Client, operator: Client) -> None:
    links = [
        ("Job 5a3c91d2", "/admin/jobs/job/5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901/change/"),
        ("Worker w-1", "/admin/jobs/workerheartbeat/w-1/change/"),
        ("An earlier page", "/admin/jobs/lanes/"),
    ]
    alert = fire_alert(links=links, link="/admin/jobs/job/?stale=hung")
    shown = operator.get(page_of(alert)).text
    assert all(f'<a href="{to}">{label}</a>' in shown for label, to in links) and "?stale=hung" in shown
    blind = people.viewer()
    blind.user_permissions.remove(*blind.user_permissions.filter(codename="view_job"))
    client.force_login(User.objects.get(pk=blind.pk))

    shown = client.get(page_of(alert)).text

    assert "Job 5a3c91d2" not in shown and "?stale=hung" not in shown
    assert all(label in shown for label, _ in links[1:])


def test_customers_are_linked_for_those_who_may_see_them_and_not_in_messages(
    client: Client, operator: Client, settings: Any
) -> None:
    settings.OPSCONSOLE_PUBLIC_URL = "https://ops.example.com"
    links = [
        ("Customer ADA & CO", addresses.of_customer("ADA & CO")),
        ("View DLQ", "https://console.aws.amazon.com/"),
    ]
    alert = fire_alert(links=links)
    link = f'<a href="{reverse("customer")}?id=ADA+%26+CO">Customer ADA &amp; CO</a>'
    assert link in operator.get(page_of(alert)).text
    blind = people.viewer()
    blind.user_permissions.remove(*blind.user_permissions.filter(codename="view_job"))
    client.force_login(User.objects.get(pk=blind.pk))
    shown = client.get(page_of(alert)).text
    assert "Customer ADA" not in shown and "View DLQ" in shown
    labels = [label for label, _ in wording._links(Notification.objects.get(), alert)]
    assert "View DLQ" in labels and "Customer ADA & CO" not in labels


def test_timeline_and_messages_are_written_in_sentences(operator: Client) -> None:
    alert = fire_alert()
    page = f"?id={alert.pk}"
    snoozed = {"id": str(alert.pk), "reason": "A part is ordered.", "length": "60"}
    assert send(operator, decide("snooze"), snoozed, page=decide("snooze") + page).status_code == 302
    resolved = {"id": str(alert.pk), "reason": "Mended"}
    assert send(operator, decide("resolve"), resolved, page=decide("resolve") + page).status_code == 302
    shown = operator.get(page_of(alert)).text
    assert " UTC. A part is ordered." in shown
    assert "Resolved manually by olga. No " in shown
    # Newest first, as every timeline.
    assert shown.index("Resolved manually by olga. No ") < shown.index(" UTC. A part is ordered.")

    since = datetime(2026, 11, 24, 19, 2, tzinfo=UTC)
    last = Notification(severity="critical", value=6, threshold=5)
    told = "Value 6, threshold 5, critical, since 2026-11-24 19:02 UTC."
    assert wording.figures(last, Alert(since=since)) == told


def test_invalid_addresses_do_not_fail(operator: Client) -> None:
    assert operator.get(decide("delete")).status_code == 404
    assert "None of the selected alerts is open" in operator.get(decide("resolve"), {"id": "x' or 1"}).text
    for number in ("999999999", "x", "99999999999999999999999999"):
        assert operator.get(reverse("admin:alerts_alert_change", args=[number])).status_code == 302
    led_back = operator.get(reverse("admin:alerts_rule_change", args=["nonsense"]), follow=True)
    assert led_back.redirect_chain == [(reverse("admin:alerts_rule_changelist"), 302)]
    assert "There is no rule with this name." in led_back.text
    assert operator.get(reverse("admin:alerts_rule_edit", args=["nonsense"])).status_code == 404
    assert operator.get(reverse("admin:alerts_channel_change", args=["nonsense"])).status_code == 302


@pytest.mark.usefixtures("rules_without_delay")
def test_number_of_queries_does_not_grow_with_the_timeline(
    operator: Client, slack: FakeSlack, later: Later
) -> None:
    alert = fire_alert()
    counts = []
    for _ in range(2):
        for number in range(8):
            notify.measure(
                "dlq_not_empty", 5, Trouble(title="5 dead letters", news=f"News {number}."), scope="default"
            )
            delivery.deliver()
            later(2)
        counts.append(len(fewest_statements(operator, page_of(alert), before=banner.memory.clear)))
    assert counts[0] == counts[1] < 30


def rule_fields(**changes: Any) -> dict[str, Any]:
    plain = {
        "enabled": "on",
        "threshold": "8",
        "hysteresis": "2",
        "severity": "critical",
        "keep_minutes": "20",
        "remind_hours": "12",
        "news_minutes": "5",
    }
    return {**plain, "reason": "We grew.", **changes}


def test_rule_change_needs_a_reason_and_is_listed(operator: Client) -> None:
    edit = reverse("admin:alerts_rule_edit", args=[RULE])
    refused = send(operator, edit, rule_fields(reason=""))
    assert "Give a reason" in refused.text
    assert "hysteresis must be" in send(operator, edit, rule_fields(hysteresis="9")).text
    assert "reminder interval must be" in send(operator, edit, rule_fields(remind_hours="99999")).text
    assert "keep firing for at most" in send(operator, edit, rule_fields(keep_minutes="1441")).text
    assert "between updates must be" in send(operator, edit, rule_fields(news_minutes="1441")).text
    assert send(operator, edit, rule_fields(threshold="nan")).status_code == 200
    assert rules.by_name(RULE).threshold == 5

    result = send(operator, edit, rule_fields(), follow=True)
    rule = rules.by_name(RULE)
    assert (rule.threshold, rule.hysteresis, rule.severity) == (8, 2, "critical")
    assert rule.reminder_interval == timedelta(hours=12)
    assert (rule.keep_firing_for, rule.news_interval) == (timedelta(minutes=20), timedelta(minutes=5))
    assert "threshold 5 to 8" in result.text and "We grew." in result.text and "olga" in result.text
    assert operator.get(reverse("admin:alerts_rule_changelist")).text.count("olga") >= 1


def test_rule_without_a_threshold_says_where_it_is_set(operator: Client) -> None:
    page = operator.get(reverse("admin:alerts_rule_change", args=["mass_staleness"])).text
    assert "OPSCONSOLE_MASS_STALE_RUNS" in page and 'name="threshold"' not in page
    edit = reverse("admin:alerts_rule_edit", args=["mass_staleness"])
    send(operator, edit, rule_fields(enabled=""))
    assert not rules.by_name("mass_staleness").enabled
    assert rules.by_name("mass_staleness").threshold is None


def test_values_of_a_rule_stand_in_its_unit_and_name_what_they_are_about(operator: Client) -> None:
    notify.measure("dlq_not_empty", 1200, Trouble(title="1,200 dead letters"), scope="default")
    notify.measure("worker_clocks", 0, Trouble(title="No clock is wrong"))
    page = operator.get(reverse("admin:alerts_rule_change", args=["dlq_not_empty"])).text
    assert "Threshold</dt><dd>Above 0 " in page
    assert 'class="long">default</td><td data-label="Value" class="long">1,200 dead letters</td>' in page
    page = operator.get(reverse("admin:alerts_rule_change", args=["worker_clocks"])).text
    assert 'class="long">everything</td><td data-label="Value" class="long">0 workers</td>' in page
    listed = operator.get(reverse("admin:alerts_rule_changelist")).text
    assert "Threshold" in listed and ">Two intervals of the monitor<" in listed


def test_viewer_can_see_but_not_change_rules(client: Client) -> None:
    client.force_login(people.viewer())
    page = client.get(reverse("admin:alerts_rule_change", args=[RULE])).text
    assert "Change the rule" not in page
    assert client.post(reverse("admin:alerts_rule_edit", args=[RULE]), rule_fields()).status_code == 403
    assert rules.by_name(RULE).threshold == 5


def test_channel_test_needs_post_and_a_permission(client: Client, slack: FakeSlack, later: Later) -> None:
    list_url, test = (
        reverse("admin:alerts_channel_changelist"),
        reverse("admin:alerts_channel_test", args=["slack"]),
    )
    client.force_login(people.viewer())
    page = client.get(list_url).text
    assert "Not used yet" in page and slack.url not in page
    assert client.post(test).status_code == 403
    client.force_login(people.allowed("test_channel"))
    assert client.get(test).status_code == 405
    assert "A test message is being sent to slack" in client.post(test, follow=True).text
    delivery.deliver()
    assert "✅ Test: This is a test message." in slack.texts[0]
    page = client.get(reverse("admin:alerts_channel_change", args=["slack"])).text
    assert "Working" in page and "200 ok" in page and "requested by paul" in page
    assert (
        client.post(list_url, {"action": "test_selected", "_selected_action": ["slack"]}).status_code == 302
    )
    assert Delivery.objects.count() == 2
    page = client.get(reverse("admin:alerts_channel_change", args=["slack"])).text
    assert "<dt>Waiting messages</dt><dd>1</dd>" in page
    missing = client.post(reverse("admin:alerts_channel_test", args=["nope"]), follow=True)
    assert "There is no channel" in missing.text


def test_every_page_shows_a_broken_channel_until_a_test_succeeds(
    operator: Client, slack: FakeSlack, later: Later
) -> None:
    slack.replies = [Reply(410, "channel_is_archived")]
    fire_alert()
    delivery.deliver()
    for url in (reverse("admin:index"), LIST, reverse("admin:auth_user_changelist")):
        assert "Alerts no longer reach slack: 410 channel_is_archived." in operator.get(url).text
    page = operator.get(reverse("admin:alerts_channel_changelist")).text
    assert "Broken" in page

    operator.post(reverse("admin:alerts_channel_test", args=["slack"]))
    later(5)
    delivery.deliver()
    banner.memory.clear()
    assert "no longer reach" not in operator.get(LIST).text


def test_banner_needs_the_permission_to_view_channels(client: Client, slack: FakeSlack) -> None:
    addresses = {all_targets()["slack"].digest: Channel.BROKEN}
    Channel.objects.create(name="slack", addresses=addresses, broken_since=Now(), broken_why="410 gone")
    user = people.viewer()
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_channel"))
    client.force_login(User.objects.get(pk=user.pk))
    assert "no longer reach" not in client.get(reverse("admin:index")).text


def test_banner_shows_a_failing_channel_and_a_missing_sender(
    operator: Client, slack: FakeSlack, later: Later
) -> None:
    slack.always = Reply(503)
    fire_alert()
    delivery.deliver()
    assert "have not reached" not in operator.get(LIST).text
    later(700)
    banner.memory.clear()
    assert "Alerts have not reached slack since" in operator.get(LIST).text
    Channel.objects.update(failing_since=None)
    banner.memory.clear()
    assert "Alerts are waiting, but no sender runs." in operator.get(LIST).text


def test_nobody_is_told_where_each_channel_fails_is_broken_or_is_muted(settings: Any) -> None:
    settings.OPSCONSOLE_ALERT_CHANNELS = {
        "slack": "https://hooks.slack.com/services/T/B/x",
        "email": "mailto://ops@example.com?from=console@example.com",
    }
    settings.SLACK_WEBHOOK_URL = ""
    targets = all_targets()
    assert sorted(targets) == ["email", "slack"]
    failing = {"failing_since": Now() - timedelta(hours=1), "last_answer": "503"}
    broken = {"addresses": {targets["email"].digest: Channel.BROKEN}, "broken_why": "550 no such user"}
    muted = {"muted_until": Now() + timedelta(hours=1)}
    Channel.objects.create(name="slack", **failing)
    other = Channel.objects.create(name="email")
    for changes, nobody in (({}, False), (failing, True), (broken, True), (muted, True)):
        Channel.objects.filter(pk=other.pk).delete()
        Channel.objects.create(name="email", **changes)
        banner.memory.clear()
        shown = banner.read()
        assert shown and shown.nobody is nobody, changes
        assert shown.sentence.startswith("Nobody is told about alerts. ") is nobody
    banner.memory.clear()


def test_banner_is_cached(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # It stays in memory, however slow the machine is.
    for seconds in ("CACHE_SECONDS", "JUDGE_EVERY_SECONDS"):
        monkeypatch.setattr(banner, seconds, 3_600)
    operator.get(LIST)
    with CaptureQueriesContext(connection) as captured:
        banner.read()
    assert len(captured) == 0


def test_pages_judge_monitors(operator: Client, later: Later) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    later(3_600)
    assert "sweep has not succeeded for 1 h" in operator.get(LIST).text


def test_monitor_is_forgotten_with_a_reason(operator: Client, client: Client, later: Later) -> None:
    notify.monitor_ok("dlq check of slow", timedelta(minutes=5))
    later(3_600)
    list_url = reverse("admin:alerts_monitor_changelist")
    assert "Late" in operator.get(list_url).text
    fields = {"action": "forget", "_selected_action": ["dlq check of slow"]}
    question = operator.post(list_url, fields)
    assert "The console no longer alerts when a forgotten monitor is late" in question.text
    assert Monitor.objects.exists()
    operator.post(list_url, {**fields, **versions_on(question), "reason": "The queue is gone."})
    assert not Monitor.objects.exists() and not Alert.objects.open().exists()
    assert audit.parts_of(LogEntry.objects.get()) == audit.AuditParts("Forgotten.", "The queue is gone.")


def test_list_of_rules_shows_disabled_rules(operator: Client) -> None:
    send(operator, reverse("admin:alerts_rule_edit", args=[RULE]), rule_fields(enabled=""))
    assert "Off" in operator.get(reverse("admin:alerts_rule_changelist")).text
