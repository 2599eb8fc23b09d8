"""The latest notification of an alert, in words: whether it was sent, and when."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts.models import Delivery, Notification
from alerts.models.alert import DatedAlert
from opsconsole.kit.counting import exactly
from opsconsole.kit.display import age

State = Delivery.State


def in_words(alert: DatedAlert, notifications: Sequence[Notification]) -> str | SafeString:
    """Say what became of the newest of these notifications, which come the latest first, with their deliveries.

    An alert says when it was last told (``told_at``) in the transaction that writes the notification: that it was
    written is not that anybody was sent it.
    """
    if not notifications:
        return "not yet"
    latest = notifications[0]
    deliveries = list(latest.deliveries.all())
    waiting = sum(row.state == State.WAITING for row in deliveries)
    sent = [row.settled_at for row in deliveries if row.state == State.SENT and row.settled_at]
    if sent:
        also = f", to {exactly(waiting, 'more channel')} not yet" if waiting else ""
        return format_html("sent {}{}", age(max(sent), alert.db_now, suffix=" ago"), also)
    written = age(latest.created_at, alert.db_now, suffix=" ago")
    if latest.addressed_at and not deliveries:
        return format_html("written {}, sent to no channel", written)
    return format_html("queued {}, not sent yet", written)
