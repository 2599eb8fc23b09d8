"""Freezing: the members of a bulk operation are stored as chosen, with what would happen to each.

Rows that match the filter later are not included. What was seen of each member is compared again when it is carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Count, Min, QuerySet
from django.db.models.functions import Now

from jobs.bulk.kinds import Alike, Kind
from jobs.models import BulkMember, BulkOperation
from jobs.operations.steps import Step
from jobs.runs.timeline import Actor

PLANNED_AT_ONCE = 1_000
# With more combinations of values than this, the members that have the rarest ones are planned one by one.
MOST_ALIKE = 1_000

# What is left out is settled when it is frozen, so that confirming a preview changes no member.
SETTLED = """
CASE WHEN {will} IS FALSE THEN 'skipped' ELSE 'waiting' END, CASE WHEN {will} IS FALSE THEN statement_timestamp() END"""

_FREEZE = """
INSERT INTO bulk_members (operation_id, subject)
SELECT %s, chosen.subject::text FROM ({chosen}) AS chosen (subject)
"""

# Values are compared as texts. One without a value equals none, so it is planned by itself.
_VALUES = """
SELECT {columns} FROM ({chosen}) AS chosen (subject, {columns})
 WHERE {status}::text <> ALL(%s::text[])
 GROUP BY {columns} ORDER BY count(*) DESC LIMIT %s
"""
_FREEZE_ALIKE = """
INSERT INTO bulk_members (operation_id, subject, seen_status, seen_epoch, seen_reason, will, sentence, outcome, settled_at)
SELECT %s, chosen.subject::text, coalesce(plan.seen_status, ''), plan.seen_epoch, coalesce(plan.seen_reason, ''),
       coalesce(plan.will, false), coalesce(plan.sentence, ''), {settled}
  FROM (SELECT *, row_number() OVER () AS place FROM ({chosen}) AS each (subject, {columns})) AS chosen
  LEFT JOIN unnest({arrays}, %s::text[], %s::int[], %s::text[], %s::boolean[], %s::text[])
       AS plan ({columns}, seen_status, seen_epoch, seen_reason, will, sentence)
    ON {equal}
 ORDER BY chosen.place
"""

_PLAN = """
UPDATE bulk_members AS member
   SET seen_status = plan.status, seen_epoch = plan.epoch, seen_reason = plan.reason, will = plan.will,
       sentence = plan.sentence, (outcome, settled_at) = ({settled})
  FROM unnest(%(ids)s::bigint[], %(statuses)s::text[], %(epochs)s::int[], %(reasons)s::text[],
              %(wills)s::boolean[], %(sentences)s::text[]) AS plan (id, status, epoch, reason, will, sentence)
 WHERE member.id = plan.id
