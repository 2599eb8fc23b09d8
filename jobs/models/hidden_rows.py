"""Jobs that nobody can lock: a policy of row-level security lets them be read, and hides them from whoever changes them.

SKIP LOCKED leaves them out without a word, as it leaves out what others hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from django.db import OperationalError, connection, transaction

from jobs.models.columns import JOBS
from jobs.models.job import Job
from opsconsole.kit.row_locks import locked_at_once, waited_in_vain

# By the transaction that locked them last: rows of one are locked, or free, together. Of the others it is not asked.
MOST_TRANSACTIONS = 10


def hidden_from_changes(job_ids: Collection[UUID]) -> frozenset[UUID]:
    """Return which of these jobs, which could not be locked, no transaction of this role can lock. Needs a transaction.

    Those that are free by now may be locked until it ends. Where PostgreSQL does not tell, a job counts as held by others.
    """
    if not job_ids or not _has_policies():
        return frozenset()
    hidden: set[UUID] = set()
    for ids in _by_last_holder(job_ids)[:MOST_TRANSACTIONS]:
        try:
            with transaction.atomic():
                hidden |= ids - set(
                    locked_at_once(Job.objects.filter(pk__in=ids)).values_list("pk", flat=True)
                )
        except OperationalError as error:
            if not waited_in_vain(error):
                raise
    return frozenset(hidden)


def _has_policies() -> bool:
    """Tell whether policies of row-level security count for this role on the table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_security_active(%s)", [JOBS.sql])
        return bool(cursor.fetchone()[0])


def _by_last_holder(job_ids: Collection[UUID]) -> list[set[UUID]]:
    """Return the jobs by the transaction that locked them last, those that none has locked first."""
    key = JOBS.sql_column("id")
    by_holder: dict[int, set[UUID]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT xmax::text::bigint, {key} FROM {JOBS.sql} WHERE {key} = ANY(%s)",  # noqa: S608 - names
            [list(job_ids)],
        )
        for holder, job_id in cursor.fetchall():
            by_holder[holder].add(job_id)
    return [ids for _, ids in sorted(by_holder.items())]
