"""Routing: which channels are told of an alert, by its severity, rule and queue, and the hour of the day. All pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from alerts.catalog import RULES
from alerts.channels.targets import Target, primary
from alerts.models import Alert, Channel, Notification
from alerts.models.alert import Severity

_LEVELS = {
    severity: level for level, severity in enumerate((Severity.INFO, Severity.WARNING, Severity.CRITICAL))
}

_OF_MONITOR = re.compile(r"[^(]+ \((.+)\)")


def is_muted(channel: Channel, now: datetime) -> bool:
    return channel.muted_until is not None and channel.muted_until > now


@dataclass(frozen=True)
class About:
    """What an alert is about: its rule, and the queues that are concerned, if any."""

    rule: str = ""
    queues: frozenset[str] = frozenset()

    @classmethod
    def of(cls, alert: Alert | None) -> About:
        """Read it from a fingerprint: after the rule stands what was measured, such as the queues of a dead letter queue.

        Of a monitor, they stand in brackets behind its name.
        """
        if alert is None:
            return cls()
        _, _, scope = alert.fingerprint.partition(":")
        if of_monitor := _OF_MONITOR.fullmatch(scope):
            scope = of_monitor[1]
        return cls(alert.rule, frozenset(filter(None, scope.split("+"))))


def takes(channel: Channel, severity: str, about: About, now: datetime) -> bool:
    """Tell whether the channel wants to be told of an alert of this severity about this, at this hour."""
    return (
        _LEVELS[Severity(severity)] >= _LEVELS[Severity(channel.least_severity)]
        and (not channel.rules or about.rule in channel.rules)
        and (not channel.queues or not about.queues.isdisjoint(channel.queues))
        and _is_within(channel.from_hour, channel.until_hour, now.hour)
    )


def in_words(channel: Channel) -> str:
    """Return what a channel is told, such as 'critical, of 2 rules, from 22 to 6 h'."""
    parts = ["all alerts" if channel.least_severity == "info" else f"{channel.least_severity} and above"]
    if channel.least_severity == "critical":
        parts = ["critical"]
    if channel.rules:
        titles = [RULES[name].title for name in channel.rules if name in RULES]
        parts.append(
            f"of {titles[0]}" if len(channel.rules) == 1 and titles else f"of {len(channel.rules)} rules"
        )
    if channel.queues:
        parts.append(
            f"about {', '.join(channel.queues)}"
            if len(channel.queues) < 4
            else f"about {len(channel.queues)} queues"
        )
    if channel.from_hour != channel.until_hour:
        parts.append(f"from {channel.from_hour} to {channel.until_hour} h UTC")
    return ", ".join(parts)


def _is_within(begin: int | None, end: int | None, hour: int) -> bool:
    """Tell whether the hour is in a span of the day, which may go over midnight. Without both ends it is the whole day."""
    if begin is None or end is None or begin == end:
        return True
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def addressees(
    notification: Notification,
    targets: Iterable[Target],
    channels: Mapping[str, Channel],
    *,
    addressed_before: Collection[str],
    now: datetime,
) -> list[Target]:
    """Return the channels that are told. ``addressed_before``: those that were told of the same alert, which also hear of its end.

    A muted channel is told nothing, but for the end of an incident that it opened. If no other channel wants the alert, each
    that is not muted is told: a gap between routes keeps nothing from everybody.
    """
    every = [target for target in primary(targets) if target.name in channels]
    about = About.of(notification.alert)
    ends = notification.kind == Notification.Kind.RESOLVED
    opened = [
        target for target in every if ends and target.opens_incidents and target.name in addressed_before
    ]
    awake = [target for target in every if not is_muted(channels[target.name], now)]
    wanted = [
        target
        for target in awake
        if (ends and target.name in addressed_before)
        or takes(channels[target.name], notification.severity, about, now)
    ]
    chosen = {target.name for target in [*opened, *(wanted or awake)]}
    return [target for target in every if target.name in chosen]