""".replace("{settled}", SETTLED.format(will="plan.will"))

GONE = "It is gone from the database."


@dataclass(frozen=True)
class Group:
    """The number of members with one status and diagnosis, and the sentence for one of them."""

    seen_status: str
    seen_reason: str
    count: int
    example: str


def freeze(kind: Kind, chosen: QuerySet[Any], actor: Actor, *, scope: str, query: str = "") -> BulkOperation:
    """Store a preview of this action on everything in ``chosen``, at most OPSCONSOLE_BULK_MOST members.

    ``scope`` describes the choice in words; ``query`` is the query string of its list.
    """
    with transaction.atomic():
        operation = BulkOperation.objects.create(
            action=kind.action, scope=scope, query=query, actor=actor.name, user_id=actor.user_id
        )
        _take(operation, chosen.order_by(*kind.order), kind.alike)
        for page in _pages_to_plan(operation):
            steps = kind.plan([kind.subject_id(subject) for subject in page.values()])
            _write_plans(page, {str(step.job_id): step for step in steps})
        will = operation.members.filter(will=True).count()
        BulkOperation.objects.filter(pk=operation.pk).update(
            total=operation.total, capped=operation.capped, will=will
        )
    operation.refresh_from_db()
    return operation


def _take(operation: BulkOperation, subjects: QuerySet[Any], alike: Alike | None) -> None:
    """Store the members, with the plans of those that are decided alike."""
    most = settings.OPSCONSOLE_BULK_MOST
    columns = alike.columns if alike else ()
    try:
        # One more than allowed shows that there are more, without counting them.
        chosen = subjects.values("pk", *columns)[: most + 1].query.sql_with_params()
    except EmptyResultSet:
        operation.total, operation.capped = 0, False
        return
    with connection.cursor() as cursor:
        if alike:
            _freeze_alike(cursor, operation, chosen, alike)
        else:
            cursor.execute(_FREEZE.format(chosen=chosen[0]), [operation.pk, *chosen[1]])
        operation.total, operation.capped = min(cursor.rowcount, most), cursor.rowcount > most
    if operation.capped:
        operation.members.order_by("-id")[0].delete()


def _freeze_alike(
    cursor: Any, operation: BulkOperation, chosen: tuple[str, tuple[Any, ...]], alike: Alike
) -> None:
    """Store the members by one statement, which gives each the plan for what it reads of it; some stay without a plan."""
    sql, parameters = chosen
    columns = ", ".join(alike.columns)
    cursor.execute(
        _VALUES.format(chosen=sql, columns=columns, status=alike.columns[0]),
        [*parameters, list(alike.apart), MOST_ALIKE],
    )
    values = [[str(each) for each in row] for row in cursor.fetchall() if None not in row]
    steps = [alike.plan(each) for each in values]
    cursor.execute(
        _FREEZE_ALIKE.format(
            chosen=sql,
            columns=columns,
            arrays=", ".join("%s::text[]" for _ in alike.columns),
            settled=SETTLED.format(will="plan.will"),
            equal=" AND ".join(f"plan.{name} = chosen.{name}::text" for name in alike.columns),
        ),
        [
            operation.pk,
            *parameters,
            *([row[place] for row in values] for place in range(len(alike.columns))),
            [step.seen_status for step in steps],
            [step.seen_epoch for step in steps],
            [step.seen_reason for step in steps],
            [step.will for step in steps],
            [step.sentence for step in steps],
        ],
    )


def _pages_to_plan(operation: BulkOperation) -> Iterator[dict[int, str]]:
    """Yield pages of the subjects that have no plan yet, by member id."""
    members = operation.members.filter(sentence="").order_by("id").values_list("id", "subject")
    last = 0
    while page := dict(members.filter(id__gt=last)[:PLANNED_AT_ONCE]):
        yield page
        last = max(page)


def _write_plans(page: Mapping[int, str], steps: Mapping[str, Step]) -> None:
    planned = {member: steps[subject] for member, subject in page.items() if subject in steps}
    with connection.cursor() as cursor:
        cursor.execute(
            _PLAN,
            {
                "ids": list(planned),
                "statuses": [step.seen_status for step in planned.values()],
                "epochs": [step.seen_epoch for step in planned.values()],
                "reasons": [step.seen_reason for step in planned.values()],
                "wills": [step.will for step in planned.values()],
                "sentences": [step.sentence for step in planned.values()],
            },
        )
    BulkMember.objects.filter(pk__in=page.keys() - planned.keys()).update(
        sentence=GONE, outcome=BulkMember.Outcome.SKIPPED, settled_at=Now()
    )


def groups(operation: BulkOperation, *, will: bool) -> list[Group]:
    """Return the members that will be changed, or those that will be skipped, grouped by what was seen of them."""
    if operation.counted is not None:
        own = [Group(*seen) for each, *seen in operation.counted if each == will]
        return sorted(own, key=lambda group: (-group.count, group.seen_status))
    counted = operation.members.filter(will=will).values_list("seen_status", "seen_reason")
    return [
        Group(*row)
        for row in counted.annotate(count=Count("pk"), example=Min("sentence")).order_by(
            "-count", "seen_status"
        )
    ]


def sample(operation: BulkOperation, size: int) -> list[BulkMember]:
    """Return the first members that will be changed."""
    # All of a preview that it does not leave out are waiting, and an index has those in order.
    return list(operation.members.waiting().filter(will=True).order_by("id")[:size])
