"""The two statements on the outbox: lease a page of due rows, and record the outcomes (I2).

A lease moves ``available_at`` forward. If the dispatcher dies, the lease expires and the rows are due again. A
dispatcher that comes back too late finds another ``available_at`` and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from jobs.models import Outbox
from jobs.models.columns import JOBS
from opsconsole.kit.row_locks import if_free_in_statement
from opsconsole_worker.bounded_values import as_whole
from opsconsole_worker.messages import JobMessage
from opsconsole_worker.sqs import BATCH_BYTES

LEASE = timedelta(seconds=60)

# Rows are judged in the statement that takes them: those no longer current are dropped; those that may not start
# yet are put back until then and not counted as tried. ``without`` names targets, such as 'default/dlq'. The
# LATERAL, and the list of ids in the UPDATE, keep PostgreSQL to a look by primary key a row, also where it would rather
# read the whole table. A text is read no further than SQS accepts: SQS refuses the message of a longer one. The first
# row alone tells the end of the lease, which is that of all: reading a time in each row took a quarter of the
# dispatcher's own work.
_TAKE = """
WITH due AS MATERIALIZED (
    SELECT id, job_id, run_epoch, destination, available_at
      FROM outbox
     WHERE state = 'waiting' AND available_at <= statement_timestamp()
       AND queue || '/' || destination <> ALL (%(without)s::text[]){only}
     ORDER BY available_at, id
     LIMIT %(limit)s
       {if_free}
), judged AS (
    SELECT due.id, due.available_at AS place, job.not_before, left(job.customer_id::text, {most}) AS customer_id,
           left(job.package_size::text, {most}) AS package_size, left(job.priority_level::text, {most}) AS priority,
           CASE WHEN job.run_epoch IS DISTINCT FROM due.run_epoch
                  OR due.destination = 'queue' AND {status} <> 'pending'
                  OR due.destination = 'dlq' AND {status} NOT IN ('failed', 'quarantined')
                THEN 'dropped'
                WHEN due.destination = 'queue' AND job.not_before > statement_timestamp() THEN 'held'
                ELSE 'leased' END AS verdict
      FROM due LEFT JOIN LATERAL (SELECT * FROM {jobs} WHERE jobs.id = due.job_id LIMIT 1) AS job ON true
), taken AS (
    UPDATE outbox AS letter
       SET state = CASE verdict WHEN 'dropped' THEN 'dropped' ELSE letter.state END,
           available_at = CASE verdict
               WHEN 'leased' THEN statement_timestamp() + make_interval(secs => %(lease)s)
               WHEN 'held' THEN judged.not_before
               ELSE letter.available_at END,
           attempts = letter.attempts + (verdict = 'leased')::int
      FROM judged
     WHERE letter.id = judged.id AND letter.id = ANY (ARRAY(SELECT id FROM due))
    RETURNING verdict, place, letter.id, letter.queue, letter.destination, letter.attempts, letter.resends, letter.job_id,
              customer_id, package_size, priority, letter.retry, letter.reason, letter.run_epoch,
              letter.dead_letter_id
)
SELECT verdict, id, queue, destination, attempts, resends, job_id, customer_id, package_size, priority, retry, reason,
       run_epoch, dead_letter_id,
       CASE row_number() OVER (ORDER BY place, id)
           WHEN 1 THEN statement_timestamp() + make_interval(secs => %(lease)s) END AS leased_until
  FROM taken
 ORDER BY place, id
"""

# Most of them. The values that others have are not sent for them. The commit does not wait for the disk: the lease of the
# next page does, so that a crash of the server forgets no more than one of the dispatcher.
_SETTLE_SENT = """
UPDATE outbox AS letter
   SET state = 'sent', message_id = sent.message_id, last_error = '', sent_at = statement_timestamp()
  FROM unnest(%(ids)s::bigint[], %(message_ids)s::text[]) AS sent (id, message_id)
 WHERE letter.id = sent.id AND letter.state = 'waiting' AND letter.available_at = %(leased_until)s
   AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
