"""The policy cache: noticing edits, and outages of the database."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_cache
from tests import limiter_state
from tests.racing import race

pytestmark = pytest.mark.usefixtures("live_policies")


def current_after_check() -> policy_cache.PolicySet:
    policy_cache._state.check_at = 0
    return policy_cache.current()


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no second pass, however slow the machine is."""
    at = time.monotonic()
    monkeypatch.setattr(policy_cache, "time", SimpleNamespace(monotonic=lambda: at))


@pytest.mark.django_db
@pytest.mark.usefixtures("stopped_clock")
def test_policies_are_read_once_per_second(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        for _ in range(50):
            policy_cache.current()
    with django_assert_num_queries(1):
        current_after_check()


@pytest.mark.django_db
@pytest.mark.usefixtures("stopped_clock")
def test_background_reads_only_while_requests_come_and_the_next_one_reads_by_itself(
    django_assert_num_queries: Any,
) -> None:
    assert policy_cache.current().get("strict").limit != 11
    with django_assert_num_queries(1):
        policy_cache.refresh_while_in_use()
    policy_cache._state.asked_at -= policy_cache.QUIET_SECONDS
    with django_assert_num_queries(0):
        policy_cache.refresh_while_in_use()
    Policy.objects.filter(name="strict").update(limit=11)
    assert current_after_check().get("strict").limit == 11
    with django_assert_num_queries(1):
        policy_cache.refresh_while_in_use()


@pytest.mark.django_db
def test_edit_is_noticed_and_keeps_the_objects_of_other_policies() -> None:
    before = policy_cache.current()
    Policy.objects.filter(name="strict").update(limit=11)
    after = current_after_check()
    assert after.get("strict").limit == 11
    assert after.get("standard") is before.get("standard")
    assert current_after_check() is after


@pytest.mark.django_db
def test_every_kind_of_write_raises_the_version() -> None:
    versions = [LimiterControl.load().version]
    for write in (
        lambda: Policy.objects.create(name="new", limit=1),
        lambda: Policy.objects.filter(name="new").update(limit=2),
        lambda: Policy.objects.filter(name="new").delete(),
        lambda: LimiterControl.objects.update(mode="off"),
    ):
        write()
        versions.append(LimiterControl.load().version)
    assert versions == sorted(set(versions))


@pytest.mark.django_db
def test_policies_are_ordered_by_position() -> None:
    Policy.objects.create(name="b", limit=1, path_prefixes=["/api/"], position=2)
    Policy.objects.create(name="a", limit=1, path_prefixes=["/api/"], position=2, methods=["POST"])
    Policy.objects.create(name="c", limit=1, path_prefixes=["/"], position=1)
    Policy.objects.create(name="d", limit=1, path_prefixes=["/"], position=0, mode="off")
    policies = policy_cache.current().by_path
    assert [policy.name for policy in policies if policy.name != "login"] == ["c", "a", "b"]
    assert [policy.name for policy in policies if policy.covers("/api/x", "GET")] == ["c", "b"]


@pytest.mark.django_db
def test_presets_apply_even_if_their_rows_are_missing() -> None:
    Policy.objects.all().delete()
    LimiterControl.objects.all().delete()
    assert policy_cache.current().by_name == policy_cache._BUILT_IN.by_name


def test_last_known_policies_apply_while_the_database_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(policy_cache, "_read", fail)
        assert policy_cache.current() is policy_cache._BUILT_IN
    limiter_state.use_built_in()
    with monkeypatch.context() as patch:
        patch.setattr(policy_cache, "_read", fail)
        assert current_after_check() is policy_cache._BUILT_IN


@pytest.mark.django_db(transaction=True)
def test_first_threads_wait_for_the_one_that_reads() -> None:
    sets = race([policy_cache.current] * 8)
    assert all(each is sets[0] for each in sets)


@pytest.mark.django_db(transaction=True)
def test_edit_during_a_read_fails_nobody_and_is_seen_by_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads, edited = threading.Event(), threading.Event()
    read = policy_cache._read

    def read_before_the_edit(cached: policy_cache.PolicySet | None) -> policy_cache.PolicySet:
        policies = read(cached)
        reads.set()
        assert edited.wait(10)
        return policies

    def edit() -> policy_cache.PolicySet:
        assert reads.wait(10)
        monkeypatch.setattr(policy_cache, "_read", read)
        Policy.objects.create(name="new", limit=11)
        policy_cache.clear()
        edited.set()
        return policy_cache.current()

    monkeypatch.setattr(policy_cache, "_read", read_before_the_edit)
    _, after = race([policy_cache.current, edit])
    assert after.get("new").limit == 11


@pytest.mark.django_db
def test_request_beside_an_edit_keeps_the_policies_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    before = policy_cache.current()
    policy_cache._state.check_at = 0

    # Another thread reads them already, and an edit clears them.
    def clear(*, wait: bool) -> None:
        assert not wait
        policy_cache.clear()

    monkeypatch.setattr(policy_cache, "refresh", clear)
    assert policy_cache.current() is before
