"""A note that a worker repeats while the server still works on the first try: it stands once, and waits for nothing else."""

from __future__ import annotations

import threading

import psycopg
import pytest
from django.db import connection

from jobs.models import JobEvent
from opsconsole_worker.runs import lifecycle, statements
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import factories
from tests.other_sessions import other_session
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ADA = Worker("ada")
WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid <> pg_backend_pid())"


def notes() -> list[str]:
    return list(
        JobEvent.objects.filter(kind="progress").order_by("pk").values_list("details__note", flat=True)
    )


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("committed", [True, False])
def test_repeat_waits_for_the_first_try(committed: bool) -> None:
    run = Run(factories.run(worker="ada").pk, 1, ADA)
    said = {"note": "submitted to maps", "reference": "", "once": "1", "asked_before": False}
    with other_session() as first:
        psycopg.ClientCursor(first).execute("SET search_path = opsconsole, public")
        psycopg.ClientCursor(first).execute(statements.NOTE, run.parameters | said)
        answers: list[bool] = []

        def repeats() -> None:
            try:
                answers.append(lifecycle.note(run, "submitted to maps", once="1", asked_before=True))
            finally:
                connection.close()

        thread = threading.Thread(target=repeats)
        thread.start()
        wait_until(somebody_waits)
        # Another note of the run waits for neither of the two.
        assert lifecycle.note(run, "submitted to pages", once="2")
        if committed:
            first.commit()
        else:
            first.rollback()
        thread.join(30)

    assert answers == [True]
    assert sorted(notes()) == ["submitted to maps", "submitted to pages"]


def test_repeat_of_a_note_that_came_too_late_says_so() -> None:
    run = Run(factories.run(worker="bob").pk, 1, ADA)
    told = [lifecycle.note(run, "x", once="1", asked_before=asked) for asked in (False, True, True)]
    assert told == [False] * 3 and notes() == ["x"]
