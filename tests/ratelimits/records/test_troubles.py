"""Problems that limiter processes report: on the limiter page, on the overview, and as an alert."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.checks import run_checks
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from alerts import notify
from alerts.models import Alert, Notification
from opsconsole import embedded, overview
from ratelimits import checks, tasks
from ratelimits.admin import trouble_wording
from ratelimits.engine import store
from ratelimits.identity import untrusted_forwarding
from ratelimits.models import LimiterTrouble
from ratelimits.records import troubles
from tests import people
from tests.ratelimits.engine.simulated_store import SECOND, Clock, process

Kind = LimiterTrouble.Kind


def use_store(settings: Settings, url: str | None) -> None:
    settings.OPSCONSOLE_RATE_LIMIT_STORE = url
    store.reset()


@pytest.mark.django_db
@pytest.mark.usefixtures("rules_without_delay")
def test_unavailable_store_raises_an_alert_until_it_answers(client: Client, settings: Settings) -> None:
    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    use_store(settings, "redis://127.0.0.1:1")
    assert store.check("strict", "a").degraded
    for _ in range(2):
        troubles.report()
    assert Alert.objects.open().get().fingerprint == troubles.DEGRADED
    overview.memory.clear()
    assert overview.read().limiter_troubles == (Kind.STORE_AWAY,)
    client.force_login(people.operator())
    page = client.get(reverse("admin:ratelimits_limitercontrol_changelist")).content.decode()
    assert f"does not answer process {troubles.process_name()}" in page
    assert client.get("/readyz").json()["checks"]["database"] == "ok"

    use_store(settings, url)
    troubles.report()
    assert not Alert.objects.open().exists()
    assert not LimiterTrouble.objects.exists()


def test_probe_ends_an_outage() -> None:
    clock = Clock()
    engine = process(clock)
    engine.breaker.record_failure("it was away")
    engine.probe()
    assert engine.degraded
    clock.pass_(5 * SECOND)
    engine.probe()
    assert not engine.degraded


@pytest.mark.usefixtures("rules_without_delay")
@pytest.mark.django_db
def test_alert_ends_with_the_last_process_that_reports_it(settings: Settings) -> None:
    """A killed process no longer reports its problem, but others may still report theirs."""
    use_store(settings, "redis://127.0.0.1:1")
    store.check("strict", "a")
    troubles.report()
    LimiterTrouble.objects.create(kind=Kind.STORE_AWAY, process="other:1", detail="x")
    LimiterTrouble.objects.filter(process=troubles.process_name()).update(
        seen_at=Now() - timedelta(minutes=1)
    )
    tasks.cleanup()
    assert Alert.objects.open().exists()
    LimiterTrouble.objects.update(seen_at=Now() - timedelta(minutes=1))
    tasks.cleanup()
    assert not Alert.objects.open().exists()
    LimiterTrouble.objects.update(seen_at=Now() - timedelta(days=2))
    tasks.cleanup()
    assert not LimiterTrouble.objects.exists()


@pytest.mark.django_db
def test_untrusted_proxy_and_unstated_processes_are_shown_on_the_overview(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(troubles, "_unstated_processes", False)
    troubles.note_processes(multiprocess=False)
    troubles.report()
    assert not LimiterTrouble.objects.exists()
    untrusted_forwarding.note_untrusted("192.0.2.1")
    troubles.note_processes(multiprocess=True)
    troubles.report()
    assert set(LimiterTrouble.objects.present().values_list("kind", flat=True)) == {
        Kind.UNTRUSTED_PROXY,
        Kind.PROCESSES,
    }
    overview.memory.clear()
    findings = overview.of_the_limiter(overview.read())
    assert [finding.sentence for finding in findings] == [
        "An untrusted proxy sends client addresses, which are ignored.",
        "More processes serve than OPSCONSOLE_WEB_PROCESSES says.",
    ]


@pytest.mark.django_db
def test_store_that_evicts_keys_is_shown_until_it_does_not(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    with embedded.start_valkey(tmp_path) as service, redis.Redis.from_url(service.url) as connection:
        use_store(settings, service.url)
        connection.config_set("maxmemory-policy", "volatile-lru")
        troubles.report()
        client.force_login(people.operator())
        page = client.get(reverse("admin:ratelimits_limitercontrol_changelist")).content.decode()
        overview.memory.clear()
        findings = [finding.sentence for finding in overview.of_the_limiter(overview.read())]
        warnings = [message.id for message in run_checks(tags=["opsconsole"], include_deployment_checks=True)]
        connection.config_set("maxmemory-policy", "noeviction")
        troubles.report()

        assert "maxmemory-policy is volatile-lru" in page
        assert findings == ["The rate limit store deletes counts when its memory is full."]
        assert "ratelimits.W001" in warnings
        assert not LimiterTrouble.objects.exists()
        assert checks.check_store(None) == []


@pytest.mark.parametrize(
    ("url", "processes", "errors"), [(None, 2, ["ratelimits.E001"]), (None, 1, []), ("redis://x", 9, [])]
)
def test_check_refuses_several_processes_without_a_shared_store(
    settings: Settings, url: str | None, processes: int, errors: list[str]
) -> None:
    settings.OPSCONSOLE_RATE_LIMIT_STORE, settings.OPSCONSOLE_WEB_PROCESSES = url, processes
    assert [error.id for error in checks.check_limiter(None)] == errors


def test_check_refuses_a_missing_or_misplaced_middleware(settings: Settings) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != checks.MIDDLEWARE]
    assert [error.id for error in checks.check_limiter(None)] == ["ratelimits.E002"]
    settings.MIDDLEWARE = [checks.MIDDLEWARE, *settings.MIDDLEWARE]
    assert [error.id for error in checks.check_limiter(None)] == ["ratelimits.E002"]


def test_single_process_without_a_store_is_not_degraded(settings: Settings) -> None:
    use_store(settings, None)
    decisions = [store.check("strict", "a") for _ in range(11)]
    assert [decision.allowed for decision in decisions] == [True] * 10 + [False]
    assert not any(decision.degraded for decision in decisions)


@pytest.mark.django_db
def test_store_that_comes_and_goes_is_one_alert(settings: Settings) -> None:
    """Each time that it went, and each time that it came back, there was a message."""
    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    for _ in range(3):
        use_store(settings, "redis://127.0.0.1:1")
        assert store.check("strict", "a").degraded
        troubles.report()
        use_store(settings, url)
        troubles.report()
    assert list(Notification.objects.values_list("kind", flat=True)) == ["firing"]


@pytest.mark.django_db
def test_process_without_problems_asks_the_database_once(
    settings: Settings, django_assert_num_queries: Callable[[int], AbstractContextManager[Any]]
) -> None:
    """It reports every few seconds. The first report removes what an earlier process of the same name has left."""
    for kind in (Kind.STORE_AWAY, Kind.EVICTION):
        LimiterTrouble.objects.create(kind=kind, process=troubles.process_name(), detail="x")
    troubles.report()
    assert not LimiterTrouble.objects.exists()
    with django_assert_num_queries(0):
        troubles.report()

    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    use_store(settings, "redis://127.0.0.1:1")
    store.check("strict", "a")
    troubles.report()
    assert LimiterTrouble.objects.get().kind == Kind.STORE_AWAY
    use_store(settings, url)
    troubles.report()
    assert not LimiterTrouble.objects.exists(), "what it reported itself is removed"


@pytest.mark.django_db
def test_removal_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    LimiterTrouble.objects.create(kind=Kind.STORE_AWAY, process=troubles.process_name(), detail="x")

    def fail(_fingerprint: str) -> None:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patch:
        patch.setattr(notify, "clear", fail)
        with pytest.raises(OperationalError):
            troubles.report()
    assert LimiterTrouble.objects.exists()
    troubles.report()
    assert not LimiterTrouble.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (lambda: untrusted_forwarding.note_untrusted("10.0.0.3"), "ratelimits.E004"),
        (lambda: untrusted_forwarding.note_untrusted(None), "ratelimits.E004"),
        (lambda: untrusted_forwarding.note_untrusted("8.8.8.8"), "ratelimits.W002"),
        (lambda: untrusted_forwarding.note_unread("10.0.0.3", "x-real-ip"), "ratelimits.E005"),
    ],
)
def test_check_refuses_proxies_that_were_seen_and_not_named(note: Callable[[], None], expected: str) -> None:
    assert checks.check_seen_proxies(["default"]) == []
    note()
    troubles.report()

    assert [message.id for message in checks.check_seen_proxies(["default"])] == [expected]
    assert checks.check_seen_proxies(None) == []
    LimiterTrouble.objects.update(seen_at=Now() - timedelta(hours=25))
    assert checks.check_seen_proxies(["default"]) == []


def test_check_refuses_trust_in_everybody(settings: Settings) -> None:
    assert checks.check_trusted_networks(None) == []
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("0.0.0.0/0", "10.0.0.0/8")
    [refused] = checks.check_trusted_networks(None)
    assert refused.id == "ratelimits.E003" and "0.0.0.0/0" in refused.msg


def test_each_problem_has_a_sentence_and_one_of_a_later_version_is_shown_as_it_is() -> None:
    def words(kind: str) -> str:
        return trouble_wording.in_words(LimiterTrouble(kind=kind, process="web-1:7", detail="10.0.0.9"))

    assert not any(words(kind).startswith(kind) for kind in Kind)
    assert all("web-1:7" in words(kind) for kind in Kind)
    assert words("sun") == "sun: 10.0.0.9 (reported by process web-1:7)."
