"""The signs of a restore or failover: looked for each minute, kept until an operator has acted, and alerted.

The database keeps the server's identity, which a restore to another server or a promoted standby changes. The store keeps
how far the data had come, which a restore takes back. Workers, messages and dead letters of the time that was lost name
epochs above those of the rows. A message may come from anybody and hold anything, so messages count only when they are about
several jobs, or when one is a copy that the outbox made of a dead run's message. A restore takes the sweeps of the lost time along:
where sweeps followed each other without a gap since the row changed, its later epoch never existed. There, messages count for
nothing, and heartbeats only when they name several jobs, as after a failover that lost seconds.
"""

from __future__ import annotations

from django.db import connection
from django.db.models.functions import Coalesce, Now

from alerts import notify
from alerts.notify import Trouble
from jobs.models import Restore, ServerMark
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.recovery import control
from jobs.restores import server
from jobs.restores.server import Position
from opsconsole.kit import addresses, one_statement, store_marks
from opsconsole.kit.counting import exactly
from opsconsole.kit.one_statement import Reading

ALERT = "database-restored"
COMMAND = 'python manage.py recovery_mode restored --reason "..."'
SHOWN = 5
# How many jobs messages must be about. One message with a mistyped or foreign number proves nothing.
SEVERAL = 3

_JOB_ID = {
    "uuid": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "bigint": "^-?[0-9]{1,18}$",
    "integer": "^-?[0-9]{1,9}$",
    "text": "",
}
# Completed jobs never run again, so nothing has to be fenced there. Of many dead letters, the newest are enough.
_AHEAD = """
WITH gaps AS (
SELECT max(started_at) AS last_ended_at
  FROM (SELECT id, started_at, started_at - lag(started_at) OVER (ORDER BY started_at) AS pause FROM sweeps
         UNION ALL
        SELECT 0, statement_timestamp(), statement_timestamp() - max(started_at) FROM sweeps) AS sweep
 -- Nothing was before the first sweep of all. The first one that is left may have followed another.
 WHERE CASE WHEN pause IS NULL THEN id <= 1 ELSE pause > make_interval(secs => %s) END
), ahead AS (
SELECT seen.who, seen.epoch, job.id, job.run_epoch, seen.proves,
       seen.who LIKE '%% sends heartbeats for' AS is_heartbeat, gaps.last_ended_at > job.updated_at AS may_be_lost
  FROM (SELECT 'Worker ' || worker_id || ' sends heartbeats for' AS who, current_job_id AS job_id,
               current_run_epoch AS epoch, true AS proves
          FROM {beats} AS beat WHERE current_job_id IS NOT NULL
         UNION ALL
        SELECT 'Worker ' || worker_id || ' received a message for',
               CASE WHEN metadata #>> '{{epoch_ahead,job_id}}' ~ '{is_job_id}'
                    THEN (metadata #>> '{{epoch_ahead,job_id}}')::{id_type} END,
               CASE jsonb_typeof(metadata #> '{{epoch_ahead,epoch}}') WHEN 'number'
                    THEN (metadata #>> '{{epoch_ahead,epoch}}')::numeric END, false
          FROM {beats} AS beat WHERE metadata -> 'epoch_ahead' IS NOT NULL
         UNION ALL
       (SELECT 'A dead letter is about', job_id, run_epoch,
               dead_letter_id ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'
          FROM dead_letters WHERE state = 'in_queue' AND job_id IS NOT NULL ORDER BY id DESC LIMIT 1000)) AS seen
  JOIN {jobs} AS job ON job.id = seen.job_id AND seen.epoch > job.run_epoch
 CROSS JOIN gaps
 WHERE {status} <> 'completed'
), counted AS (
SELECT * FROM ahead WHERE may_be_lost OR is_heartbeat
)
SELECT who, epoch, id, run_epoch
  FROM counted
 WHERE proves AND may_be_lost OR (SELECT count(DISTINCT id) FROM counted) >= %s
 LIMIT %s
"""


