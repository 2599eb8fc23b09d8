"""One statement gives the answers that each QuerySet gives by itself."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models import F, Value
from django.db.models.functions import Now, TruncHour

from jobs.models import Job, JobEvent, RunProgress, Status, Sweep
from opsconsole.kit import counting, one_statement
from opsconsole.kit.one_statement import (
    Steps,
    column_of,
    count_of,
    distinct_of,
    models_of,
    records_of,
    side_by_side,
    value_of,
)
from opsconsole.kit.postgresql.timestamps import EARLIEST, LATEST
from tests import factories

pytestmark = pytest.mark.django_db


def test_readings_are_those_of_their_querysets(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        factories.job(customer_id=f"C-{number} %s {{x}}", status=Status.FAILED)
    for hours in (1, 2):
        Sweep.objects.create(
            trigger="test",
            mode="armed",
            started_at=Now() - timedelta(hours=hours),
            details={"a": [1, None, "ä"]},
        )
    monkeypatch.setattr(counting, "COUNTED_TO", 3)
    failed = Job.objects.filter(status=Status.FAILED)
    names = failed.order_by("customer_id").values_list("customer_id", flat=True)
    sweeps = Sweep.objects.order_by("-started_at").annotate(double=F("found") * 2 + Value(1)).defer("locked")
    times = sweeps.values_list("started_at", "mode", "details", "double")

    with django_assert_num_queries(1):
        read = one_statement.read(
            several=count_of(failed),
            none=count_of(failed.none()),
            first=value_of(failed.order_by("created_at").values_list("created_at", flat=True)),
            no_first=value_of(Job.objects.filter(status="unheard of").values_list("created_at", flat=True)),
            names=column_of(names),
            no_names=column_of(names.none()),
            statuses=distinct_of(failed.order_by("created_at").values_list("status", flat=True)[:4]),
            no_statuses=distinct_of(failed.none().values_list("status", flat=True)),
            sweeps=models_of(sweeps),
            no_rows=models_of(JobEvent.objects.all()),
            records=records_of(times),
        )

    assert (read["several"], read["none"]) == (4, 0)
    assert read["first"] == failed.order_by("created_at")[0].created_at
    assert read["no_first"] is None
    assert (read["names"], read["no_names"], read["no_rows"]) == (list(names), [], [])
    assert read["records"] == list(times)
    assert (read["statuses"], read["no_statuses"]) == ([Status.FAILED], [])
    for row, expected in zip(read["sweeps"], sweeps, strict=True):
        assert row.get_deferred_fields() == {"locked"}
        assert (row.double, row.pk) == (1, expected.pk)
        for field in Sweep._meta.concrete_fields:
            if field.name != "locked":
                assert getattr(row, field.attname) == getattr(expected, field.attname), field


@pytest.mark.parametrize("at", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
def test_times_that_python_can_not_hold_are_read_as_querysets_read_them(at: str) -> None:
    factories.job()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO job_events (job_id, kind, actor, at) SELECT id, 'completed', 'x', %s FROM jobs", [at]
        )
    times = JobEvent.objects.values_list("at", "kind")
    hours = JobEvent.objects.annotate(hour=TruncHour("at")).values_list("hour", flat=False)

    read = one_statement.read(times=records_of(times), rows=models_of(JobEvent.objects.only("at")))

    assert read["times"] == list(times)
    assert [row.at for row in read["rows"]] == [row[0] for row in times]
    # A QuerySet can't read these.
    [(hour,)] = one_statement.read(hours=records_of(hours))["hours"]
    assert hour in {EARLIEST, LATEST}


@pytest.mark.parametrize("percent", ["90", "90.0", "0.1", "100"])
def test_decimals_are_read_as_querysets_read_them(percent: str) -> None:
    made = factories.job()
    RunProgress.objects.create(job_id=made.pk, run_epoch=1, percent=Decimal(percent), text="", at=Now())
    [wanted] = RunProgress.objects.all()
    [read] = one_statement.read(rows=models_of(RunProgress.objects.all()))["rows"]
    assert (str(read.percent), read.percent) == (str(wanted.percent), wanted.percent)


def test_one_failure_fails_all() -> None:
    broken = one_statement.Reading("SELECT 1 / %s", (0,), int)

    with pytest.raises(DatabaseError, match="division by zero"):
        one_statement.read(jobs=count_of(Job.objects.all()), broken=broken)


def test_nothing_that_needs_the_database_asks_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert one_statement.read(none=count_of(Job.objects.none())) == {"none": 0}


def test_work_that_asks_side_by_side_asks_as_often_as_the_longest(django_assert_num_queries: Any) -> None:
    for number in range(3):
        factories.job(customer_id=f"C-{number}")

    def work(steps: int) -> Steps[list[str]]:
        names: list[str] = []
        for number in range(steps):
            of_one = Job.objects.filter(customer_id=f"C-{number}")
            read = yield {"names": column_of(of_one.values_list("customer_id", flat=True))}
            names += read["names"]
        return names

    with django_assert_num_queries(2):
        found = side_by_side([work(2), work(0), work(1)])

    assert found == [["C-0", "C-1"], [], ["C-0"]]
    assert side_by_side([]) == []


def test_reading_that_fails_alone_leaves_the_others_known() -> None:
    factories.job()
    broken = one_statement.Reading("SELECT 1 / 0", (), int)

    readings = {"jobs": count_of(Job.objects.all()), "broken": broken}

    assert one_statement.read_if_possible(readings) is None
    assert one_statement.read_apart(readings) == {"jobs": 1, "broken": None}


def test_reading_that_takes_too_long_is_given_up() -> None:
    slow = one_statement.Reading("SELECT pg_sleep(5)::text", (), str)

    assert one_statement.read_if_possible({"slow": slow}, milliseconds=50) is None
