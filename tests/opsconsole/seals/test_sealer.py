"""The sealer: each committed row is in exactly one seal, whatever order transactions commit in."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from jobs.models import JobEvent
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.audit_models import AuditSeal, UnsealedRange
from opsconsole.seals import id_ranges, sealer, verification
from tests.factories import job
from tests.racing import race

EVENT = (
    "INSERT INTO job_events (job_id, kind, actor) VALUES (gen_random_uuid(), 'progress', 'test') RETURNING id"
)
real_transactions = pytest.mark.django_db(transaction=True)


def covered(source: str) -> Counter[int]:
    """Count for each id how many seals cover it."""
    return Counter(
        number
        for seal in AuditSeal.objects.filter(source=source)
        for first, last in id_ranges.from_text(seal.ids)
        for number in range(first, last + 1)
    )


def _seals_with(number: int) -> int:
    """Count the seals that cover this event. The ranges may be too wide to list their ids."""
    seals = [id_ranges.from_text(seal.ids) for seal in AuditSeal.objects.filter(source="timeline")]
    return sum(first <= number <= last for ranges in seals for first, last in ranges)


def event() -> int:
    with connection.cursor() as cursor:
        cursor.execute(EVENT)
        return int(cursor.fetchone()[0])


def line() -> LogEntry:
    ada, _ = User.objects.get_or_create(username="ada")
    return LogEntry.objects.create(user=ada, action_flag=2, object_repr="a job", change_message="Requeued.")


@contextmanager
def elsewhere() -> Iterator[psycopg.Connection]:
    """Open a second session on the tests' database, whose transactions the test ends itself."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        yield other


def age_gaps() -> None:
    UnsealedRange.objects.filter(last_id__isnull=False).update(noticed_at=Now() - timedelta(minutes=3))


def close_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal twice as if no other database of the server had transactions: those of other tests keep gaps open, too."""
    usual = sealer._snapshot
    monkeypatch.setattr(sealer, "_snapshot", lambda: usual()._replace(oldest=usual().next))
    for _ in range(3):
        age_gaps()
        sealer.seal()
    assert not UnsealedRange.objects.filter(last_id__isnull=False).exists()


def test_nothing_to_seal(db: None) -> None:
    assert str(sealer.seal()) == "nothing to seal"
    assert not AuditSeal.objects.exists()


def test_turn_without_news_asks_twice_and_takes_no_lock(db: None) -> None:
    event()
    sealer.seal()
    with CaptureQueriesContext(connection) as captured:
        assert str(sealer.seal()) == "nothing to seal"
    assert len(captured) == 2
    assert not any("advisory" in each["sql"] for each in captured)
    late = event()
    assert sealer.seal().rows == 1
    assert _seals_with(late) == 1


def test_rows_are_sealed_once_and_chained(db: None) -> None:
    events, lines = [event() for _ in range(3)], [line().pk]
    sealer.seal()
    events.append(event())
    lines.append(line().pk)
    sealer.seal()
    assert str(sealer.seal()) == "nothing to seal"

    assert covered("timeline") == Counter(events)
    assert covered("audit") == Counter(lines)
    seals = list(AuditSeal.objects.all())
    assert [seal.number for seal in seals] == [1, 2, 3, 4]
    assert [seal.previous for seal in seals] == ["", *(seal.hash for seal in seals[:-1])]
    assert verification.verify().breaks == []


@real_transactions
def test_row_that_commits_late_goes_into_the_next_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction stays open over many turns, another is rolled back, and ids commit out of order."""
    event()
    with elsewhere() as long, elsewhere() as other, elsewhere() as undone:
        late = [long.execute(EVENT).fetchone()[0]]  # type: ignore[index]  # it returns a row
        early = event()
        [late_too] = other.execute(EVENT).fetchone()  # type: ignore[misc]  # it returns a row
        [never] = undone.execute(EVENT).fetchone()  # type: ignore[misc]  # it returns a row
        after = event()
        sealer.seal()
        assert not {late[0], late_too, never} & set(covered("timeline"))
        assert {early, after} <= set(covered("timeline"))
        other.commit()
        undone.rollback()
        for _ in range(3):
            age_gaps()
            sealer.seal()
            event()
        assert covered("timeline")[late_too] == 1
        # The gap stays open for as long as the transaction is.
        gaps = UnsealedRange.objects.filter(source="timeline", last_id__isnull=False)
        assert [(gap.first_id, gap.last_id) for gap in gaps if gap.first_id <= late[0] <= (gap.last_id or 0)]
        late.append(long.execute(EVENT).fetchone()[0])  # type: ignore[index]  # it returns a row
        long.commit()
    sealer.seal()
    assert covered("timeline") == Counter(JobEvent.objects.values_list("pk", flat=True))
    assert [covered("timeline")[number] for number in late] == [1, 1]
    close_gaps(monkeypatch)
    assert verification.verify().breaks == []


@real_transactions
def test_two_sealers_and_writers_at_once() -> None:
    made = job()

    def write() -> None:
        for _ in range(15):
            JobEvent.objects.create(job=made, kind="progress", actor="test")

    def work() -> None:
        for _ in range(5):
            sealer.seal()

    writers = [write] * 3
    race([*writers, work, work])
    age_gaps()
    sealer.seal()
    assert covered("timeline") == Counter(JobEvent.objects.values_list("pk", flat=True))
    assert max(covered("timeline").values()) == 1
    assert verification.verify().breaks == []


@real_transactions
def test_second_sealer_does_not_wait() -> None:
    event()
    with elsewhere() as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.SEALS])
        assert str(sealer.seal()) == "another process is sealing"
    assert sealer.seal().rows == 1


def test_existing_rows_are_sealed_in_bounded_steps(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sealer.MOST_ROWS, AuditSeal.Source.AUDIT, 4)
    monkeypatch.setitem(sealer.MOST_ROWS, AuditSeal.Source.TIMELINE, 5)
    events = [event() for _ in range(12)]
    lines = [line().pk for _ in range(9)]
    turn = sealer.seal()
    assert (turn.rows, turn.seals) == (21, 3 + 3)
    assert covered("timeline") == Counter(events) and covered("audit") == Counter(lines)
    assert set(AuditSeal.objects.values_list("existing", flat=True)) == {True}
    assert verification.verify().breaks == []


def test_time_that_is_up_leaves_the_rest_for_the_next_turn(db: None) -> None:
    event()
    assert sealer.seal(timedelta(0)).rows == 0
    assert sealer.seal().rows == 1


def test_id_of_somebodys_own_leaves_the_sequence_its_gap(db: None) -> None:
    """Whoever writes an id far ahead can't keep later rows from being sealed."""
    event()
    sealer.seal()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO job_events (id, job_id, kind, actor) VALUES (%s, %s, 'progress', 'x')",
            [2**61, uuid.uuid4()],
        )
    sealer.seal()
    for _ in range(3):
        age_gaps()
        number = event()
        sealer.seal()
        assert _seals_with(number) == 1


@real_transactions
def test_insert_of_an_event_costs_no_trigger_and_no_column() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'job_events'::regclass AND tgtype & 4 = 4"
        )
        assert cursor.fetchall() == []
        cursor.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'job_events'::regclass AND attnum > 0"
        )
        assert cursor.fetchone() == (9,)
