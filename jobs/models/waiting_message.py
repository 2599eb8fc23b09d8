"""The state of a waiting job's message: the one rule, as the database evaluates it.

This module decides what the outbox alone can tell. Whether a sent message is lost needs a proof from the queue, which
``jobs.recovery.loss_proofs`` reads; until then it is ``UNPROVEN``.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import (
    Case,
    DurationField,
    ExpressionWrapper,
    F,
    Q,
    TextChoices,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Now, Power
from django.db.models.lookups import LessThan

from jobs.models.outbox import MOST_RESENDS, Outbox, unsent


class MessageTrouble(TextChoices):
    REFUSED = "refused", "message refused"
    UNSENT = "unsent", "message not sent yet"
    USED_UP = "used_up", "re-sent in vain"
    LOST = "lost", "message lost"
    UNPROVEN = "unproven", "message may be lost"

    @property
    def pressing(self) -> bool:
        """Tell whether the trouble lasts until somebody acts."""
        return self in {MessageTrouble.REFUSED, MessageTrouble.USED_UP}


def lost_after() -> timedelta:
    """Return how long a job waits after its message was sent until the message may be lost."""
    return timedelta(seconds=settings.OPSCONSOLE_LOST_AFTER_SECONDS)


def patience() -> ExpressionWrapper:
    """Return, as an expression on ``with_message()``, how long to wait before the next re-send; it doubles with each."""
    return ExpressionWrapper(Value(lost_after()) * Power(2, "resends"), DurationField())


def patience_after(resends: int) -> timedelta:
    """Return the same for a job with this number of re-sends."""
    times: int = 2**resends
    return lost_after() * times


def message_was_sent() -> Q:
    """Match jobs of ``with_message()`` whose message is not waiting in the outbox: the console or the producer sent it."""
    return Q(message_state=None) | Q(message_state__in=[Outbox.State.SENT, Outbox.State.DROPPED])


def unclaimed() -> Q:
    """Match unclaimed jobs of ``with_message()`` whose message was sent long ago."""
    return message_was_sent() & Q(LessThan(F("waiting_since"), Now() - lost_after()))


def message_trouble(waiting: Q) -> Case:
    """Return the ``MessageTrouble`` of a waiting job of ``with_message()`` as an expression; null when there is none."""
    return Case(
        When(~waiting, then=None),
        When(message_state=Outbox.State.REFUSED, then=Value(MessageTrouble.REFUSED)),
        When(unsent("message__"), then=Value(MessageTrouble.UNSENT)),
        When(unclaimed() & Q(resends__gte=MOST_RESENDS), then=Value(MessageTrouble.USED_UP)),
        When(unclaimed(), then=Value(MessageTrouble.UNPROVEN)),
        output_field=TextField(null=True),
    )
