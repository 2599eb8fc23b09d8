"""Freezing in the cluster: a choice of more rows than a request can freeze is stored page by page, in bounded statements.

The operation keeps the choice as a signed SELECT, and the last row that was stored. Each page and this note of it are one
transaction, so that after a crash the next runner continues there. The preview exists once all are frozen: nobody confirms
a part, and what is confirmed is what was frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from django.conf import settings
from django.core import signing
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.bulk import freezing
from jobs.bulk.kinds import BulkRefused, Kind
from jobs.bulk.runner_leases import CHUNK_LEASE, wake
from jobs.models import BulkOperation
from jobs.operations.steps import Step
from jobs.runs.timeline import Actor

# What one request freezes: less than a second's work.
AT_ONCE = 20_000
PAGE = 5_000

# Only what this console has written is carried out.
_SIGNER = signing.Signer(salt="jobs.bulk.background_freezing")
# Where the last page ended: the key of a row and its time, as texts.
Place: TypeAlias = Sequence[str | None]
# A group of members with the same plan: whether it is carried out, what was seen, how many, and a sentence of one.
Counted: TypeAlias = tuple[bool, str, str, int, str]

# Rows without a time come last, and are read by their keys alone, so that each page is one range of an index.
_WITH_TIME = "place IS NOT NULL"
_AFTER = "(place, subject) > (%s, %s)"
_WITHOUT_TIME = "place IS NULL"
_AFTER_WITHOUT_TIME = "place IS NULL AND subject > %s"
_PAGE = """
SELECT subject::text, place::text{columns} FROM ({choice}) AS chosen (subject, place{columns})
 WHERE {condition} ORDER BY chosen.place, chosen.subject LIMIT %s
"""
_STORE = """
INSERT INTO bulk_members (operation_id, subject, seen_status, seen_epoch, seen_reason, will, sentence, outcome, settled_at)
SELECT %s, member.*, {settled}
  FROM unnest(%s::text[], %s::text[], %s::int[], %s::text[], %s::boolean[], %s::text[])
       AS member (subject, seen_status, seen_epoch, seen_reason, will, sentence)
