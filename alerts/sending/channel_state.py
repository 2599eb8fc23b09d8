"""What is to be said of a channel: whether it is configured, and whether it accepts messages."""

from __future__ import annotations

from django.db import models

from alerts.channels.targets import Target
from alerts.models import Channel


class ChannelState(models.TextChoices):
    NOT_CONFIGURED = "not_configured", "Not configured"
    LOCKED = "locked", "Its key is missing"
    BROKEN = "broken", "Broken"
    FAILING = "failing", "Failing"
    WORKING = "working", "Working"
    NOT_USED = "not_used", "Not used yet"


def of(row: Channel, target: Target | None) -> ChannelState:
    """Return the state of a channel; ``target`` is what the settings say about it, or None."""
    if target is None:
        return ChannelState.LOCKED if row.secret else ChannelState.NOT_CONFIGURED
    if row.is_broken(target.digest):
        return ChannelState.BROKEN
    if row.failures:
        return ChannelState.FAILING
    return ChannelState.WORKING if row.last_ok_at else ChannelState.NOT_USED


def kind(target: Target | None) -> str:
    """Return the kind of a channel, such as 'slack' or 'mailto, fallback'."""
    if target is None:
        return "not configured"
    return f"{target.kind}, fallback" if target.is_fallback else target.kind
