"""The hourly rollups of deleted records, by the Python and the SQL form of the cleanup."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Now

from ratelimits.models import LimiterControl, RateLimitHour, RateLimitRequest
from ratelimits.models.hour import hash_key
from ratelimits.records import recording
from tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
OLD = datetime(2026, 1, 2, 10, 0, tzinfo=UTC)


def by_sql() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cleanup_rate_limit_requests()")
        return int(cursor.fetchone()[0])


@pytest.fixture(params=[recording.cleanup, by_sql], ids=["python", "sql"])
def cleanup(request: pytest.FixtureRequest) -> Callable[[], int]:
    answer: Callable[[], int] = request.param
    return answer


@pytest.fixture(autouse=True)
def _control() -> None:
    LimiterControl.objects.get_or_create(pk=1, defaults={"salt": "pepper"})


def add(
    at: Any, hits: int = 1, key: str = "address:a", outcome: str = "allowed", endpoint: str = "/x"
) -> None:
    RateLimitRequest.objects.create(
        key=key, endpoint=endpoint, method="GET", created_at=at, hits=hits, outcome=outcome, policy="standard"
    )


def test_deleted_rows_are_counted_per_hour(cleanup: Callable[[], int]) -> None:
    # One instant: with the clock's, an hour might end between two rows.
    recently = datetime.now(UTC) - 2 * HOUR
    add(recently, 3)
    add(recently, 4)
    add(recently, 5, outcome="limited")
    add(recently, 6, key="address:b")
    add(Now(), 100)
    assert cleanup() == 4
    assert sorted(RateLimitHour.objects.values_list("hits", flat=True)) == [5, 6, 7]
    of_client = RateLimitHour.objects.filter(key_hash=hash_key("address:a"))
    assert sorted(of_client.values_list("outcome", "hits")) == [
        ("allowed", 7),
        ("limited", 5),
    ]
    hashes = set(RateLimitHour.objects.values_list("key_hash", flat=True))
    assert len(hashes) == 2 and all(len(each) == 64 for each in hashes)
    add(recently, 10)
    cleanup()
    assert of_client.get(outcome="allowed").hits == 17


def test_hours_are_in_utc_and_kept_for_ninety_days(cleanup: Callable[[], int]) -> None:
    add(OLD + timedelta(minutes=59, seconds=59))
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'Asia/Kathmandu'")
        assert cleanup() == 1
        cursor.execute("SET TIME ZONE 'UTC'")
    # The row is older than ninety days, so the same run deleted it. A younger row stays.
    assert not RateLimitHour.objects.exists()
    for age in (timedelta(days=90, minutes=1), timedelta(days=89)):
        RateLimitHour.objects.create(
            hour=Now() - age, policy="p", key_hash="h", endpoint="/", method="GET", outcome="allowed", hits=1
        )
    cleanup()
    assert RateLimitHour.objects.count() == 1


def test_rows_with_extreme_values_are_deleted_too(cleanup: Callable[[], int]) -> None:
    add(Now() - 2 * HOUR, endpoint="/" + "x" * 20_000, key="k" * 20_000)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rate_limit_requests (key, endpoint, method, created_at) VALUES ('', '', '', '-infinity')"
        )
    assert cleanup() == 2
    assert not RateLimitRequest.objects.exists()


def test_concurrent_cleanups_count_each_row_once(cleanup: Callable[[], int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rate_limit_requests (key, endpoint, method, policy, created_at)"
            " SELECT 'address:' || n %% 50, '/x', 'GET', 'p', statement_timestamp() - interval '2 hours'"
            " FROM generate_series(1, %s) AS n",
            [recording.BATCH + 500],
        )
    deleted = race([cleanup, recording.cleanup, by_sql])
    assert sum(deleted) == recording.BATCH + 500
    assert RateLimitHour.objects.aggregate(all=Sum("hits"))["all"] == recording.BATCH + 500
