"""Tests of finding the job of a batch that the database refuses; none of them is kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from jobs.intake.enqueue import NewJob, first_refused
from jobs.models import Job, Outbox
from opsconsole_worker.environment import QueueConfig

pytestmark = pytest.mark.django_db

RULES = {
    "check": "ALTER TABLE jobs ADD CONSTRAINT theirs CHECK (customer_id <> 'BAD')",
    "unique": "CREATE UNIQUE INDEX theirs ON jobs (customer_id) WHERE customer_id = 'BAD'",
    "deferred": "CREATE TABLE known (id text PRIMARY KEY); INSERT INTO known SELECT 'C' || n FROM generate_series(0, 20) n;"
    " ALTER TABLE jobs ADD CONSTRAINT theirs FOREIGN KEY (customer_id) REFERENCES known DEFERRABLE INITIALLY DEFERRED",
}


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}


def jobs(*customers: str) -> list[NewJob]:
    return [NewJob(customer_id=customer, package_size=1) for customer in customers]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("bad", range(7))
@pytest.mark.parametrize("rule", ["check", "deferred"])
def test_refused_job_is_found_at_every_place(rule: str, bad: int) -> None:
    execute(RULES[rule])
    customers = [f"C{number}" for number in range(7)]
    assert first_refused(jobs(*customers)) is None
    customers[bad] = "BAD"
    assert first_refused(jobs(*customers)) == bad
    assert not Job.objects.exists()


def test_the_second_of_two_that_conflict_is_refused() -> None:
    execute(RULES["unique"])
    assert first_refused(jobs("A", "BAD", "C", "D", "BAD", "E")) == 4


def test_command_names_job_and_constraint(tmp_path: Any) -> None:
    execute(RULES["check"])
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"customer_id": "A", "package_size": 1}\n\n{"customer_id": "BAD", "package_size": 1}\n')

    with pytest.raises(CommandError) as raised:
        call_command("enqueue_jobs", "--from-file", str(file))

    assert str(raised.value).startswith(
        "Nothing was enqueued. Job 2 of 2 in the file: The database refused it by constraint 'theirs' of table 'jobs': "
    )
    assert not Job.objects.exists()
    assert not Outbox.objects.exists()
