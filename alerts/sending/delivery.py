"""Sends notifications, apart from whatever decided that there is something to tell (I7).

A sender takes the lease of a channel, posts one message that holds all that waits for one alert, and records the
answer. So one message at a time goes to a channel, in order and at most one a second, however many senders
there are. A sender that dies lets the lease run out, and what it may have posted is sent again and labelled.
"""

from __future__ import annotations

import queue
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from alerts.channels import apprise_urls, slack
from alerts.channels.configured import SLACK, Target, configured
from alerts.channels.outcome import ANSWER_LENGTH, Answer, Outcome
from alerts.channels.wording import Message, compose
from alerts.models import Attempt, Channel, Delivery, Notification
from alerts.sending import addressing

LEASE = timedelta(seconds=60)
ANSWER_SECONDS = 20.0
BETWEEN_POSTS = timedelta(seconds=1)
FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=5)
# More alerts than that at once become one message.
DIGEST_ABOVE = 3
PAGE = 200


@dataclass(frozen=True)
class Leased:
    """A message that is ours to post while we hold the lease of its channel."""

    target: Target
    lease: uuid.UUID
    ids: list[int]
    message: Message


@dataclass
class Passed:
    """What one pass over all channels did, in messages."""

    sent: int = 0
    again: int = 0
    refused: int = 0

    def __add__(self, other: Passed) -> Passed:
        return Passed(self.sent + other.sent, self.again + other.again, self.refused + other.refused)

    @property
    def posted(self) -> int:
        return self.sent + self.again + self.refused

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.again} to be tried again, {self.refused} refused"


def deliver() -> Passed:
    """Post at most one message to each channel that may take one now."""
    passed = Passed()
    addressing.address()
    for target in configured().values():
        addressing.hand_over(target)
        leased = take(target)
        if leased is None:
            continue
        answer = answer_in_time(lambda leased=leased: post(leased))  # type: ignore[misc]
        settle(leased, answer)
        _count(passed, answer)
    return passed


def _count(passed: Passed, answer: Answer) -> None:
    match answer.outcome:
        case Outcome.DELIVERED:
            passed.sent += 1
        case Outcome.BROKEN:
            passed.refused += 1
        case _:
            passed.again += 1


def due() -> bool:
    """Whether a message could be posted at once."""
    return Notification.objects.filter(addressed_at=None).exists() or _ready().exists()


def _ready() -> QuerySet[Channel]:
    """Channels that may take a message now and have one to take; a broken one takes tests alone."""
    waiting = Delivery.objects.waiting().filter(channel=OuterRef("name"))
    tests = waiting.filter(notification__kind=Notification.Kind.TEST)
    return Channel.objects.filter(
        Q(leased_until=None) | Q(leased_until__lte=Now()),
        Q(Exists(tests)) | Q(broken_since=None) & Q(Exists(waiting)),
        name__in=configured(),
        next_post_at__lte=Now(),
    )


def take(target: Target) -> Leased | None:
    """Lease the channel and its next message; None: there is nothing to do, or another sender does it.

    The write's own condition lets one sender through. What was posted before and has no outcome is marked.
    """
    lease = uuid.uuid4()
    with transaction.atomic():
        taken = _ready().filter(pk=target.name)
        if not taken.update(
            lease=lease, leased_until=Now() + LEASE, next_post_at=Now() + BETWEEN_POSTS, last_attempt_at=Now()
        ):
            return None
        channel = Channel.objects.annotate(db_now=Now()).get(pk=target.name)
        chosen = _next_message(channel)
        rows = Delivery.objects.filter(pk__in=[delivery.pk for delivery in chosen])
        rows.filter(in_doubt=True).update(may_be_repeat=True)
        rows.update(in_doubt=True)
    return Leased(target, lease, [row.pk for row in chosen], _message(chosen, channel.db_now))


def _next_message(channel: Channel) -> list[Delivery]:
    waiting = Delivery.objects.waiting().filter(channel=channel.pk).select_related("notification__alert")
    if channel.broken_since:
        waiting = waiting.filter(notification__kind=Notification.Kind.TEST)
    page = list(waiting.order_by("notification_id")[:PAGE])
    subjects = list(dict.fromkeys(delivery.notification.alert_id for delivery in page))
    wanted = subjects if len(subjects) > DIGEST_ABOVE else subjects[:1]
    return [delivery for delivery in page if delivery.notification.alert_id in wanted]


