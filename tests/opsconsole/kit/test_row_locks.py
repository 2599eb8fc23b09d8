"""Tests of row locks: weaker than a foreign key's, never waiting for long, and taken in one place only."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from jobs.models import Job
from opsconsole.kit import row_locks
from tests.factories import run
from tests.lock_waits import waits_in_vain
from tests.other_sessions import OtherSession, other_session
from tests.repository import REPOSITORY, tracked

WORKER = "clients/python/src/opsconsole_worker"
# One for querysets, and the clauses for statements.
HELPERS = {REPOSITORY / "opsconsole/kit/row_locks.py", REPOSITORY / WORKER / "database/row_locks.py"}
PRODUCT = ("opsconsole/**", "jobs/**", "alerts/**", "ratelimits/**", "clients/**", "manage.py")

# An expression that locks rows: a method of Django's, or a clause of SQL. Rows that are then deleted are another matter.
BY_DJANGO = re.compile(r"\bselect_for_update\(|\bupdate_or_create\(")
TOO_STRONG = re.compile(r"\bFOR\s+(UPDATE|SHARE)\b")
ANY_CLAUSE = re.compile(r"\bFOR\s+(NO\s+KEY\s+)?(UPDATE|SHARE)\b|\bSKIP\s+LOCKED\b|\bNOWAIT\b")
# Migrations are written once and for all. This one locks expired rows in order to delete them.
DELETES = REPOSITORY / "ratelimits" / "migrations" / "0003_functions_and_triggers.py"


def test_rows_are_locked_through_one_helper_only() -> None:
    others = [path for path in tracked(*(f"{place}.py" for place in PRODUCT)) if path not in HELPERS]
    assert len(others) > 100
    found = [f"{path.relative_to(REPOSITORY)}:{line}" for path in others for line in _lines_that_lock(path)]
    assert found == [], "Lock rows by opsconsole.kit.row_locks."


def test_no_sql_of_the_product_or_its_documentation_locks_more_than_it_changes() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for path in tracked("*.sql", "*.md", "clients/*")
        for match in TOO_STRONG.finditer(path.read_text(errors="replace"))
        if path.name != "CHANGELOG.md"
    ]
    assert found == [], "Write FOR NO KEY UPDATE."


def _lines_that_lock(path: Any) -> Iterator[int]:
    """Yield the lines of calls and of strings (except docstrings) that lock rows. SQL functions of migrations may."""
    text = path.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        if BY_DJANGO.search(line) and "``" not in line:
            yield number
    if path == DELETES:
        return
    clause = TOO_STRONG if path.parent.name == "migrations" else ANY_CLAUSE
    tree = ast.parse(text)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings and clause.search(str(node.value)):
            yield node.lineno


@pytest.fixture
def job() -> Job:
    return run()


@pytest.fixture
def other(job: Job) -> Iterator[OtherSession]:
    with other_session() as session:
        yield session


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lock", [row_locks.locked, row_locks.locked_if_free, row_locks.locked_at_once])
def test_a_row_is_locked_although_an_open_transaction_refers_to_it(
    job: Job, other: OtherSession, lock: Callable[[Any], Any]
) -> None:
    other.execute("SELECT FROM jobs WHERE id = %s FOR KEY SHARE", [job.pk])  # As a foreign key does.
    with transaction.atomic():
        assert [row.pk for row in lock(Job.objects.all())] == [job.pk]


@pytest.mark.django_db(transaction=True)
def test_a_locked_row_is_waited_for_until_the_limit(job: Job, other: OtherSession) -> None:
    other.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [job.pk])
    with waits_in_vain() as waits, pytest.raises(OperationalError) as caught, transaction.atomic():
        row_locks.locked(Job.objects.all(), wait=timedelta(milliseconds=200)).get()
    assert row_locks.waited_in_vain(caught.value)
    assert waits == [200]


@pytest.mark.django_db(transaction=True)
def test_a_locked_row_is_left_out_or_refused_at_once(job: Job, other: OtherSession) -> None:
    free = run()
    other.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [job.pk])
    with transaction.atomic():
        assert list(row_locks.locked_if_free(Job.objects.all())) == [free]
    with pytest.raises(OperationalError) as caught, transaction.atomic():
        list(row_locks.locked_at_once(Job.objects.all()))
    assert row_locks.waited_in_vain(caught.value)


@pytest.mark.django_db(transaction=True)
def test_the_limit_ends_with_the_transaction_and_is_never_off() -> None:
    usual = _setting("lock_timeout")
    with transaction.atomic():
        row_locks.limit_waits()
        assert _setting("lock_timeout") == "3s"
        row_locks.limit_waits(timedelta(0))
        assert _setting("lock_timeout") == "1ms"
    assert _setting("lock_timeout") == usual


def _setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_a_budget_is_spent_once_and_leaves_the_usual_limit_of_statements(
    job: Job, other: OtherSession
) -> None:
    free = run()
    other.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [job.pk])
    budget = row_locks.WaitBudget(timedelta(milliseconds=300))
    with transaction.atomic():
        usual = _setting("statement_timeout")
        with waits_in_vain() as waits:
            for _ in range(2):
                assert budget.lock(Job.objects.order_by("pk")) == [free]
        assert waits == [300]
        assert _setting("statement_timeout") == usual
        assert _setting("lock_timeout") == "1ms"
    assert not budget.left


@pytest.mark.django_db(transaction=True)
def test_a_budget_that_met_no_lock_is_hardly_touched(job: Job) -> None:
    budget = row_locks.WaitBudget(timedelta(minutes=1))
    with transaction.atomic():
        usual = _setting("statement_timeout")
        assert budget.lock(Job.objects.all()) == [job]
        assert _setting("statement_timeout") == usual
    assert budget.left > timedelta(seconds=30)
