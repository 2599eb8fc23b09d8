"""Tests of processes that stop waiting for a database that does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from opsconsole.kit import answer_limit
from opsconsole.kit.answer_limit import AnswerLimit
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from tests.waiting import wait_until

SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep(5)%' AND state = 'active'"
)


@pytest.mark.django_db(transaction=True)
def test_answer_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_limit, "MARGIN_SECONDS", 0.5)
    monkeypatch.setattr(answer_limit, "_of_process", AnswerLimit(1.5))
    connection.close()
    with connection.cursor() as cursor:
        for _ in range(5):
            cursor.execute("SELECT 2, pg_sleep(0.3)::text")
            assert cursor.fetchone() == (2, ""), "answers in time end nothing, however many"
        with pytest.raises(OperationalError) as raised:
            cursor.execute("SELECT pg_sleep(5)")
    assert str(raised.value).startswith("no answer came in 2 s")
    assert trouble_behind(raised.value) is Trouble.AWAY
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 3")
        assert cursor.fetchone() == (3,)

    def sleeps() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(SLEEPING)
            return bool(cursor.fetchone()[0])

    # The server notices only when it answers.
    wait_until(lambda: not sleeps(), timeout=30)


def test_process_that_asks_nothing_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_limit, "LOOK_EVERY_SECONDS", 0.01)
    limit = AnswerLimit(1.5)

    class Session:
        def wait(self) -> bool:
            return limit._asking.is_set()

    session: Any = Session()
    limit.guard(session)
    for _ in range(3):
        assert session.wait(), "the thread looks while somebody waits for an answer"
        wait_until(lambda: not limit._asking.is_set(), timeout=30)
