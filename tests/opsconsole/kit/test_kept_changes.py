"""Tests of what became of changes: saved ones are counted, and a lost answer is told from a refused change (I14)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connection, transaction

from jobs.models import Job
from opsconsole.kit.kept_changes import Kept, OutcomeUnknown, kept, saved_changes
from opsconsole.kit.postgresql.base import writes
from tests import factories
from tests.chaos import cuts
from tests.chaos.cuts import CuttingProxy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    with cuts.to_database() as made:
        yield made


@pytest.mark.parametrize(
    "statement",
    [
        'SELECT "jobs"."id" FROM "jobs" WHERE "jobs"."status" IN (%s)',
        'SELECT COUNT(*) AS "n" FROM (SELECT 1)',
        'SELECT SUM("axes_accessattempt"."failures_since_start") AS "n" FROM "axes_accessattempt"',
        "SELECT set_config('lock_timeout', %s, true)",
        "SELECT * FROM unnest(%s) AS queue (name)",
        "SELECT id, left(customer_id, 500) || ' (cut; all)' FROM jobs",
        "SELECT quote_ident(%s)",
        "SELECT json_agg(json_build_array(c0)) FROM (SELECT id FROM jobs) AS read(c0)",
        "SELECT array(SELECT DISTINCT * FROM (SELECT queue FROM jobs) AS read)",
        "SELECT to_regclass('jobs'), has_table_privilege('jobs', 'SELECT')",
        "SELECT clock_timestamp() FROM jsonb_to_record(%s)",
        "SHOW statement_timeout",
        'SAVEPOINT "s1"',
    ],
)
def test_statement_that_reads(statement: str) -> None:
    assert not writes(statement)


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE "jobs" SET "status" = %s',
        'INSERT INTO "jobs" VALUES (1)',
        "WITH taken AS (UPDATE jobs SET status = 'x') SELECT 1",
        "SELECT * FROM claim_run(%s)",
        "SELECT cleanup_rate_limit_requests()",
        "SELECT minutes_of_customers(%s)",
        "SELECT format_and_delete(%s)",
        "SELECT nextval('jobs_id_seq')",
        "SELECT 1; DELETE FROM jobs",
    ],
)
def test_statement_that_may_write(statement: str) -> None:
    assert writes(statement)


def test_only_saved_changes_are_counted() -> None:
    before = saved_changes()
    list(Job.objects.all())
    with transaction.atomic():
        list(Job.objects.all())
    with pytest.raises(RuntimeError), transaction.atomic():
        factories.job()
        raise RuntimeError
    assert saved_changes() == before

    factories.job()
    assert saved_changes() == before + 1
    with transaction.atomic():
        factories.job()
        factories.job()
        assert saved_changes() == before + 1
    assert saved_changes() == before + 2
    assert kept(None, since=before) is Kept.SOME
    assert kept(None, since=before + 2) is Kept.NOTHING


@pytest.mark.parametrize("answer", [True, False], ids=["the answer is lost", "the request is lost"])
def test_broken_commit_has_an_unknown_outcome(proxy: CuttingProxy, answer: bool) -> None:
    proxy.cut((b'INSERT INTO "jobs"', b"COMMIT"), answer=answer)

    with proxy.as_default(), pytest.raises(OutcomeUnknown), transaction.atomic():
        Job.objects.create(customer_id="A", package_size=1)

    assert Job.objects.count() == int(answer)


def test_broken_single_statement_has_an_unknown_outcome(proxy: CuttingProxy) -> None:
    job = factories.job()
    proxy.cut((b'UPDATE "jobs"',), answer=True)

    with proxy.as_default(), pytest.raises(OutcomeUnknown):
        Job.objects.filter(pk=job.pk).update(status="failed")

    job.refresh_from_db()
    assert job.status == "failed"


def test_connection_broken_before_commit_saved_nothing(proxy: CuttingProxy) -> None:
    proxy.cut((b'INSERT INTO "jobs"',), answer=True)

    with proxy.as_default(), pytest.raises(DatabaseError) as raised, transaction.atomic():
        Job.objects.create(customer_id="A", package_size=1)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert not Job.objects.exists()


def test_refused_commit_saved_nothing() -> None:
    """A deferred constraint refuses the commit, and the connection stays."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE deferring (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        try:
            before = saved_changes()
            with pytest.raises(DatabaseError) as raised, transaction.atomic():
                cursor.execute("INSERT INTO deferring VALUES (1), (1)")
        finally:
            connection.cursor().execute("DROP TABLE deferring")
    assert kept(raised.value, since=before + 1) is Kept.NOTHING
