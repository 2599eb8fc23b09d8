"""Replay, discard and restore for many dead letters, with the same plan and guards as for one.

This module only writes requests with their ledger; ``jobs.dead_letters.fulfilment`` talks to SQS in the order of the
requests. A chunk is therefore one transaction, and letters are replayed in the order in which they were sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from jobs.bulk.kinds import MOST_NAMED, Kind, MemberResult, Order, Result, Results, Trial
from jobs.dead_letters import cluster_work, fifo_order, operations, origins, replay_results, scan_coverage
from jobs.dead_letters.replay_results import ReplayResult
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter
from opsconsole.kit.one_statement import Reading

# FIFO queues keep the order of sending within a group.
AS_SENT = ("sent_at", "pk")


def _carry_out(order: Order) -> list[Result]:
    outcomes = operations.carry_out(order.steps, order.actor, order.operation.reason)
    # Committed with the requests; the cluster would look within a minute anyway.
    cluster_work.ask_to_fulfil()
    return [Result.of(outcome) for outcome in outcomes]


TONES = {
    ReplayResult.COMPLETED: "good",
    ReplayResult.FAILED_AGAIN: "bad",
    ReplayResult.RUNNING: "running",
    ReplayResult.NOT_SENT_YET: "waiting",
    ReplayResult.NOT_SENT: "bad",
}


def result(of: ReplayResult, again: UUID | None = None) -> MemberResult:
    """Return the result of a replay as pages show it."""
    return MemberResult(of.label.capitalize(), TONES.get(of, "quiet"), str(again) if again else "")


def came_through(subjects: Sequence[str]) -> int:
    """Return how many of these letters were replayed for a job that has completed since."""
    results = replay_results.of_letters(subjects).values()
    return sum(followed.result == ReplayResult.COMPLETED for followed in results)


def _letters(subjects: QuerySet[Any]) -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(pk__in=subjects)


def _totals(subjects: QuerySet[Any]) -> list[tuple[MemberResult, int]]:
    counts = replay_results.totals(_letters(subjects))
    return [(result(each), counts[each]) for each in ReplayResult if counts[each]]


def _failed(subjects: QuerySet[Any]) -> list[str]:
    letters = replay_results.with_results(_letters(subjects)).filter(result=ReplayResult.FAILED_AGAIN)
    return [str(pk) for pk in letters.order_by(*AS_SENT).values_list("pk", flat=True)[:MOST_NAMED]]


def _results_of(subjects: Sequence[str]) -> Reading[Mapping[str, MemberResult]]:
    return replay_results.reading_of(subjects).then(
        lambda found: {str(pk): result(followed.result, followed.again) for pk, followed in found.items()}
    )


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    """Return the customer of the job that each letter names, or its queue when it names none."""
    letters = DeadLetter.objects.filter(pk__in=subjects)
    rows = letters.values_list("pk", "job__customer_id", "queue")
    return {
        str(pk): customer or (f"none (queue {queue})" if queue else "none") for pk, customer, queue in rows
    }


def not_seen() -> list[str]:
    """Return a sentence per dead letter queue that was not read, or of which the last scan did not see everything."""
    known = list(origins.known())
    unseen = [why for dlq in known if (why := scan_coverage.unseen_in_words(dlq))]
    rounds = [f"{why} The command redrive_dlq goes round until none is left." for why in unseen]
    return [*(why for _, why in origins.unread(known)), *rounds]


def _of_replays() -> list[str]:
    return [*not_seen(), *fifo_order.doubtful_groups()]


def _kind(
    action: LetterAction,
    verb: str,
    done_word: str,
    permission: str,
    trial: Trial | None = None,
    results: Results | None = None,
) -> Kind:
    return Kind(
        action=action.value,
        model=DeadLetter,
        page="jobs_deadletter",
        one="dead letter",
        many="dead letters",
        verb=verb,
        done_word=done_word,
        permission=f"jobs.{permission}_deadletter",
        order=AS_SENT,
        plan=partial(operations.plan, action),
        carry_out=_carry_out,
        describe=_customers,
        states=dict(DeadLetter.State.choices),
        trial=trial,
        results=results,
        caveats=_of_replays if action == LetterAction.REPLAY else not_seen,
    )


KINDS = (
    _kind(
        LetterAction.REPLAY,
        "Replay",
        "marked for replay",
        "replay",
        Trial(came_back=replay_results.failed_again, came_through=came_through),
        Results(totals=_totals, failed=_failed, of=_results_of),
    ),
    _kind(LetterAction.DISCARD, "Discard", "discarded", "discard"),
    _kind(LetterAction.RESTORE, "Restore", "restored", "discard"),
)
