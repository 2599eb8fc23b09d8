"""The delivery of notifications to channels, separate from the code that creates them (I7).

A sender leases a channel, posts one message with everything that waits for one alert, and records the answer. However
many senders run, a channel therefore gets one message at a time, in order, and at most one per second. If a sender
dies, its lease expires, and what it may have posted is sent again, labelled as a possible repeat.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from alerts.channels.outcome import ANSWER_LENGTH, ChannelAnswer, Outcome
from alerts.channels.targets import Target, all_targets
from alerts.channels.wording import AlertMessage, compose
from alerts.models import Attempt, Channel, Delivery, Notification
from alerts.sending import addressing, posting
from opsconsole.kit import activity, metrics, tracing
from opsconsole_worker.doubling import doubled

LEASE = timedelta(seconds=60)
BETWEEN_POSTS = timedelta(seconds=1)
FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=5)
# If more alerts than this wait at once, they are sent as one message.
DIGEST_ABOVE = 3
ADDRESSES_KEPT = 20
PAGE = 200


@dataclass(frozen=True)
class LeasedMessage:
    """A message that this sender may post while it holds the lease of the channel."""

    target: Target
    lease: uuid.UUID
    ids: list[int]
    message: AlertMessage


@dataclass
class DeliveryCounts:
    """The number of messages by outcome."""

    sent: int = 0
    again: int = 0
    refused: int = 0

    def __add__(self, other: DeliveryCounts) -> DeliveryCounts:
        return DeliveryCounts(self.sent + other.sent, self.again + other.again, self.refused + other.refused)

    @property
    def posted(self) -> int:
        return self.sent + self.again + self.refused

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.again} to be retried, {self.refused} refused"


# Asked each second, for which Django would take longer than PostgreSQL.
_SOMETHING_WAITS = """
SELECT EXISTS (SELECT FROM alert_notifications WHERE addressed_at IS NULL)
    OR EXISTS (SELECT FROM alert_deliveries WHERE state = 'waiting')
