"""Tests of the time limit for the statements of pages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.backends.signals import connection_created

from opsconsole import timeouts
from tests import people

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def limited(db: None, settings: Any) -> Iterator[Callable[[], str]]:
    """Limit the statements of the test's connection to 7 s; return how the limit of a statement is asked."""
    settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS = 7
    timeouts.limit_statements()
    connection.close()

    def limit() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting(%s)", ["statement_timeout"])
            return str(cursor.fetchone()[0])

    yield limit
    connection_created.disconnect(timeouts._limit_statements_of)
    connection.execute_wrappers.remove(timeouts._limited)


@pytest.mark.django_db(transaction=True)
def test_limit_belongs_to_the_transaction(limited: Callable[[], str]) -> None:
    assert limited() == "7s"
    with transaction.atomic():
        assert limited() == "7s"
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '2s'")
        assert limited() == "2s"
    assert limited() == "7s"
    connection.connection.execute("SELECT 1")
    assert connection.connection.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
def test_limited_statements_answer_as_usual(limited: Callable[[], str]) -> None:
    user = people.viewer()
    assert type(user).objects.filter(pk=user.pk).update(first_name="Vera 100%") == 1
    assert type(user).objects.get(pk=user.pk).first_name == "Vera 100%"
    assert type(user).objects.bulk_create([type(user)(username=name) for name in "ab"])[1].pk
    with pytest.raises(IntegrityError):
        type(user).objects.create(username="a")
    with connection.cursor() as cursor:
        cursor.executemany("SELECT %s", [(1,), (2,)])
        cursor.execute("SELECT pg_sleep(0)")
        assert cursor.fetchall() == [("",)]


@pytest.mark.django_db(transaction=True)
def test_statement_that_no_transaction_may_contain_runs_without_a_limit(limited: Callable[[], str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX CONCURRENTLY IF EXISTS no_such_index")
    assert limited() == "7s"


@pytest.mark.django_db(transaction=True)
def test_connection_without_a_database_has_no_limit(limited: Callable[[], str]) -> None:
    """Drop a database as Django does at the end of its tests; a limit would make it part of a transaction."""
    assert limited() == "7s"
    with connection._nodb_cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS no_such_database")


def test_no_limit_is_sent_when_it_is_off(db: None, settings: Any) -> None:
    settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS = 0
    timeouts.limit_statements()
    assert timeouts._limit_statements_of not in [receiver[1]() for receiver in connection_created.receivers]


@pytest.mark.parametrize("entry", ["wsgi", "asgi"])
def test_processes_that_serve_pages_are_limited(entry: str) -> None:
    program = (
        f"import opsconsole.{entry}\nfrom django.db import connection\n"
        "with connection.cursor() as cursor:\n    cursor.execute('SHOW statement_timeout')\n    print(cursor.fetchone()[0])"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.split()[-1] == "15s"
