"""Tests of plans that the sessions behind a pooler keep: whichever session serves, a statement does what its text says."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import cycle
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from pytest_django.fixtures import Settings

from opsconsole_worker.database import door
from opsconsole_worker.database.shared_plans import MOST_MISSES, USELESS, SharedPlans
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

DOUBLE = "SELECT %(number)s::int * 2, '100%%'"
KEPT = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE name LIKE 'opsconsole%'"
ADA = Worker("ada")


class Pooler:
    """Sessions of the server that take turns, as a pooler may let them. ``sent`` is what arrived."""

    def __init__(self, sessions: list[psycopg.Connection[Any]], *, empties: bool = False) -> None:
        self.sessions = sessions
        self.empties = empties
        self.sent: list[str] = []
        self._turn = cycle(sessions)

    def send(self, statements: str, parameters: Mapping[str, Any]) -> list[door.Rows]:
        session = next(self._turn)
        self.sent.append(statements)
        try:
            cursor = session.execute(statements, parameters)
            rows = [cursor.fetchall() if cursor.description else []]
            while cursor.nextset():
                rows.append(cursor.fetchall() if cursor.description else [])
            return rows
        finally:
            if self.empties:
                session.execute("DEALLOCATE ALL")

    def client(self) -> SharedPlans:
        return SharedPlans(self.send, (psycopg.Error,))

    def plans_used(self) -> list[int]:
        return [sum(times for (times,) in session.execute(KEPT)) for session in self.sessions]


@pytest.fixture
def sessions() -> Iterator[list[psycopg.Connection[Any]]]:
    described = connections["default"].get_connection_params()
    address = {name: described[name] for name in ("host", "port", "user", "dbname") if name in described}
    with ExitStack() as opened:
        yield [
            opened.enter_context(
                psycopg.connect(
                    **address,
                    autocommit=True,
                    prepare_threshold=None,
                    cursor_factory=psycopg.ClientCursor,
                )
            )
            for _ in range(2)
        ]


def test_clients_share_the_plan_of_a_session(sessions: list[psycopg.Connection[Any]]) -> None:
    pooler = Pooler(sessions[:1])
    clients = [pooler.client(), pooler.client()]
    for number in range(3):
        for client in clients:
            assert client.run(DOUBLE, {"number": number, "unused": None}) == [(number * 2, "100%")]
    assert pooler.plans_used() == [6]
    # The first one found nothing and prepared it.
    assert len(pooler.sent) == 7


def test_any_session_may_serve_any_transaction(sessions: list[psycopg.Connection[Any]]) -> None:
    """A statement is missing here, is prepared there, is there already: it is answered once each time."""
    first, second = sessions
    pooler = Pooler([first, second, second, first, first])
    clients = [pooler.client() for _ in range(3)]
    for number in range(12):
        assert clients[number % 3].run(DOUBLE, {"number": number}) == [(number * 2, "100%")]
    assert all(pooler.plans_used())
    assert pooler.sent[-1].startswith("EXECUTE ")


def test_statement_that_another_client_has_just_prepared_is_sent_as_text(
    sessions: list[psycopg.Connection[Any]],
) -> None:
    first, second = sessions
    Pooler([second]).client().run(DOUBLE, {"number": 1})
    pooler = Pooler([first, second, first])
    assert pooler.client().run(DOUBLE, {"number": 4}) == [(8, "100%")]
    assert [sent.split()[0] for sent in pooler.sent] == ["EXECUTE", "PREPARE", "SELECT"]


def test_pooler_that_empties_its_sessions_is_told_of_once_and_gets_text(
    sessions: list[psycopg.Connection[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    pooler = Pooler(sessions[:1], empties=True)
    client = pooler.client()
    with caplog.at_level(logging.WARNING, logger="opsconsole.activity"):
        for number in range(MOST_MISSES + 5):
            assert client.run(DOUBLE, {"number": number}) == [(number * 2, "100%")]
    assert caplog.messages == [USELESS]
    assert pooler.sent[-5:] == [DOUBLE] * 5


def test_type_that_is_unknown_without_its_value_is_sent_as_text(
    sessions: list[psycopg.Connection[Any]],
) -> None:
    pooler, statement = Pooler(sessions[:1]), "SELECT jsonb_build_array(%(thing)s)"
    client = pooler.client()
    for _ in range(2):
        assert client.run(statement, {"thing": 5}) == [([5],)]
    assert pooler.sent[-1] == statement
    assert pooler.plans_used() == [0]


def test_error_of_the_statement_itself_is_raised_once(sessions: list[psycopg.Connection[Any]]) -> None:
    pooler = Pooler(sessions[:1])
    client = pooler.client()
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            client.run("SELECT 1 / %(number)s::int", {"number": 0})
    # What was prepared in a transaction outlasts its rollback.
    assert [sent.split()[0] for sent in pooler.sent] == ["EXECUTE", "PREPARE", "EXECUTE"]


def test_heartbeats_of_the_console_keep_their_plan_where_the_operator_says_so(settings: Settings) -> None:
    settings.OPSCONSOLE_POOLER_KEEPS_PLANS = True
    job = lifecycle.claim(factories.job().pk, 1, ADA)
    assert not isinstance(job, lifecycle.Refused)

    def kept() -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(KEPT)
            return [times for (times,) in cursor.fetchall()]

    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    try:
        for _ in range(3):
            assert heartbeats.beat(ADA, job.id, job.epoch) is Verdict.GO_ON
        assert kept() == [3]
        # A miss would end the transaction of the caller.
        with transaction.atomic():
            assert heartbeats.beat(ADA, job.id, job.epoch) is Verdict.GO_ON
        assert kept() == [3]
        assert lifecycle.complete(lifecycle.Run(job.id, job.epoch, ADA))
        assert heartbeats.beat(ADA, job.id, job.epoch) is Verdict.SUPERSEDED
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
