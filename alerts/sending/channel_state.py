"""What is to be said of a channel: whether it is configured, and whether it accepts messages."""

from __future__ import annotations

from django.db import models

from alerts.channels.targets import EMAIL_SCHEMES, SLACK, Target
from alerts.models import Channel

# How services write their names; those of others are as good with a capital letter.
_SERVICES = {
    SLACK: "Slack",
    "firehydrant": "FireHydrant",
    "gchat": "Google Chat",
    "goalert": "GoAlert",
    "goalerts": "GoAlert",
    "ilert": "iLert",
    "incidentio": "incident.io",
    "json": "JSON webhook",
    "jsons": "JSON webhook",
    "msteams": "Microsoft Teams",
    "pagerduty": "PagerDuty",
    "pagertree": "PagerTree",
    "pover": "Pushover",
    "sendgrid": "SendGrid",
    "signl4": "SIGNL4",
    "sns": "Amazon SNS",
    "tgram": "Telegram",
    "victorops": "VictorOps",
    "workflows": "Microsoft Teams",
    "wxteams": "Webex",
}


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
    """Return the kind of a channel in words, such as 'Slack' or 'E-mail, fallback'."""
    if target is None:
        return "not configured"
    return f"{_service(target)}, fallback" if target.is_fallback else _service(target)


def _service(target: Target) -> str:
    if target.kind in EMAIL_SCHEMES:
        return "E-mail"
    return _SERVICES.get(target.kind, target.kind.capitalize())