"""


def deliver() -> DeliveryCounts:
    """Post at most one message to each channel that is ready."""
    counts = DeliveryCounts()
    if not (all_targets() and _something_waits()):
        return counts
    addressing.address_notifications()
    for target in all_targets().values():
        addressing.hand_over(target)
        leased = lease_message(target)
        if leased is None:
            continue
        with tracing.span("alert delivery", {"opsconsole.channel": target.name}) as span:
            answer = posting.answer_in_time(partial(post, leased))
            record_answer(leased, answer)
            failed = "" if answer.outcome == Outcome.DELIVERED else answer.outcome.value
            span.tell({"opsconsole.outcome": answer.outcome.value}, failed=failed)
        _count(counts, answer)
    return counts


def _something_waits() -> bool:
    """Tell whether a notification has no deliveries yet, or a delivery is not settled: mostly, none is."""
    with connection.cursor() as cursor:
        cursor.execute(_SOMETHING_WAITS)
        return bool(cursor.fetchone()[0])


def _count(counts: DeliveryCounts, answer: ChannelAnswer) -> None:
    match answer.outcome:
        case Outcome.DELIVERED:
            counts.sent += 1
        case Outcome.BROKEN:
            counts.refused += 1
        case _:
            counts.again += 1


def _ready(target: Target) -> QuerySet[Channel]:
    """Return the channel if it is free and has a message waiting. A broken address gets only test messages.

    A pause after failures does not apply to an address that was never tried.
    """
    waiting = Delivery.objects.waiting().filter(channel=OuterRef("name"))
    tests = waiting.filter(notification__kind=Notification.Kind.TEST)
    return Channel.objects.filter(
        Q(leased_until=None) | Q(leased_until__lte=Now()),
        Q(Exists(tests)) | ~Q(pk__in=Channel.objects.broken(target.digest)) & Q(Exists(waiting)),
        Q(next_post_at__lte=Now()) | ~Q(addresses__has_key=target.digest),
        pk=target.name,
    )


def lease_message(target: Target) -> LeasedMessage | None:
    """Lease the channel and return its next message, or None if nothing waits or another sender holds the channel.

    The condition of the UPDATE lets only one sender through. Deliveries that were posted before without a known outcome
    are marked as possible repeats.
    """
    lease = uuid.uuid4()
    with transaction.atomic():
        if not _ready(target).update(
            lease=lease, leased_until=Now() + LEASE, next_post_at=Now() + BETWEEN_POSTS, last_attempt_at=Now()
        ):
            return None
        channel = Channel.objects.annotate(db_now=Now()).get(pk=target.name)
        _begin_with_address(channel, target)
        deliveries = _next_deliveries(channel, target)
        rows = Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries])
        rows.filter(in_doubt=True).update(may_be_repeat=True)
        rows.update(in_doubt=True)
    return LeasedMessage(target, lease, [row.pk for row in deliveries], _message(deliveries, channel.db_now))


def _begin_with_address(channel: Channel, target: Target) -> None:
    """Note an address that was never tried, which starts without the failures of the one before."""
    if target.digest in channel.addresses:
        return
    known = channel.addresses if len(channel.addresses) < ADDRESSES_KEPT else {}
    Channel.objects.filter(pk=channel.pk).update(
        addresses=known | {target.digest: Channel.WORKING}, failures=0, failing_since=None
    )


def _next_deliveries(channel: Channel, target: Target) -> list[Delivery]:
    waiting = Delivery.objects.waiting().filter(channel=channel.pk).select_related("notification__alert")
    if channel.is_broken(target.digest):
        waiting = waiting.filter(notification__kind=Notification.Kind.TEST)
    page = list(waiting.order_by("notification_id")[:PAGE])
    waiting_alerts = list(dict.fromkeys(delivery.notification.alert_id for delivery in page))
    digest = len(waiting_alerts) > DIGEST_ABOVE and not target.opens_incidents
    alerts = waiting_alerts if digest else waiting_alerts[:1]
    deliveries = [delivery for delivery in page if delivery.notification.alert_id in alerts]
    return _one_event(deliveries) if target.opens_incidents else deliveries


def _one_event(deliveries: list[Delivery]) -> list[Delivery]:
    """Return the deliveries that one event covers: an incident must be opened before it can be resolved."""
    kinds = [delivery.notification.kind for delivery in deliveries]
    if Notification.Kind.FIRING in kinds and Notification.Kind.RESOLVED in kinds:
        return deliveries[: kinds.index(Notification.Kind.RESOLVED)]
    return deliveries


def _message(deliveries: Sequence[Delivery], now: datetime) -> AlertMessage:
    for delivery in deliveries:
        delivery.may_be_repeat = delivery.may_be_repeat or delivery.in_doubt
    return compose(deliveries, now, plain=_was_malformed(deliveries))


def _was_malformed(deliveries: Sequence[Delivery]) -> bool:
    outcomes = (
        Attempt.objects.filter(delivery__in=deliveries).order_by("-pk").values_list("outcome", flat=True)
    )
    return outcomes.first() == Outcome.MALFORMED


def post(leased: LeasedMessage) -> ChannelAnswer:
    """Post the message. This makes a network request, and no database query."""
    return posting.post(leased.target, leased.message)


def record_answer(leased: LeasedMessage, answer: ChannelAnswer) -> None:
    """Store the answer with each delivery of the message, and update the state of the channel."""
    answer = _final_answer(leased, answer)
    metrics.DELIVERIES.count(channel=leased.target.name, outcome=answer.outcome.value)
    with transaction.atomic():
        alerts = set(
            Delivery.objects.filter(pk__in=leased.ids).values_list("notification__alert_id", flat=True)
        )
        Attempt.objects.bulk_create(
            Attempt(delivery_id=pk, outcome=answer.outcome, answer=answer.text[:ANSWER_LENGTH])
            for pk in leased.ids
        )
        waiting = Delivery.objects.waiting().filter(pk__in=leased.ids)
        if answer.outcome == Outcome.DELIVERED:
            waiting.update(state=Delivery.State.SENT, settled_at=Now(), in_doubt=False)
        elif answer.outcome != Outcome.UNKNOWN and _holds_lease(leased):
            # After the lease has expired, another sender may have posted the message meanwhile.
            waiting.update(in_doubt=False)
        # After the lease has expired, the channel's state belongs to the next sender.
        held = Channel.objects.filter(pk=leased.target.name, lease=leased.lease)
        if channel := held.first():
            held.update(
                lease=None,
                leased_until=None,
                last_answer=answer.text[:ANSWER_LENGTH],
                **_consequences(answer, channel, leased.target.digest),
            )
        activity.done(
            "alert sent" if answer.outcome == Outcome.DELIVERED else "alert not delivered",
            level=logging.INFO if answer.outcome == Outcome.DELIVERED else logging.WARNING,
            alert=",".join(str(pk) for pk in sorted(alerts)),
            channel=leased.target.name,
            outcome=answer.outcome.value,
            answer=answer.text or None,
        )


def _holds_lease(leased: LeasedMessage) -> bool:
    return Channel.objects.filter(pk=leased.target.name, lease=leased.lease).exists()


def _final_answer(leased: LeasedMessage, answer: ChannelAnswer) -> ChannelAnswer:
    """Return the answer, as a broken channel if it rejected even the plain format."""
    if answer.outcome == Outcome.MALFORMED and leased.message.plain:
        return replace(answer, outcome=Outcome.BROKEN)
    return answer


def _consequences(answer: ChannelAnswer, channel: Channel, address: str) -> dict[str, Any]:
    match answer.outcome:
        case Outcome.DELIVERED:
            healthy = {"failures": 0, "failing_since": None, "broken_since": None, "broken_why": ""}
            addresses = channel.addresses | {address: Channel.WORKING}
            return healthy | {"addresses": addresses, "last_ok_at": Now()}
        case Outcome.BROKEN:
            return {
                "addresses": channel.addresses | {address: Channel.BROKEN},
                "broken_since": Coalesce("broken_since", Now()),
                "broken_why": answer.text[:ANSWER_LENGTH],
            }
        case Outcome.MALFORMED:
            # The message is sent again in the plain format as soon as the channel is free.
            return {}
    return {
        "failures": F("failures") + 1,
        "failing_since": Coalesce("failing_since", Now()),
        "next_post_at": Now() + backoff(channel.failures, answer.retry_after),
    }


def backoff(failures: int, retry_after: timedelta | None) -> timedelta:
    """Return the pause after this many failures, with jitter and at least as long as the channel asked for."""
    pause = doubled(FIRST_BACKOFF, failures, LONGEST_BACKOFF)
    return max(pause, retry_after or timedelta(0)) * random.uniform(1.0, 1.2)
