"""Routing: which channels are told of an alert, by its severity, its rule and the hour of the day. All pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from alerts.channels.targets import Target, primary
from alerts.models import Channel, Notification
from alerts.models.alert import Severity

_LEVELS = {
    severity: level for level, severity in enumerate((Severity.INFO, Severity.WARNING, Severity.CRITICAL))
}


def is_muted(channel: Channel, now: datetime) -> bool:
    return channel.muted_until is not None and channel.muted_until > now


def takes(channel: Channel, severity: str, rule: str, now: datetime) -> bool:
    """Tell whether the channel wants to be told of an alert of this severity and rule, at this hour."""
    return (
        _LEVELS[Severity(severity)] >= _LEVELS[Severity(channel.least_severity)]
        and (not channel.rules or rule in channel.rules)
        and _is_within(channel.from_hour, channel.until_hour, now.hour)
    )


def _is_within(begin: int | None, end: int | None, hour: int) -> bool:
    """Tell whether the hour is in a span of the day, which may go over midnight. Without both ends it is the whole day."""
    if begin is None or end is None or begin == end:
        return True
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def told(
    notification: Notification,
    targets: Iterable[Target],
    channels: Mapping[str, Channel],
    *,
    told_before: Collection[str],
    now: datetime,
) -> list[Target]:
    """Return the channels that are told. ``told_before``: those that were told of the same alert, which also hear of its end.

    A muted channel is told nothing, but for the end of an incident that it opened. If no other channel wants the alert, each
    that is not muted is told: a gap between routes keeps nothing from everybody.
    """
    every = [target for target in primary(targets) if target.name in channels]
    rule = notification.alert.rule if notification.alert else ""
    ends = notification.kind == Notification.Kind.RESOLVED
    opened = [target for target in every if ends and target.opens_incidents and target.name in told_before]
    awake = [target for target in every if not is_muted(channels[target.name], now)]
    wanted = [
        target
        for target in awake
        if (ends and target.name in told_before)
        or takes(channels[target.name], notification.severity, rule, now)
    ]
    chosen = {target.name for target in [*opened, *(wanted or awake)]}
    return [target for target in every if target.name in chosen]