""".replace("{settled}", freezing.SETTLED.format(will="member.will"))

State = BulkOperation.State


def prepare(kind: Kind, chosen: QuerySet[Any], actor: Actor, *, scope: str, query: str = "") -> BulkOperation:
    """Return a preview of this action on everything in ``chosen``, or an operation that the cluster freezes.

    Counting ends at ``AT_ONCE``, so that the answer comes at once whatever is chosen.
    """
    if chosen.order_by().values("pk")[: AT_ONCE + 1].count() <= AT_ONCE:
        return freezing.freeze(kind, chosen, actor, scope=scope, query=query)
    with transaction.atomic():
        operation = BulkOperation.objects.create(
            action=kind.action,
            scope=scope,
            query=query,
            actor=actor.name,
            user_id=actor.user_id,
            state=State.FREEZING,
            choice=_signed(kind, chosen),
        )
        wake()
    operation.refresh_from_db()
    return operation


def _signed(kind: Kind, chosen: QuerySet[Any]) -> str:
    sql, parameters = chosen.order_by().values("pk", kind.order[0], *_columns(kind)).query.sql_with_params()
    # The types are those of any database, and PostgreSQL's alone puts values into a text.
    operations: Any = connection.ops
    return _SIGNER.sign(operations.compose_sql(sql, parameters))


def _columns(kind: Kind) -> tuple[str, ...]:
    return kind.alike.columns if kind.alike else ()


@transaction.atomic
def advance(operation: BulkOperation, runner: str, kind: Kind) -> bool:
    """Freeze the next page of an operation. Return False when another runner has it, or it was cancelled."""
    due = BulkOperation.objects.due_for(runner).order_by().filter(pk=operation.pk, state=State.FREEZING)
    if not due.update(runner=runner, due_at=Now(), leased_until=Now() + CHUNK_LEASE):
        return False
    operation = BulkOperation.objects.get(pk=operation.pk)
    # The setting may have been lowered meanwhile.
    room = max(0, settings.OPSCONSOLE_BULK_MOST - operation.total)
    rows = _next_rows(operation, kind, min(PAGE, room + 1))
    stored = rows[:room]
    planned = _store(operation, kind, stored)
    changes: dict[str, Any] = {
        "total": operation.total + len(stored),
        "will": operation.will + sum(step.will for step in planned),
        "counted": _counted(operation.counted or [], planned),
        "frozen_to": list(rows[-1][:2]) if rows else ["", None],
        "troubles": 0,
    }
    capped = len(rows) > room
    if capped or (not rows and _is_behind_times(operation)):
        # The preview is as old as its last member. Whoever is the first to carry it out need not wait for this lease.
        changes |= {"state": State.PREVIEW, "capped": capped, "choice": "", "created_at": Now()}
        changes |= {"runner": "", "leased_until": Now()}
    BulkOperation.objects.filter(pk=operation.pk).update(**changes)
    return True


def _is_behind_times(operation: BulkOperation) -> bool:
    return operation.frozen_to is not None and operation.frozen_to[1] is None


def _next_rows(operation: BulkOperation, kind: Kind, most: int) -> list[tuple[Any, ...]]:
    condition, parameters = _condition(operation.frozen_to)
    statement = _PAGE.format(
        columns="".join(f", {name}" for name in _columns(kind)),
        # Its values are in its text, where a percent sign is one.
        choice=_choice_of(operation).replace("%", "%%"),
        condition=condition,
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*parameters, most])
        return list(cursor.fetchall())


def _choice_of(operation: BulkOperation) -> str:
    try:
        return _SIGNER.unsign(operation.choice)
    except signing.BadSignature as error:
        raise BulkRefused(
            "What was chosen is not signed with this console's secret key. Select the rows again."
        ) from error


def _condition(frozen_to: Place | None) -> tuple[str, Place]:
    if frozen_to is None:
        return _WITH_TIME, ()
    subject, place = frozen_to
    if place is not None:
        return _AFTER, (place, subject)
    return (_AFTER_WITHOUT_TIME, (subject,)) if subject else (_WITHOUT_TIME, ())


def _counted(before: Sequence[Counted], planned: Sequence[Step]) -> list[Counted]:
    """Add the members of a page to the groups of the preview, so that its page need not read a million members."""
    groups = {(will, status, reason): (count, example) for will, status, reason, count, example in before}
    for step in planned:
        key = step.will, step.seen_status, step.seen_reason
        count, example = groups.get(key, (0, step.sentence))
        groups[key] = count + 1, min(example, step.sentence)
    return [(*key, *seen) for key, seen in groups.items()]


def _store(operation: BulkOperation, kind: Kind, rows: Sequence[tuple[Any, ...]]) -> list[Step]:
    """Store these rows as members with their plans, in their order; return the plans."""
    steps = _plans(kind, rows)
    members = [(subject, steps.get(subject)) for subject, *_ in rows]
    planned = [step or _gone(kind, subject) for subject, step in members]
    with connection.cursor() as cursor:
        cursor.execute(
            _STORE,
            [
                operation.pk,
                [subject for subject, _ in members],
                [step.seen_status for step in planned],
                [step.seen_epoch if step.seen_status else None for step in planned],
                [step.seen_reason for step in planned],
                [step.will for step in planned],
                [step.sentence for step in planned],
            ],
        )
    return planned


def _plans(kind: Kind, rows: Sequence[tuple[Any, ...]]) -> dict[str, Step]:
    """Plan those alike by their values, each combination once, and the others one by one."""
    steps: dict[str, Step] = {}
    alike: dict[tuple[str, ...], Step] = {}
    apart: list[str] = []
    for subject, _, *values in rows:
        if kind.alike is None or None in values or values[0] in kind.alike.apart:
            apart.append(subject)
            continue
        texts = tuple(str(value) for value in values)
        if texts not in alike:
            alike[texts] = kind.alike.plan(texts)
        steps[subject] = alike[texts]
    for start in range(0, len(apart), freezing.PLANNED_AT_ONCE):
        some = apart[start : start + freezing.PLANNED_AT_ONCE]
        steps |= {str(step.job_id): step for step in kind.plan([kind.subject_id(each) for each in some])}
    return steps


def _gone(kind: Kind, subject: str) -> Step:
    return Step(
        job_id=kind.subject_id(subject),
        action=kind.action,
        seen_status="",
        seen_epoch=0,
        seen_reason="",
        will=False,
        sentence=freezing.GONE,
    )