def watch() -> str:
    """Look for signs, and keep and alert them; without any, remember the position of the database."""
    mark = load()
    now = _position()
    signs = list(dict.fromkeys([*mark.signs, *_found(mark, now)]))
    if signs:
        _keep(signs)
        return f"{exactly(len(signs), 'sign')} of a restore"
    # What was compared: a database that went back meanwhile is noticed by the next look.
    _remember(mark, now)
    return "no sign of a restore"


def load() -> ServerMark:
    """Return the single row; a new database gets one."""
    mark = ServerMark.objects.filter(pk=1).first()
    if mark is None:
        ServerMark.objects.bulk_create([ServerMark(pk=1)], ignore_conflicts=True)
        mark = ServerMark.objects.get(pk=1)
    return mark


def kept() -> list[str]:
    """Return the signs that await an operator."""
    return list(one_statement.read(signs=reading())["signs"])


def reading() -> Reading[list[str]]:
    """Read the same together with other readings."""
    marks = one_statement.records_of(ServerMark.objects.filter(pk=1).values_list("signs"))
    return marks.then(lambda rows: [sign for [signs] in rows for sign in signs])


def look() -> list[str]:
    """Return the signs that were kept, and those that can be seen now. Change nothing but the single row."""
    mark = load()
    return list(dict.fromkeys([*mark.signs, *_found(mark, _position())]))


def highest_fence() -> int:
    """Return the highest fence that the store remembers, also of a time that a restore took back."""
    return (_remembered(load()) or Position()).fence or 0


def settle(news: str) -> None:
    """Forget the signs, because an operator has acted, and take the present position as the right one."""
    mark = load()
    ServerMark.objects.filter(pk=1).update(signs=[], noticed_at=None)
    _remember(mark, _position())
    notify.resolve(ALERT, news=news)


def _found(mark: ServerMark, now: Position) -> list[str]:
    here = Position(mark.system_identifier or None, mark.timeline)
    in_store = _remembered(mark) or Position()
    signs = [*server.differences(here, now), *server.differences(in_store, now)]
    return list(dict.fromkeys([*signs, *_epochs_ahead()]))


def _epochs_ahead() -> list[str]:
    gap = control.longest_normal_gap(control.configured_interval())
    with connection.cursor() as cursor:
        statement = _AHEAD.format(
            beats=HEARTBEATS.rows,
            jobs=JOBS.rows,
            status=JOBS.our_status("job"),
            id_type=JOBS.id_type,
            is_job_id=_JOB_ID[JOBS.id_type],
        )
        cursor.execute(statement, [gap.total_seconds(), SEVERAL, SHOWN])
        return [
            f"{who} run {epoch} of job {job_id}, whose row is at run {row_epoch}."
            for who, epoch, job_id, row_epoch in cursor.fetchall()
        ]


def _remembered(mark: ServerMark) -> Position | None:
    stored = store_marks.read(_name(mark))
    return Position.of_mark(stored) if stored else None


def _remember(mark: ServerMark, now: Position) -> None:
    """Keep the position in the database and in the store."""
    identity = {"system_identifier": now.system_identifier or "", "timeline": now.timeline}
    ServerMark.objects.filter(pk=1).update(**identity, remembered_at=Now())
    store_marks.write(_name(mark), now.as_mark())


def _position() -> Position:
    return server.position(Restore.objects.values_list("fence", flat=True).first())


def _name(mark: ServerMark) -> str:
    """Return the name of the mark in the store, which a new database does not share."""
    return f"database:{mark.installation}"


def _keep(signs: list[str]) -> None:
    ServerMark.objects.filter(pk=1).update(signs=signs, noticed_at=Coalesce("noticed_at", Now()))
    notify.fire(
        ALERT,
        Trouble(
            title="The database seems to have been restored or failed over",
            severity="critical",
            summary="Two workers may hold the same run, and jobs may wait that were completed after the backup. Read the "
            f"runbook, then run: {COMMAND}",
            value=len(signs),
            threshold=0,
            link=addresses.of_list("jobs_recoverycontrol"),
            facts=(("Noticed", "\n".join(signs[:SHOWN])),),
        ),
    )
