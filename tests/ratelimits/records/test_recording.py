"""The cleanup of records older than an hour, in its Python and its SQL form."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from ratelimits.models import RateLimitRequest
from ratelimits.records import recording
from tests.racing import race

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
MOMENT = timedelta(microseconds=1)


def by_sql() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT cleanup_rate_limit_requests()")
        return int(cursor.fetchone()[0])


def add(count: int, age: timedelta) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rate_limit_requests (key, endpoint, method, created_at)"
            " SELECT 'key-' || n, '/', 'GET', statement_timestamp() - make_interval(secs => %s)"
            " FROM generate_series(1, %s) AS n",
            [age.total_seconds(), count],
        )


@pytest.fixture(params=[recording.cleanup, by_sql], ids=["python", "sql"])
def cleanup(request: pytest.FixtureRequest) -> Callable[[], int]:
    answer: Callable[[], int] = request.param
    return answer


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("age", "deleted"), [(2 * HOUR, 1), (HOUR + MOMENT, 1), (HOUR - MINUTE, 0), (-HOUR, 0)]
)
def test_cleanup_deletes_records_older_than_an_hour(
    cleanup: Callable[[], int], age: timedelta, deleted: int
) -> None:
    add(1, age)
    assert cleanup() == deleted
    assert RateLimitRequest.objects.count() == 1 - deleted


@pytest.mark.django_db
@pytest.mark.parametrize(
    "count", [0, 1, recording.BATCH - 1, recording.BATCH, recording.BATCH + 1, 2 * recording.BATCH]
)
def test_cleanup_deletes_full_and_partial_batches(cleanup: Callable[[], int], count: int) -> None:
    add(count, 2 * HOUR)
    add(3, HOUR / 2)
    assert cleanup() == count
    assert RateLimitRequest.objects.count() == 3
    assert cleanup() == 0


@pytest.mark.django_db(transaction=True)
def test_concurrent_cleanups_skip_locked_rows(cleanup: Callable[[], int]) -> None:
    add(3 * recording.BATCH, 2 * HOUR)
    with transaction.atomic():
        locked = RateLimitRequest.objects.select_for_update().order_by("pk")[:1].get()
        deleted = race([cleanup] * 3)
    assert sum(deleted) == 3 * recording.BATCH - 1
    assert RateLimitRequest.objects.get().pk == locked.pk


@pytest.mark.django_db
def test_row_with_only_contract_columns_counts_one_request() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO rate_limit_requests (key, endpoint, method) VALUES ('k', '/', 'GET')")
    row = RateLimitRequest.objects.get()
    assert (row.hits, row.outcome, row.policy) == (1, "", "")
    assert row.id is not None


@pytest.mark.django_db
def test_function_is_not_public_and_has_a_fixed_search_path() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proconfig, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc"
            " WHERE proname = 'cleanup_rate_limit_requests'"
        )
        assert cursor.fetchall() == [(["search_path=pg_catalog, opsconsole, pg_temp"], False)]


@pytest.mark.django_db
def test_command_prints_the_number_of_deleted_records() -> None:
    add(2, 2 * HOUR)
    output = StringIO()
    call_command("cleanup_rate_limits", stdout=output)
    assert output.getvalue() == "Deleted 2 rate limit records older than an hour.\n"
