"""Badges for severities, states, notifications, deliveries and channels."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts.channels.targets import Target
from alerts.models import Alert, Channel, Delivery, Notification
from alerts.sending import channel_state
from alerts.sending.channel_state import ChannelState
from opsconsole.kit.display import NOTHING, badge

SEVERITY = {"critical": "bad", "warning": "warning", "info": "quiet"}
STATE = {"firing": "bad", "acknowledged": "running", "snoozed": "waiting", "resolved": "good"}
KIND = {"firing": "bad", "news": "warning", "reminder": "waiting", "resolved": "good", "test": "quiet"}
CHANNEL = {
    ChannelState.NOT_CONFIGURED: "",
    ChannelState.LOCKED: "bad",
    ChannelState.BROKEN: "bad",
    ChannelState.FAILING: "warning",
    ChannelState.WORKING: "good",
    ChannelState.NOT_USED: "waiting",
}
DELIVERY = {"waiting": "waiting", "sent": "good", "handed_over": "warning"}


def severity(value: str) -> SafeString:
    return badge(value.capitalize(), SEVERITY.get(value, "quiet"))


def state(alert: Alert) -> SafeString:
    """Return the badge of an alert's state, with a second one if the problem is away or its value can't be read."""
    state_badge = badge(alert.get_state_display().capitalize(), STATE.get(alert.state, "quiet"))
    if alert.clear_since:
        return state_badge + badge("Clear", "good")
    return state_badge + badge("Unknown", "warning") if alert.unknown_since else state_badge


def value_and_threshold(alert: Alert, unit: str = "") -> SafeString:
    if alert.value is None:
        return NOTHING
    value = f"{alert.value:,g}"
    if alert.threshold is None:
        return format_html("{}", value)
    above = f"alert above {alert.threshold:,g} {unit}".strip()
    return format_html('{}, <span class="quiet">{}</span>', value, above)


def kind(notification: Notification) -> SafeString:
    return badge(notification.get_kind_display().capitalize(), KIND.get(notification.kind, "quiet"))


def delivery(row: Delivery) -> SafeString:
    return badge(f"{row.channel}: {row.get_state_display()}", DELIVERY.get(row.state, "quiet"))


def channel(row: Channel, target: Target | None) -> SafeString:
    condition = channel_state.of(row, target)
    return badge(condition.label, CHANNEL[condition])
