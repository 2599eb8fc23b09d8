"""Tests of the plan of a lease: it looks at the rows that it takes, however many others wait."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.messaging import leases

BURST = """
WITH burst AS (
    INSERT INTO jobs (customer_id, package_size, status)
    SELECT 'CUST-1', 50, 'pending' FROM generate_series(1, 4000)
    RETURNING id, run_epoch
)
INSERT INTO outbox (job_id, run_epoch, queue, destination, reason, retry)
SELECT id, run_epoch, 'default', 'queue', '', false FROM burst
"""


@pytest.mark.django_db
def test_lease_reads_neither_table_as_a_whole() -> None:
    with connection.cursor() as cursor:
        cursor.execute(BURST)
        # Of a table of a few rows, what earlier tests left in its statistics decides.
        cursor.execute("ANALYZE jobs, outbox")
        with CaptureQueriesContext(connection) as asked:
            assert leases.take(100).size == 100
        cursor.execute("EXPLAIN " + asked[0]["sql"])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan and "outbox_pkey" in plan and "jobs_pkey" in plan, plan
