"""The members of an operation of which its page says what became of them: all that were done, or of very many an even sample."""

from __future__ import annotations

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from jobs.models import BulkMember, BulkOperation

# What became of the members is counted whole for so many. Of larger operations, a sample of about so many is read.
MOST_FOLLOWED = 5_000
SAMPLE_FOLLOWED = 1_000

# The ids are cut into as many ranges as the sample has members, and each range that has some gives its first ones: more than one
# where many ranges have none, because what stood there was skipped, failed, or belongs to another operation. The limit of each
# look into a range keeps PostgreSQL from joining all ranges with all members, which it may do where its statistics are old.
_SAMPLE = """
WITH ends AS (
    SELECT min(id) AS first, max(id) AS last FROM bulk_members WHERE operation_id = %(operation)s AND outcome = 'done'
), ranges AS (
    SELECT beginning, beginning + (last - first) / %(most)s + 1 AS ending
      FROM ends, generate_series(first, last, (last - first) / %(most)s + 1) AS beginning
), filled AS MATERIALIZED (
    SELECT ranges.* FROM ranges CROSS JOIN LATERAL (
        SELECT FROM bulk_members
         WHERE operation_id = %(operation)s AND outcome = 'done' AND id >= beginning AND id < ending
         ORDER BY id LIMIT 1
    ) AS found
)
SELECT member.id FROM filled CROSS JOIN LATERAL (
    SELECT id FROM bulk_members
     WHERE operation_id = %(operation)s AND outcome = 'done' AND id >= beginning AND id < ending
     ORDER BY id LIMIT (SELECT greatest(1, round(%(most)s::numeric / greatest(1, count(*)))) FROM filled)
) AS member
"""


def is_sampled(operation: BulkOperation) -> bool:
    """Tell whether a sample stands for all that were done."""
    return operation.done > MOST_FOLLOWED


def of(operation: BulkOperation) -> QuerySet[BulkMember]:
    """Return the members that were done, or about ``SAMPLE_FOLLOWED`` of very many, spread evenly over all of them."""
    done = operation.members.filter(outcome=BulkMember.Outcome.DONE)
    if not is_sampled(operation):
        return done
    # Known ids: PostgreSQL would expect more of the statement, and read all members to find them.
    return done.filter(pk__in=RawSQL("SELECT unnest(%s::bigint[])", [_sample(operation)]))


def _sample(operation: BulkOperation) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE, {"operation": operation.pk, "most": SAMPLE_FOLLOWED})
        return [pk for (pk,) in cursor.fetchall()]
