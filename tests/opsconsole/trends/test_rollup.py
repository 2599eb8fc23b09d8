"""The rollups: each run is counted once, whatever order transactions commit in, who counts at once, and who is killed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from jobs.models import RunRollup, RunRollupState
from jobs.models.run_rollup import DAY, FIVE_MINUTES, HOUR, OTHERS, SHOWN_FOR, SIX_HOURS
from jobs.watch import retention
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.seals import sealer
from opsconsole.trends import histogram, rollup, run_counts
from tests.factories import job
from tests.opsconsole.seals.test_sealer import age_gaps, elsewhere
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind, ended
from tests.racing import race

real_transactions = pytest.mark.django_db(transaction=True)
SHORT = timedelta(seconds=1)


def totals(minutes: int = DAY, dimension: str = "all", value: str = "") -> tuple[int, int, int, int]:
    rows = RunRollup.objects.filter(minutes=minutes, dimension=dimension, value=value)
    sums = rows.aggregate(*(Sum(name) for name in ("completed", "failed", "retried", "lost")))
    return tuple(sums[f"{name}__sum"] or 0 for name in ("completed", "failed", "retried", "lost"))  # type: ignore[return-value]  # four names


def runs_counted() -> int:
    return sum(totals())


def state() -> RunRollupState:
    return RunRollupState.objects.get()


@pytest.mark.django_db
def test_run_is_counted_in_each_length_and_dimension() -> None:
    at = timelines.now() - timedelta(minutes=7)
    ended(at, waited=30, ran=90, queue="default", priority_level="vip", customer_id="acme", worker="w-9")

    assert timelines.count().runs == 1

    for minutes in (FIVE_MINUTES, HOUR, SIX_HOURS, DAY):
        for dimension, value in (
            ("all", ""),
            ("queue", "default"),
            ("priority", "vip"),
            ("customer", "acme"),
            ("worker", "w-9"),
        ):
            row = RunRollup.objects.get(minutes=minutes, dimension=dimension, value=value)
            assert row.completed == 1
            assert row.start <= at < row.start + timedelta(minutes=minutes)
            [waited], [ran] = (histogram.quantiles(each, [0.5]) for each in (row.waits, row.runs))
            assert waited == pytest.approx(30, rel=0.05)
            assert ran == pytest.approx(90, rel=0.05)


@pytest.mark.django_db
def test_outcomes_and_what_is_no_end_of_a_run() -> None:
    at = timelines.now() - timedelta(minutes=20)
    for kind in (Kind.COMPLETED, Kind.FAILED, Kind.RETRY_SCHEDULED, Kind.RECOVERED, Kind.QUARANTINED):
        ended(at, kind=kind)
    for kind in (Kind.CANCELLED, Kind.PROGRESS, Kind.LATE_RESULT_REJECTED):
        ended(at, kind=kind)
    twice = ended(at)
    timelines.event(twice, Kind.FAILED, at + SHORT)

    timelines.count()

    assert totals() == (2, 1, 1, 2)
    lost = RunRollup.objects.get(minutes=DAY, dimension="all")
    # The end of a lost run is when it was found.
    assert (sum(lost.waits.values()), sum(lost.runs.values())) == (6, 4)


@pytest.mark.django_db
def test_second_run_waits_from_the_end_of_its_backoff() -> None:
    at = timelines.now() - timedelta(minutes=30)
    of = ended(at, kind=Kind.RETRY_SCHEDULED)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO job_events (job_id, at, kind, run_epoch, actor, details)"
            " VALUES (%s, %s, 'retry_scheduled', 2, 'worker:w-1', '{\"delay_seconds\": 60}')",
            [of.pk, at + timedelta(seconds=30)],
        )
    timelines.event(of, Kind.CLAIMED, at + timedelta(seconds=100), run=3)
    timelines.event(of, Kind.COMPLETED, at + timedelta(seconds=120), run=3)

    timelines.count()

    waits = RunRollup.objects.get(minutes=DAY, dimension="all").waits
    assert str(histogram.bucket_of(10)) in waits


@pytest.mark.django_db
def test_events_with_odd_details_stop_no_count() -> None:
    at = timelines.now() - timedelta(minutes=30)
    of = ended(at)
    with connection.cursor() as cursor:
        for kind, run, minutes, details in (
            ("requeued", 2, 1, '{"from_epoch": [1]}'),
            ("retry_scheduled", 2, 2, '{"delay_seconds": 60, "told": "' + "x" * 30_000 + '"}'),
            ("fenced", 4, 9, "[1, 2]"),
        ):
            cursor.execute(
                "INSERT INTO job_events (job_id, at, kind, run_epoch, actor, details) VALUES (%s, %s, %s, %s, 'x', %s)",
                [of.pk, at + timedelta(minutes=minutes), kind, run, details],
            )
    timelines.event(of, Kind.CLAIMED, at + timedelta(seconds=190), run=3)
    timelines.event(of, Kind.COMPLETED, at + timedelta(seconds=200), run=3)

    timelines.count()

    assert totals() == (2, 0, 1, 0)
    # The backoff is no waiting, however long the document is that names it.
    waits = RunRollup.objects.get(minutes=DAY, dimension="all").waits
    assert str(histogram.bucket_of(10)) in waits


@pytest.mark.django_db
def test_first_event_at_a_time_that_never_comes_hides_nothing() -> None:
    timelines.event(job(), Kind.PROGRESS, timelines.now() + timedelta(days=100_000))

    timelines.count()

    assert RunRollupState.objects.filter(counted_from__lte=timelines.now()).exists()


@pytest.mark.django_db
def test_seal_that_was_altered_stops_no_count() -> None:
    for _ in range(2):
        ended(timelines.now() - timedelta(hours=1))
        sealer.seal()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE audit_seals SET ids = 'none' WHERE number = (SELECT min(number) FROM audit_seals)"
        )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")

    rollup.count()

    assert runs_counted() == 1
    assert rollup.count().seals == 0


@pytest.mark.django_db
def test_counted_again_nothing_is_added() -> None:
    ended(timelines.now() - SHORT)
    timelines.count()

    assert timelines.count().runs == 0
    assert runs_counted() == 1


@pytest.mark.django_db
def test_history_from_before_the_upgrade_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "MOST_EVENTS", 4)
    now = timelines.now()
    for days in (61, 40, 3, 1):
        ended(now - timedelta(days=days))
    ended(now - timedelta(days=80))

    timelines.count()

    assert runs_counted() == 4
    assert RunRollup.objects.filter(minutes=FIVE_MINUTES).count() == 0
    assert now - timedelta(days=62) <= state().counted_from <= now - timedelta(days=61)  # type: ignore[operator]  # it has counted


@pytest.mark.django_db
def test_values_beyond_the_most_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_counts, "MOST_VALUES", 5)
    at = timelines.now() - SHORT
    for customer, number in (("big", 5), ("middle", 3), *((f"small-{each}", 1) for each in range(6))):
        for _ in range(number):
            ended(at, customer_id=customer)

    timelines.count()

    rows = RunRollup.objects.filter(minutes=DAY, dimension="customer")
    assert rows.count() == 5
    assert totals(dimension="customer", value="big")[0] == 5
    assert totals(dimension="customer", value=OTHERS)[0] == 4
    assert sum(rows.values_list("completed", flat=True)) == runs_counted() == 14


@pytest.mark.django_db
def test_values_that_fit_are_never_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_counts, "MOST_VALUES", 5)
    for _ in range(3):
        for customer in range(4):
            ended(timelines.now() - SHORT, customer_id=f"customer-{customer}")
        timelines.count()

    rows = RunRollup.objects.filter(minutes=DAY, dimension="customer")
    assert dict(rows.values_list("value", "completed")) == {f"customer-{each}": 3 for each in range(4)}


@pytest.mark.django_db
def test_of_many_values_few_rows_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_counts, "MOST_VALUES", 5)
    at = timelines.now() - timedelta(days=20)
    for chunk in range(2):
        for customer in range(30):
            ended(at, customer_id=f"customer-{chunk}-{customer}")
        with CaptureQueriesContext(connection) as queries:
            timelines.count()
        written = [query["sql"] for query in queries if query["sql"].startswith('INSERT INTO "run_rollups"')]
        # Of the customers four and all others; one row of each other dimension.
        assert "".join(written).count("'customer-") <= 4 < len("".join(written))

    rows = RunRollup.objects.filter(dimension="customer")
    assert rows.count() == 5
    assert sum(rows.values_list("completed", flat=True)) == 60
    assert totals(dimension="customer", value=OTHERS)[0] == 56


@pytest.mark.django_db
def test_until_when_it_has_counted() -> None:
    before = timelines.now()
    rollup.count()
    # Nobody seals, so nobody knows what there is.
    assert state().counted_until is None

    timelines.count()
    assert state().counted_until >= before  # type: ignore[operator]  # it has counted

    at = timelines.now()
    ended(at)
    rollup.count()
    assert state().counted_until <= at  # type: ignore[operator]  # it has counted

    timelines.count()
    assert state().counted_until > at  # type: ignore[operator]  # it has counted


@pytest.mark.django_db
def test_seals_that_are_left_bound_until_when_it_has_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "MOST_EVENTS", 1)
    at = timelines.now() - timedelta(hours=1)
    for hours in (0, -2):
        ended(at + timedelta(hours=hours))
        sealer.seal()

    rollup.count(timedelta(0))

    assert runs_counted() == 1
    assert state().counted_until < at - timedelta(hours=2)  # type: ignore[operator]  # it has counted


@real_transactions
def test_events_that_become_visible_late_are_counted_once() -> None:
    at = timelines.now() - timedelta(minutes=1)
    early, late = job(), job()
    timelines.event(job(), Kind.PROGRESS, at)
    sealer.seal()
    with elsewhere() as other:
        other.execute(timelines.INSERT, [late.pk, at, Kind.COMPLETED, 1, "worker:w-1"])
        timelines.event(early, Kind.COMPLETED, at)
        timelines.count()
        age_gaps()
        timelines.count()
        assert runs_counted() == 1

        other.commit()
        timelines.count()
        timelines.count()

    assert runs_counted() == 2


@real_transactions
def test_two_that_count_at_once_count_each_run_once() -> None:
    for _ in range(6):
        ended(timelines.now() - SHORT)
        sealer.seal()

    race([rollup.count, rollup.count])
    rollup.count()

    assert runs_counted() == 6


@real_transactions
def test_killed_before_its_commit_it_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(timelines.now() - SHORT)
    sealer.seal()

    usual = rollup._count

    def die(seals: Sequence[AuditSeal]) -> int:
        assert usual(seals) == 1
        assert runs_counted() == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 1

    with monkeypatch.context() as killed:
        killed.setattr(rollup, "_count", die)
        with pytest.raises((OperationalError, psycopg.OperationalError)):
            rollup.count()
    connection.close()

    assert runs_counted() == 0
    assert rollup.count().runs == 1
    assert runs_counted() == 1


@pytest.mark.django_db
def test_rollups_go_when_no_page_shows_them() -> None:
    now = timelines.now()
    for minutes, kept in SHOWN_FOR.items():
        for age in (kept - timedelta(hours=1), kept + timedelta(hours=1)):
            RunRollup.objects.create(
                minutes=minutes, start=now - age, dimension="all", first_event=1, last_event=1
            )

    assert retention.prune()["rollups of runs"] == len(SHOWN_FOR)
    assert RunRollup.objects.count() == len(SHOWN_FOR)


@pytest.mark.django_db
def test_seals_from_before_anything_is_shown_are_passed_over() -> None:
    ended(timelines.now() - timedelta(hours=1))
    sealer.seal()
    [old] = AuditSeal.objects.filter(source="timeline").values_list("number", flat=True)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE audit_seals SET sealed_at = now() - interval '63 days'")
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")

    rollup.count()

    assert (state().seal, runs_counted()) == (old, 0)
