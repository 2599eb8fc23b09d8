"""A database with the encoding SQL_ASCII: a job whose texts are not UTF-8 is shown and set aside, and nobody else waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.test import Client

from jobs.intake.enqueue import NewJob, enqueue
from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, Outbox, Status
from jobs.recovery import control, sweeps
from jobs.runs.timeline import CONSOLE
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import databases, factories, people, worker_databases
from tests.conftest import TestQueue
from tests.databases import CONTRACT, Database

pytestmark = pytest.mark.django_db(transaction=True)

ADA = Worker("ada")
LONG = timedelta(hours=1)
CAFE = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"
LATIN_1 = CAFE.encode("latin-1")
SHOWN = "Caf\N{REPLACEMENT CHARACTER}"


@pytest.fixture(scope="module")
def migrated(django_db_setup: None) -> Iterator[Database]:
    server = databases.create(settings.DATABASES["default"])
    found = Database(server.server, f"{server.name}_unchecked")
    server.sql(
        f"CREATE DATABASE {found.name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    try:
        found.sql(CONTRACT)
        found.migrate()
        yield found
    finally:
        databases.drop(found)
        databases.drop(server)


@pytest.fixture
def unchecked(migrated: Database) -> Iterator[Database]:
    migrated.sql("DELETE FROM jobs; DELETE FROM worker_heartbeats; DELETE FROM outbox")
    with migrated.as_default():
        yield migrated


def make_unreadable(database: Database, job: Job) -> None:
    """Let another program write texts in Latin-1 into the row of a job."""
    with psycopg.connect(
        **database.server, dbname=database.name, autocommit=True, client_encoding="LATIN1"
    ) as session:
        session.execute(
            "UPDATE jobs SET customer_id = %s, error_message = %s, payload = jsonb_build_object('name', %s::text) WHERE id = %s",
            [CAFE, CAFE, CAFE, job.pk],
        )
        stored = session.execute(
            "SELECT convert_to(customer_id, 'SQL_ASCII') FROM jobs WHERE id = %s", [job.pk]
        )
        assert stored.fetchall() == [(LATIN_1,)]


def test_unreadable_job_is_set_aside_alone(unchecked: Database, sqs_queue: TestQueue) -> None:
    bad = factories.job()
    good = factories.job(customer_id=CAFE)
    for job in (bad, good):
        factories.letter(job)
    make_unreadable(unchecked, bad)

    done = dispatcher.dispatch()

    assert (done.sent, done.refused, done.failed) == (1, 1, 0)
    [body] = sqs_queue.bodies()
    assert str(good.pk) in body and "Caf\\u00e9" in body
    refused = Outbox.objects.get(state=Outbox.State.REFUSED)
    assert refused.job_id == bad.pk
    assert refused.last_error == "customer_id of the job's row can't be read: not UTF-8."
    browser = Client()
    browser.force_login(people.operator())
    rows = browser.get("/admin/jobs/job/").content.decode()
    assert SHOWN in rows and CAFE in rows
    page = browser.get(f"/admin/jobs/job/{bad.pk}/change/").content.decode()
    assert SHOWN in page and "not UTF-8" in page
    customer = browser.get("/admin/customer/", {"id": CAFE})
    assert customer.status_code == 200 and str(good.pk)[:8] in customer.content.decode()


def test_stale_unreadable_run_is_recovered_with_the_others(unchecked: Database, sqs_queue: TestQueue) -> None:
    control.arm(CONSOLE, "Tested.", None)
    runs = [factories.run(age=LONG, silent=LONG, worker=f"worker-{number}") for number in range(2)]
    make_unreadable(unchecked, runs[0])
    sweeps.sweep("test")
    assert set(Job.objects.values_list("status", "run_epoch")) == {(Status.PENDING, 2)}


@pytest.mark.parametrize("kind", [worker_databases.DJANGO, worker_databases.DIRECT])
def test_worker_works(unchecked: Database, sqs_queue: TestQueue, kind: str) -> None:
    made = enqueue(NewJob(customer_id=CAFE, package_size=1, payload={"name": CAFE})).pk
    bad = factories.job()
    make_unreadable(unchecked, bad)
    with worker_databases.used(kind):
        for key, customer in ((made, CAFE), (bad.pk, SHOWN)):
            job = lifecycle.claim(key, 1, ADA)
            assert not isinstance(job, lifecycle.Refused)
            assert (job.customer_id, job.payload) == (customer, {"name": customer})
            run = Run(job.id, job.epoch, ADA)
            for _ in range(2):
                assert heartbeats.beat(ADA, run.job_id, run.epoch) is Verdict.GO_ON
            assert lifecycle.complete(run, {"found": CAFE})
    assert (
        JobEvent.objects.filter(
            kind=JobEvent.Kind.COMPLETED, job_id__in=[made, bad.pk], details__found=CAFE
        ).count()
        == 2
    )
