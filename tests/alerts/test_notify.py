"""Alerts as duties report them: opened, updated, resolved, and committed with the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from alerts import notify
from alerts.models import Alert
from alerts.notify import Trouble
from alerts.rules import UnknownRule
from tests.racing import race

if TYPE_CHECKING:
    from django.test import Client


def fire(title: str = "22 runs went silent", **content: Any) -> None:
    notify.fire("mass-staleness", Trouble(title=title, severity="critical", **content))


@pytest.mark.django_db
def test_firing_again_updates_the_open_alert() -> None:
    fire(value=22)
    first = Alert.objects.get()
    fire("23 runs went silent", value=23, threshold=20, summary="Look.", link="/admin/jobs/job/")
    again = Alert.objects.get()
    assert (again.pk, again.since) == (first.pk, first.since)
    assert (again.title, again.value, again.threshold) == ("23 runs went silent", 23, 20)
    assert (again.summary, again.link, again.state) == ("Look.", "/admin/jobs/job/", "firing")


@pytest.mark.django_db(transaction=True)
def test_firing_again_updates_the_time_last_seen() -> None:
    fire()
    fire()
    alert = Alert.objects.get()
    assert alert.last_seen_at > alert.since


@pytest.mark.django_db
def test_acknowledged_alert_stays_acknowledged() -> None:
    fire()
    Alert.objects.update(state=Alert.State.ACKNOWLEDGED)
    fire(value=23)
    assert Alert.objects.get().state == Alert.State.ACKNOWLEDGED


@pytest.mark.django_db
def test_firing_after_a_resolution_opens_a_new_alert() -> None:
    fire()
    assert notify.resolve("mass-staleness")
    resolved = Alert.objects.get()
    assert resolved.state == Alert.State.RESOLVED
    assert resolved.resolved_at is not None
    assert not notify.resolve("mass-staleness")
    fire()
    assert Alert.objects.open().get().pk != resolved.pk
    assert Alert.objects.count() == 2


@pytest.mark.django_db
def test_each_fingerprint_has_its_own_alert() -> None:
    fire()
    notify.fire("dlq:default", Trouble(title="1 dead letter", severity="warning"))
    assert notify.resolve("dlq:default")
    assert Alert.objects.open().get().fingerprint == "mass-staleness"


@pytest.mark.django_db
def test_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        notify.fire("x", Trouble(title="x", severity="loud"))
    assert not Alert.objects.exists()


@pytest.mark.django_db
def test_alert_is_rolled_back_with_the_transaction_that_raised_it() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        fire()
        raise ZeroDivisionError
    assert not Alert.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_firing_opens_one_alert() -> None:
    for _ in range(10):
        race([fire] * 6)
        assert Alert.objects.open().count() == 1
        assert sorted(race([lambda: notify.resolve("mass-staleness")] * 3)) == [False, False, True]


@pytest.mark.django_db
def test_database_refuses_a_resolved_alert_without_a_time() -> None:
    fire()
    with pytest.raises(IntegrityError, match="alerts_resolved_has_a_time"), transaction.atomic():
        Alert.objects.update(state=Alert.State.RESOLVED)


@pytest.mark.django_db
def test_pages_escape_texts_and_change_nothing(admin_client: Client) -> None:
    fire("<script>alert(1)</script>")
    page = admin_client.get(reverse("admin:alerts_alert_changelist"))
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert(1)" not in page.text
    change = reverse("admin:alerts_alert_change", args=[Alert.objects.get().pk])
    assert admin_client.post(change, {"title": "quiet"}).status_code == 405
    assert admin_client.get(reverse("admin:alerts_alert_add")).status_code == 403


@pytest.mark.django_db
@pytest.mark.usefixtures("rules_without_delay")
def test_value_above_the_threshold_fires_and_far_enough_below_resolves() -> None:
    for value, open_alerts in ((5, 0), (6, 1), (5, 1), (6, 1), (4, 0)):
        notify.measure("stale_jobs_day", value)
        assert Alert.objects.open().count() == open_alerts, value
    assert Alert.objects.get().value == 4


@pytest.mark.django_db
def test_each_scope_has_its_own_alert() -> None:
    notify.measure("dlq_not_empty", 1, scope="default")
    notify.measure("dlq_not_empty", 0, scope="slow")
    assert Alert.objects.get().fingerprint == "dlq_not_empty:default"


@pytest.mark.django_db
def test_unknown_value_resolves_nothing() -> None:
    notify.measure("dlq_not_empty", 5, scope="default")
    notify.measure("dlq_not_empty", None, scope="default", why_unknown="AccessDenied")
    alert = Alert.objects.get()
    assert alert.open and alert.unknown_since and alert.unknown_why == "AccessDenied"
    assert alert.value == 5
    notify.measure("dlq_not_empty", 5, scope="default")
    assert Alert.objects.get().unknown_since is None


@pytest.mark.django_db
def test_unknown_rule_is_refused() -> None:
    with pytest.raises(UnknownRule, match=r"There is no rule 'dlq'\. Rules: "):
        notify.measure("dlq", 1)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["x" * 2**20, "😀" * 2**20, "a\x00b", "\ud83d", "<!channel>"])
def test_any_text_can_be_stored(text: str) -> None:
    content: dict[str, Any] = {
        "title": text,
        "summary": text,
        "facts": [(text, text)] * 30,
        "links": [(text, text)],
    }
    notify.measure("dlq_not_empty", 5, Trouble(news=text, **content))
    notify.measure("dlq_not_empty", 6, Trouble(news=text, **content))
    notify.measure("dlq_not_empty", None, why_unknown=text)
    alert = Alert.objects.get()
    assert len(alert.title) <= 300 and len(alert.summary) <= 3_000 and len(alert.facts) == 20
