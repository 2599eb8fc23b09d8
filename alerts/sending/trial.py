"""A test message for one channel: it also mends a channel that was broken."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from alerts.channels.configured import configured
from alerts.models import Channel, Delivery, Notification
from opsconsole.kit.errors import OpsConsoleError


class NoSuchChannel(OpsConsoleError):
    """A test was asked for a channel that is not configured."""


def send(name: str, who: str) -> Delivery:
    """Write down a test for the channel ``name``; a sender posts it. Raises ``NoSuchChannel``."""
    if name not in configured():
        known = ", ".join(configured()) or "none; set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS"
        raise NoSuchChannel(f"There is no channel '{name}'. Channels: {known}.")
    with transaction.atomic():
        Channel.objects.bulk_create([Channel(name=name)], ignore_conflicts=True)
        notification = Notification.objects.create(
            kind=Notification.Kind.TEST,
            severity="info",
            title=f"Test of the channel {name}, asked for by {who}",
            addressed_at=Now(),
        )
        return Delivery.objects.create(notification=notification, channel=name)
