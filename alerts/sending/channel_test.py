"""Test messages for a channel. A test that is delivered also marks a broken channel as working."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from alerts.channels.targets import all_targets
from alerts.models import Channel, Delivery, Notification
from opsconsole.kit.errors import OpsConsoleError


class UnknownChannel(OpsConsoleError):
    """There is no configured channel with the given name."""


def send(name: str, who: str) -> Delivery:
    """Create a test message for a channel, which a sender then posts. Raise ``UnknownChannel`` if there is none."""
    if name not in all_targets():
        names = ", ".join(all_targets()) or "none; set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS"
        raise UnknownChannel(f"There is no channel '{name}'. Channels: {names}.")
    with transaction.atomic():
        Channel.objects.bulk_create([Channel(name=name)], ignore_conflicts=True)
        notification = Notification.objects.create(
            kind=Notification.Kind.TEST,
            severity="info",
            title=f"Test of the channel {name}, requested by {who}",
            addressed_at=Now(),
        )
        return Delivery.objects.create(notification=notification, channel=name)
