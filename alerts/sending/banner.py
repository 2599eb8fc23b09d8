"""What every page says when people can't be told: a channel is broken, or nobody sends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.core.cache.backends.locmem import LocMemCache
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from alerts.channels.configured import configured
from alerts.models import Channel, Delivery
from alerts.sending.addressing import PATIENCE
from alerts.watch import monitors

KEPT_SECONDS = 5
JUDGED_EVERY_SECONDS = 30
UNSENT_AFTER = timedelta(minutes=5)

# In the process: the pages must also open when the shared cache is away.
memory = LocMemCache("alerts-banner", {})


@dataclass(frozen=True)
class Banner:
    sentence: str
    advice: str


def read() -> Banner | None:
    """At most ``KEPT_SECONDS`` old. A page that asks also judges the monitors now and then."""
    if memory.add("judged", 1, JUDGED_EVERY_SECONDS):
        _judge()
    kept: tuple[Banner | None] | None = memory.get("banner")
    if kept is None:
        kept = (_read(),)
        memory.set("banner", kept, KEPT_SECONDS)
    return kept[0]


def _judge() -> None:
    """No page waits for it: others judge as well."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '500ms'")
            monitors.judge()
    except DatabaseError:
        return


def _read() -> Banner | None:
    troubled = Channel.objects.filter(
        Q(broken_since__isnull=False) | Q(failing_since__lt=Now() - PATIENCE), pk__in=configured()
    )
    # The broken ones first.
    channels = sorted(troubled, key=lambda channel: (channel.broken_since is None, channel.pk))
    if channels:
        return _of_channel(channels[0])
    unsent = Delivery.objects.waiting().filter(channel__in=configured(), created_at__lt=Now() - UNSENT_AFTER)
    if unsent.exists():
        return Banner(
            "Alerts wait and nobody sends them.", "See that run_cluster or send_alerts --loop runs."
        )
    return None


def _of_channel(channel: Channel) -> Banner:
    if channel.broken_since:
        return Banner(
            f"Alerts no longer reach {channel.pk}: {channel.broken_why}.",
            "Mend it, then send it a test.",
        )
    return Banner(
        f"Alerts have not reached {channel.pk} since {channel.failing_since:%H:%M} UTC: {channel.last_answer}.",
        "It is tried again every few minutes.",
    )
