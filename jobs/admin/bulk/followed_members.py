"""The members of an operation of which its page says what became of them: all that were done, or of very many an even sample."""

from __future__ import annotations

from django.db.models import Max, Min, QuerySet
from django.db.models.expressions import RawSQL

from jobs.models import BulkMember, BulkOperation

# What became of the members is counted whole for so many. Of larger operations, a sample of about so many is read.
MOST_FOLLOWED = 5_000
SAMPLE_FOLLOWED = 1_000

# The ids are cut into as many ranges as the sample has members, and each range that has some gives its first ones: more than one
# where many ranges have none, because what stood there was skipped, failed, or belongs to another operation.
_SAMPLE = """
WITH filled AS MATERIALIZED (
    SELECT beginning FROM generate_series(%s::bigint, %s::bigint, %s::bigint) AS beginning
     WHERE EXISTS (SELECT FROM bulk_members WHERE operation_id = %s AND outcome = 'done'
                      AND id >= beginning AND id < beginning + %s::bigint)
)
SELECT member.id FROM filled CROSS JOIN LATERAL (
    SELECT id FROM bulk_members
     WHERE operation_id = %s AND outcome = 'done' AND id >= beginning AND id < beginning + %s::bigint
     ORDER BY id LIMIT (SELECT greatest(1, round(%s::numeric / greatest(1, count(*)))) FROM filled)
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
    ends = done.aggregate(first=Min("id"), last=Max("id"))
    first, last = ends["first"] or 0, ends["last"] or 0
    step = (last - first) // SAMPLE_FOLLOWED + 1
    asked = [first, last, step, operation.pk, step, operation.pk, step, SAMPLE_FOLLOWED]
    return done.filter(pk__in=RawSQL(_SAMPLE, asked))  # noqa: S611 - a constant text