def _message(chosen: Sequence[Delivery], now: datetime) -> Message:
    for delivery in chosen:
        delivery.may_be_repeat = delivery.may_be_repeat or delivery.in_doubt
    return compose(chosen, now, plain=_was_malformed(chosen))


def _was_malformed(chosen: Sequence[Delivery]) -> bool:
    answers = Attempt.objects.filter(delivery__in=chosen).order_by("-pk").values_list("outcome", flat=True)
    return answers.first() == Outcome.MALFORMED


def post(leased: Leased) -> Answer:
    """Speaks to the channel's vendor, never to the database."""
    send = slack.post if leased.target.name == SLACK else apprise_urls.post
    return send(leased.target.address, leased.message)


def answer_in_time(call: Callable[[], Answer], seconds: float = ANSWER_SECONDS) -> Answer:
    """The answer, or that there was none in time: a server that trickles bytes outlasts every socket's timeout.

    The thread is left to its own end, and can't keep the process from its own.
    """
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_guarded(call)), name="alert-post", daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return Answer(Outcome.UNKNOWN, f"No answer within {seconds:g} s")


def _guarded(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - of a hundred vendors' code; it must not cost the other channels
        # Its text may hold the address.
        return Answer(Outcome.UNKNOWN, f"The adapter failed ({type(error).__name__})")


def settle(leased: Leased, answer: Answer) -> None:
    """Record the answer with each delivery of the message, and what it means for the channel."""
    answer = _judged(leased, answer)
    with transaction.atomic():
        Attempt.objects.bulk_create(
            Attempt(delivery_id=pk, outcome=answer.outcome, answer=answer.text[:ANSWER_LENGTH])
            for pk in leased.ids
        )
        waiting = Delivery.objects.waiting().filter(pk__in=leased.ids)
        if answer.outcome == Outcome.DELIVERED:
            waiting.update(state=Delivery.State.SENT, settled_at=Now(), in_doubt=False)
        elif answer.outcome != Outcome.UNKNOWN and _still_ours(leased):
            # One that comes back after its lease knows nothing of what another posted meanwhile.
            waiting.update(in_doubt=False)
        # One that comes back after its lease finds another's, and leaves the channel alone.
        channel = Channel.objects.filter(pk=leased.target.name, lease=leased.lease)
        channel.update(
            lease=None,
            leased_until=None,
            last_answer=answer.text[:ANSWER_LENGTH],
            **_consequences(answer, leased.target.name),
        )


def _still_ours(leased: Leased) -> bool:
    return Channel.objects.filter(pk=leased.target.name, lease=leased.lease).exists()


def _judged(leased: Leased, answer: Answer) -> Answer:
    """A channel that refuses even the plainest message is broken."""
    if answer.outcome == Outcome.MALFORMED and leased.message.plain:
        return replace(answer, outcome=Outcome.BROKEN)
    return answer


def _consequences(answer: Answer, name: str) -> dict[str, Any]:
    match answer.outcome:
        case Outcome.DELIVERED:
            well = {"failures": 0, "failing_since": None, "broken_since": None, "broken_why": ""}
            return well | {"last_ok_at": Now()}
        case Outcome.BROKEN:
            return {
                "broken_since": Coalesce("broken_since", Now()),
                "broken_why": answer.text[:ANSWER_LENGTH],
            }
        case Outcome.MALFORMED:
            # It is tried again plainly, as soon as the channel takes another message.
            return {}
    failures = Channel.objects.values_list("failures", flat=True).get(pk=name)
    return {
        "failures": F("failures") + 1,
        "failing_since": Coalesce("failing_since", Now()),
        "next_post_at": Now() + pause(failures, answer.retry_after),
    }


def pause(failures: int, retry_after: timedelta | None) -> timedelta:
    """How long a channel is left alone that failed so often before, with jitter; never shorter than it asked for."""
    doubled: int = 2 ** min(failures, 20)
    backoff = min(FIRST_BACKOFF * doubled, LONGEST_BACKOFF)
    return max(backoff, retry_after or timedelta(0)) * random.uniform(1.0, 1.2)