"""

_SETTLE_UNSENT = """
UPDATE outbox AS letter
   SET state = fate.state,
       message_id = fate.message_id,
       last_error = fate.error,
       available_at = CASE fate.state
           WHEN 'waiting' THEN statement_timestamp() + fate.pause
           ELSE letter.available_at END
  FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(message_ids)s::text[], %(errors)s::text[],
              %(pauses)s::interval[]) AS fate (id, state, message_id, error, pause)
 WHERE letter.id = fate.id AND letter.state = 'waiting' AND letter.available_at = %(leased_until)s
"""


class Letter(NamedTuple):
    """A leased row of the outbox, with the message made from the job's row."""

    id: int
    queue: str
    destination: str
    attempts: int
    resends: int
    message: JobMessage

    @property
    def target(self) -> str:
        """Return the target, such as 'default/queue' or 'default/dlq'."""
        return f"{self.queue}/{self.destination}"


@dataclass(frozen=True)
class Page:
    """A leased page: ``size`` rows were taken, and those in ``letters`` can be sent until ``leased_until``."""

    size: int
    dropped: int
    held: int
    letters: list[Letter]
    leased_until: datetime | None


class Fate(NamedTuple):
    """The outcome of a letter. ``pause`` is how long a letter that is still waiting is left alone."""

    id: int
    state: Outbox.State
    message_id: str = ""
    error: str = ""
    pause: timedelta = timedelta(0)


def take(limit: int, *, without: Iterable[str] = (), only: UUID | None = None) -> Page:
    """Lease at most ``limit`` due rows, those due longest first, except for the targets in ``without``.

    ``only``: those of this job.
    """
    statement = _TAKE.format(
        most=BATCH_BYTES + 1,
        only="" if only is None else " AND job_id = %(only)s",
        if_free=if_free_in_statement(),
        jobs=JOBS.aliased_rows,
        status=JOBS.our_status("job"),
    )
    with connection.cursor() as cursor:
        asked: dict[str, Any] = {
            "limit": limit,
            "without": list(without),
            "lease": LEASE.total_seconds(),
            "only": only,
        }
        cursor.execute(statement, asked)
        rows = cursor.fetchall()
    verdicts = Counter(verdict for verdict, *_ in rows)
    letters = [_letter(*row[1:-1]) for row in rows if row[0] == "leased"]
    return Page(
        size=len(rows),
        dropped=verdicts["dropped"],
        held=verdicts["held"],
        letters=letters,
        leased_until=rows[0][-1] if letters else None,
    )


def _letter(
    id: int,  # noqa: A002 - named like the columns, in their order
    queue: str,
    destination: str,
    attempts: int,
    resends: int,
    *of_message: Any,
) -> Letter:
    job_id, customer_id, package_size, priority, retry, reason, run_epoch, dead_letter_id = of_message
    message = JobMessage(
        job_id=job_id,
        customer_id=customer_id,
        package_size=as_whole(package_size),
        priority=priority,
        retry=retry,
        reason=reason or None,
        run_epoch=run_epoch,
        dead_letter_id=str(dead_letter_id) if destination == Outbox.Destination.DLQ else None,
    )
    return Letter(id, queue, destination, attempts, resends, message)


def settle(page: Page, fates: Sequence[Fate]) -> int:
    """Record the outcomes of the page's letters; return how many were still leased to us."""
    sent = [fate for fate in fates if fate.state == Outbox.State.SENT]
    unsent = [fate for fate in fates if fate.state != Outbox.State.SENT]
    settled = 0
    with connection.cursor() as cursor:
        for statement, some in ((_SETTLE_SENT, sent), (_SETTLE_UNSENT, unsent)):
            if some:
                cursor.execute(statement, _values(page, some))
                settled += cursor.rowcount
    return settled


def _values(page: Page, fates: Sequence[Fate]) -> dict[str, Any]:
    return {
        "ids": [fate.id for fate in fates],
        "states": [fate.state.value for fate in fates],
        "message_ids": [fate.message_id for fate in fates],
        "errors": [fate.error for fate in fates],
        "pauses": [fate.pause for fate in fates],
        "leased_until": page.leased_until,
    }
