"""Gauges about outgoing messages: those that are not sent, and old transactions that make taking them slow."""

from __future__ import annotations

from alerts.notify import Trouble
from jobs.models import Outbox
from jobs.watch import old_transactions
from jobs.watch.gauge_reading import Reading, list_of
from jobs.watch.old_transactions import Obstacle
from opsconsole.kit import counting
from opsconsole.kit.counting import figure, many
from opsconsole.kit.durations import spell


def outbox_stuck() -> Reading:
    stuck = Outbox.objects.stuck()
    count = counting.count(stuck)
    failed = stuck.exclude(last_error="").order_by("available_at").values_list("last_error", flat=True)
    return stuck_reading(count, (failed.first() or "") if count else "")


def stuck_reading(count: int, error: str) -> Reading:
    return Reading(
        count,
        Trouble(
            title=overdue_in_words(count),
            summary=(
                "SQS does not take them." if error else "Nobody sends them: see that the dispatcher runs."
            ),
            link=list_of("outbox", "?state=overdue"),
            facts=(("SQS says", error),) if error else (),
        ),
    )


def overdue_in_words(count: int) -> str:
    return f"{many(count, 'message')} should have been sent by now"


def old_transaction() -> Reading:
    return old_transaction_reading(old_transactions.present())


def old_transaction_reading(obstacle: Obstacle) -> Reading:
    if obstacle.age is None:
        return Reading(None, why_unknown=f"{obstacle.sentence}. {old_transactions.WHY_UNKNOWN}")
    holder = obstacle.holder
    facts = (("Held back by", holder.who), ("To end it", holder.ending)) if holder else ()
    return Reading(
        int(obstacle.age.total_seconds() / 60),
        Trouble(
            title=f"An old transaction has kept dead rows from being removed for {spell(obstacle.age)}",
            summary="Taking the next messages becomes slower with each dead row. See what the transaction is for, and end it.",
            link=list_of("outbox"),
            facts=(*facts, ("Dead rows of jobs and messages", figure(obstacle.dead_rows))),
        ),
    )
