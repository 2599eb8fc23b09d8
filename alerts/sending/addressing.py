"""Who is to hear of a notification: every channel, and the fallback in place of one that can't take it."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from alerts.channels.configured import Target, configured, everyday, fallback
from alerts.models import Channel, Delivery, Notification

PAGE = 200
# What nobody could be told for that long, since no channel was configured, is told no more.
TOLD_WITHIN = timedelta(hours=24)
# A channel that only fails for the moment may do so for this long until the fallback is asked.
PATIENCE = timedelta(minutes=10)


def address() -> int:
    """Make a delivery for each everyday channel of what is new; returns how many notifications there were.

    While no channel is configured they wait: the process that has no settings must not swallow them.
    """
    if not configured():
        return 0
    know_channels()
    with transaction.atomic():
        new = Notification.objects.filter(addressed_at=None).order_by("pk")
        ids = list(new.select_for_update(skip_locked=True).values_list("pk", flat=True)[:PAGE])
        if not ids:
            return 0
        rows = Notification.objects.filter(pk__in=ids)
        fresh = rows.filter(created_at__gte=Now() - TOLD_WITHIN).order_by("pk").values_list("pk", flat=True)
        Delivery.objects.bulk_create(
            [Delivery(notification_id=pk, channel=target.name) for pk in fresh for target in everyday()],
            ignore_conflicts=True,
        )
        return rows.update(addressed_at=Now())


def know_channels() -> None:
    """Keep a row of state for each channel of the settings."""
    known = set(Channel.objects.values_list("pk", flat=True))
    if missing := [Channel(name=name) for name in configured() if name not in known]:
        Channel.objects.bulk_create(missing, ignore_conflicts=True)


def hand_over(target: Target) -> int:
    """Give what waits for a channel that is broken, or fails for long, to the fallback; returns how much.

    A broken channel's deliveries end here. One that fails for the moment keeps its own: it may come back.
    """
    instead = fallback()
    if instead is None or instead == target:
        return 0
    channels = Channel.objects.in_bulk([target.name, instead.name])
    broken = Channel.objects.broken().filter(pk=target.name).exists()
    if instead.name not in channels or channels[instead.name].broken_since or not (broken or _fails(target)):
        return 0
    with transaction.atomic():
        copies = Delivery.objects.filter(notification=OuterRef("notification"), channel=instead.name)
        waiting = (
            Delivery.objects.waiting()
            .filter(channel=target.name)
            .exclude(notification__kind=Notification.Kind.TEST)
        )
        rows = list(
            waiting.select_for_update(of=("self",), skip_locked=True).annotate(told=Exists(copies))[:PAGE]
        )
        Delivery.objects.bulk_create(
            [
                Delivery(notification_id=row.notification_id, channel=instead.name, instead_of=target.name)
                for row in rows
                if not row.told
            ],
            ignore_conflicts=True,
        )
        if broken:
            ended = Delivery.objects.waiting().filter(pk__in=[row.pk for row in rows])
            ended.update(state=Delivery.State.HANDED_OVER, settled_at=Now())
        return len(rows)


def _fails(target: Target) -> bool:
    return Channel.objects.filter(pk=target.name, failing_since__lt=Now() - PATIENCE).exists()
