"""The results of replays: whether the work that a letter was about has completed since, or failed again.

A letter that names a known job is followed to the end of that job. One that was sent as a message is known to have
failed again only when a scan sees it again; otherwise nothing in the console can tell what became of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict
from uuid import UUID

from django.db import connection, models
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django_stubs_ext import WithAnnotations

from jobs.letter_ledger.entries import LetterAction, State
from jobs.models import DeadLetter, Job, ReplayAttempt, Status
from opsconsole.kit.one_statement import Reading, read, records_of

# The newest replayed letters of a group whose results are counted: on its page, and in a list of many groups.
MOST_OF_A_GROUP = 200
MOST_OF_EACH = 5


class ReplayResult(models.TextChoices):
    COMPLETED = "completed"
    FAILED_AGAIN = "failed_again", "failed again"
    RUNNING = "running", "still waiting or running"
    CANCELLED = "cancelled"
    NOT_SENT_YET = "not_sent_yet", "not sent yet"
    NOT_SENT = "not_sent", "not sent"
    UNKNOWN = "unknown", "result unknown"


@dataclass(frozen=True)
class Followed:
    """The result of a letter's last replay. ``again``: the letter as which it failed again, if a scan saw one."""

    result: ReplayResult
    again: UUID | None


def as_far_as_seen(followed: Followed | None, *, sees_jobs: bool) -> Followed | None:
    """Return the result without what only the job tells: then that the letter came back is known, and nothing else."""
    if followed is None or sees_jobs:
        return followed
    return Followed(ReplayResult.FAILED_AGAIN, followed.again) if followed.again else None


class ResultColumns(TypedDict):
    """``result`` is None for letters that nobody has replayed."""

    replay_state: str | None
    replay_epoch: int | None
    job_status: str | None
    job_epoch: int | None
    again: UUID | None
    result: str | None


LetterWithResult: TypeAlias = "WithAnnotations[DeadLetter, ResultColumns]"

# The first condition that holds decides. A job that has completed after all counts more than that it failed in between.
_OF_JOB = Q(replay_epoch__lte=F("job_epoch"))
_RULES: tuple[tuple[Q, ReplayResult], ...] = (
    (_OF_JOB & Q(job_status=Status.COMPLETED), ReplayResult.COMPLETED),
    (_OF_JOB & Q(job_status__in=[Status.PENDING, Status.IN_PROGRESS]), ReplayResult.RUNNING),
    (Q(again__isnull=False), ReplayResult.FAILED_AGAIN),
    (_OF_JOB & Q(job_status__in=[Status.FAILED, Status.QUARANTINED]), ReplayResult.FAILED_AGAIN),
    (_OF_JOB & Q(job_status=Status.CANCELLED), ReplayResult.CANCELLED),
    (Q(replay_state__in=[State.WANTED, State.SENDING]), ReplayResult.NOT_SENT_YET),
    (Q(replay_state=State.NOT_DONE), ReplayResult.NOT_SENT),
    (Q(replay_state__isnull=False), ReplayResult.UNKNOWN),
)


def with_results(letters: QuerySet[DeadLetter]) -> QuerySet[LetterWithResult]:
    """Annotate each letter with the result of its last replay; one query follows any number of letters."""
    replays = ReplayAttempt.objects.filter(letter=OuterRef("pk"), action=LetterAction.REPLAY).order_by("-pk")
    # Looked up letter by letter: a join would read the whole table for a page of letters.
    jobs = Job.objects.filter(pk=OuterRef("job_id"))
    returned = DeadLetter.objects.filter(returned_from=OuterRef("pk")).order_by("-first_seen_at", "-pk")
    return letters.annotate(
        replay_state=Subquery(replays.values("state")[:1]),
        replay_epoch=Subquery(replays.values("job_epoch")[:1]),
        job_status=Subquery(jobs.values("status")[:1]),
        job_epoch=Subquery(jobs.values("run_epoch")[:1]),
        again=Subquery(returned.values("pk")[:1]),
        result=Case(
            *(When(condition, then=Value(result.value)) for condition, result in _RULES),
            default=Value(None),
            output_field=models.TextField(null=True),
        ),
    )


def of_letters(ids: Collection[UUID | str]) -> dict[UUID, Followed]:
    """Return the result of each of these letters that was replayed."""
    return read(letters=reading_of(ids))["letters"] if ids else {}


def reading_of(ids: Collection[UUID | str]) -> Reading[dict[UUID, Followed]]:
    """Return the reading of the same, for a page that asks for more at once."""
    letters = with_results(DeadLetter.objects.filter(pk__in=ids)).exclude(result=None)
    rows: QuerySet[Any, Any] = letters.order_by().values_list("pk", "result", "again")
    return records_of(rows).then(
        lambda found: {pk: Followed(ReplayResult(result), again) for pk, result, again in found}
    )


def failed_again(ids: Collection[UUID | str]) -> list[str]:
    """Return those of these letters that failed again after their replay."""
    results = of_letters(ids)
    return [str(pk) for pk, followed in results.items() if followed.result == ReplayResult.FAILED_AGAIN]


def totals(letters: QuerySet[DeadLetter]) -> Counter[ReplayResult]:
    """Count these letters by the result of their last replay."""
    counted: QuerySet[Any, Any] = with_results(letters).exclude(result=None).order_by()
    rows = counted.values_list("result").annotate(Count("pk"))
    return Counter({ReplayResult(result): count for result, count in rows})


def of_groups(group_ids: Collection[int], most: int = MOST_OF_EACH) -> dict[int, Counter[ReplayResult]]:
    """Count the newest replayed letters of each group, at most this many, by the result of their last replay."""
    counted: dict[int, Counter[ReplayResult]] = {}
    letters: QuerySet[Any, Any] = with_results(
        DeadLetter.objects.filter(pk__in=_newest_replayed(group_ids, most))
    )
    rows = letters.exclude(result=None).order_by().values_list("group", "result").annotate(Count("pk"))
    for group, result, count in rows:
        counted.setdefault(group, Counter())[ReplayResult(result)] = count
    return counted


def _newest_replayed(group_ids: Collection[int], most: int) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT newest.id
              FROM unnest(%s::bigint[]) AS chosen (id)
             CROSS JOIN LATERAL (
                   SELECT id FROM dead_letters
                    WHERE group_id = chosen.id AND state = 'replayed'
                    ORDER BY first_seen_at DESC LIMIT %s) AS newest
            """,
            [list(group_ids), most],
        )
        return [row[0] for row in cursor.fetchall()]
