"""How processes notice an edit, and what they go by when the database is away."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_cache
from tests.racing import race

pytestmark = pytest.mark.usefixtures("live_policies")


def later() -> policy_cache.PolicySet:
    policy_cache._state.check_at = 0
    return policy_cache.current()


@pytest.mark.django_db
def test_requests_of_one_second_ask_once(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        for _ in range(50):
            policy_cache.current()
    with django_assert_num_queries(1):
        later()


@pytest.mark.django_db
def test_an_edit_is_noticed_and_leaves_the_others_the_same_objects() -> None:
    before = policy_cache.current()
    Policy.objects.filter(name="strict").update(limit=11)
    after = later()
    assert after.get("strict").limit == 11
    assert after.get("standard") is before.get("standard")
    assert later() is after


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
def test_paths_are_asked_in_the_order_of_their_positions() -> None:
    Policy.objects.create(name="b", limit=1, path_prefixes=["/api/"], position=2)
    Policy.objects.create(name="a", limit=1, path_prefixes=["/api/"], position=2, methods=["POST"])
    Policy.objects.create(name="c", limit=1, path_prefixes=["/"], position=1)
    Policy.objects.create(name="d", limit=1, path_prefixes=["/"], position=0, mode="off")
    found = policy_cache.current().by_path
    assert [terms.name for terms in found if terms.name != "login"] == ["c", "a", "b"]
    assert [terms.name for terms in found if terms.covers("/api/x", "GET")] == ["c", "b"]


@pytest.mark.django_db
def test_presets_hold_also_where_their_rows_are_gone() -> None:
    Policy.objects.all().delete()
    LimiterControl.objects.all().delete()
    assert policy_cache.current().by_name == policy_cache._BUILT_IN.by_name


def test_database_away_at_the_start_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(policy_cache, "_read", away)
        assert policy_cache.current() is policy_cache._BUILT_IN
    known = policy_cache.use_built_in
    known()
    with monkeypatch.context() as patch:
        patch.setattr(policy_cache, "_read", away)
        assert later() is policy_cache._BUILT_IN


@pytest.mark.django_db(transaction=True)
def test_threads_that_come_first_all_wait_for_the_one_that_reads() -> None:
    found = race([policy_cache.current] * 8)
    assert all(each is found[0] for each in found)
