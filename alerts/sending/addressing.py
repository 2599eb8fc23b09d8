"""Addressing: which channels get a notification, and the fallback for a channel that fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from alerts.channels.targets import Target, all_targets, fallback
from alerts.models import Channel, Delivery, Notification
from alerts.sending import routing
from opsconsole.kit.row_locks import locked_if_free

PAGE = 200
# A notification that waited longer for a channel to be configured is not sent any more.
EXPIRES_AFTER = timedelta(hours=24)
# A channel with temporary failures may fail for this long before the fallback is used.
FALLBACK_AFTER = timedelta(minutes=10)


def address_notifications() -> int:
    """Create a delivery to each primary channel for each new notification. Return the number of notifications.

    While no channel is configured, notifications wait, so that a process without these settings does not drop them.
    """
    if not all_targets():
        return 0
    create_missing_channels()
    with transaction.atomic():
        new = Notification.objects.filter(addressed_at=None).order_by("pk")
        ids = list(locked_if_free(new).values_list("pk", flat=True)[:PAGE])
        if not ids:
            return 0
        rows = Notification.objects.filter(pk__in=ids)
        current = list(
            rows.filter(created_at__gte=Now() - EXPIRES_AFTER)
            .select_related("alert")
            .annotate(db_now=Now())
            .order_by("pk")
        )
        Delivery.objects.bulk_create(_deliveries(current), ignore_conflicts=True)
        _resolve_incidents_of_fallback(current)
        return rows.update(addressed_at=Now())


def _deliveries(notifications: Sequence[Any]) -> list[Delivery]:
    """Return a delivery for each channel that is told of each of these notifications, which are annotated with ``db_now``."""
    targets = all_targets()
    channels = Channel.objects.in_bulk(list(targets))
    before = addressed_before({row.alert_id for row in notifications if row.alert_id})
    return [
        Delivery(notification_id=row.pk, channel=target.name)
        for row in notifications
        for target in routing.addressees(
            row,
            targets.values(),
            channels,
            addressed_before=before.get(row.alert_id, ()),
            now=row.db_now,
        )
    ]


def addressed_before(alerts: Collection[int]) -> dict[int, set[str]]:
    """Return the channels that each of these alerts was addressed to."""
    found: dict[int, set[str]] = defaultdict(set)
    rows = Delivery.objects.filter(notification__alert__in=alerts, instead_of="").order_by()
    for alert, channel in rows.values_list("notification__alert", "channel").distinct():
        found[alert].add(channel)
    return found


def _resolve_incidents_of_fallback(notifications: Sequence[Notification]) -> None:
    """Send resolutions to the fallback, too, where it opened an incident in place of a channel that failed."""
    instead = fallback()
    if instead is None or not instead.opens_incidents:
        return
    resolved = [row for row in notifications if row.kind == Notification.Kind.RESOLVED]
    opened = Delivery.objects.filter(
        channel=instead.name, notification__alert__in=[row.alert_id for row in resolved]
    ).exclude(state=Delivery.State.HANDED_OVER)
    alerts = set(opened.values_list("notification__alert", flat=True))
    Delivery.objects.bulk_create(
        [Delivery(notification=row, channel=instead.name) for row in resolved if row.alert_id in alerts],
        ignore_conflicts=True,
    )


def create_missing_channels() -> None:
    """Create the row of each channel in the settings that has none yet."""
    targets = all_targets()
    existing = set(Channel.objects.filter(pk__in=targets).values_list("pk", flat=True))
    if missing := [Channel(name=name) for name in targets if name not in existing]:
        Channel.objects.bulk_create(missing, ignore_conflicts=True)


def hand_over(target: Target) -> int:
    """Copy the waiting deliveries of a failing channel to the fallback channel. Return the number of deliveries.

    The deliveries of a broken channel end here. A channel with temporary failures keeps its own, since it may recover.
    """
    instead = fallback()
    if instead is None or instead == target:
        return 0
    channels = Channel.objects.in_bulk([target.name, instead.name])
    broken = Channel.objects.broken(target.digest).filter(pk=target.name).exists()
    if instead.name not in channels or channels[instead.name].is_broken(instead.digest):
        return 0
    if not (broken or _fails(target)):
        return 0
    with transaction.atomic():
        copies = Delivery.objects.filter(notification=OuterRef("notification"), channel=instead.name)
        waiting = (
            Delivery.objects.waiting()
            .filter(channel=target.name)
            .exclude(notification__kind=Notification.Kind.TEST)
            .annotate(copied=Exists(copies))
        )
        ends_here = _ends_here(target) if broken else Q(pk__in=[])
        rows = list(locked_if_free(waiting.filter(ends_here | Q(copied=False)), of=("self",))[:PAGE])
        Delivery.objects.bulk_create(
            [
                Delivery(notification_id=row.notification_id, channel=instead.name, instead_of=target.name)
                for row in rows
                if not row.copied
            ],
            ignore_conflicts=True,
        )
        if broken:
            handed_over = Delivery.objects.waiting().filter(ends_here, pk__in=[row.pk for row in rows])
            handed_over.update(state=Delivery.State.HANDED_OVER, settled_at=Now())
        return len(rows)


def _ends_here(target: Target) -> Q:
    """Return the deliveries of a broken channel that end when they are handed over.

    Resolutions wait: an incident that the channel opened is resolved as soon as the channel works again.
    """
    kept = {Notification.Kind.TEST} | ({Notification.Kind.RESOLVED} if target.opens_incidents else set())
    return ~Q(notification__kind__in=kept)


def _fails(target: Target) -> bool:
    return Channel.objects.filter(pk=target.name, failing_since__lt=Now() - FALLBACK_AFTER).exists()
