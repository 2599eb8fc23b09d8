"""The banner when alerts do not reach somebody: no channel is set, a channel is broken, or no sender runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.core.cache.backends.locmem import LocMemCache
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django_stubs_ext import WithAnnotations

from alerts.channels.targets import Target, all_targets, target_of
from alerts.models import Channel, Delivery
from alerts.sending import routing
from alerts.sending.addressing import FALLBACK_AFTER
from alerts.watch import monitor_alerts
from opsconsole.kit import one_statement
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.one_statement import exists_of, models_of
from opsconsole.kit.row_locks import limit_waits

CACHE_SECONDS = 5
JUDGE_EVERY_SECONDS = 30
UNSENT_AFTER = timedelta(minutes=5)
MOST_DELAY = timedelta(milliseconds=500)

# A cache in this process, since pages must open even if the shared cache is unavailable.
memory = LocMemCache("alerts-banner", {})


@dataclass(frozen=True)
class Banner:
    """``nobody``: no alert reaches anybody. ``everywhere``: every page shows it, not only the overview."""

    sentence: str
    advice: str
    nobody: bool = False
    everywhere: bool = True


NO_CHANNEL = Banner(
    "Nobody is told about alerts: no channel is set.",
    "Set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS, then send a test message.",
    nobody=True,
    everywhere=False,
)


def read() -> Banner | None:
    """Return the banner, at most ``CACHE_SECONDS`` old. From time to time, also judge the monitors."""
    cached: tuple[Banner | None] | None = memory.get("banner")
    if cached is None:
        cached = (_read(),)
        memory.set("banner", cached, CACHE_SECONDS)
    return cached[0]


def _read() -> Banner | None:
    """Read by one statement whether alerts reach everybody, and whether monitors are to be judged."""
    targets = all_targets()
    with_address = Channel.objects.filter(~Q(secret="") | Q(pk__in=targets)).order_by("pk")
    unsent = Delivery.objects.waiting().filter(channel__in=targets, created_at__lt=Now() - UNSENT_AFTER)
    read = one_statement.read(
        channels=models_of(with_address.annotate(db_now=Now())),
        unsent=exists_of(unsent),
        **monitor_alerts.readings(),
    )
    if monitor_alerts.are_to_judge(read) and memory.add("judged", 1, JUDGE_EVERY_SECONDS):
        _judge_monitors()
    if banner := _of_addresses(targets, read["channels"]):
        return banner
    if read["unsent"]:
        return Banner("Alerts are waiting, but no sender runs.", "Start run_cluster or send_alerts --loop.")
    return None


def _judge_monitors() -> None:
    """Judge the monitors, unless that would delay the page. Senders judge them too."""
    try:
        with transaction.atomic():
            limit_waits(MOST_DELAY)
            monitor_alerts.judge()
    except DatabaseError:
        return


def _of_addresses(
    targets: Mapping[str, Target], rows: Sequence[WithAnnotations[Channel, DbNow]]
) -> Banner | None:
    """Return what keeps alerts from an address.

    No key opens it, there is none, it rejected a message permanently, or it fails; or all are muted.
    """
    known = [row for row in rows if row.pk in targets]
    broken = [row for row in known if row.is_broken(targets[row.pk].digest)]
    muted = [row for row in known if routing.is_muted(row, row.db_now)]
    failing = [row for row in known if _fails(row)]
    nobody = len({row.pk for row in [*broken, *muted, *failing]}) == len(targets)
    if locked := [row for row in rows if target_of(row) is None]:
        return _locked_banner(locked[0], nobody=nobody)
    if not targets:
        return NO_CHANNEL
    if broken:
        return _broken_banner(broken[0], nobody=nobody)
    if failing:
        return _failing_banner(failing[0], nobody=nobody)
    if nobody:
        return Banner("All channels are muted: nobody is told of alerts.", "Unmute one on the page Channels.")
    return None


def _fails(channel: WithAnnotations[Channel, DbNow]) -> bool:
    """Tell whether alerts have not reached this channel for so long that others are told instead."""
    return channel.failing_since is not None and channel.failing_since < channel.db_now - FALLBACK_AFTER


def _locked_banner(channel: Channel, *, nobody: bool) -> Banner:
    sentence = f"Alerts do not reach {channel.pk}: no key of OPSCONSOLE_CHANNEL_KEYS opens its address."
    return Banner(
        f"Nobody is told about alerts. {sentence}" if nobody else sentence,
        "Add the key with which it was stored, or give the channel its address again.",
        nobody,
    )


def _broken_banner(channel: Channel, *, nobody: bool) -> Banner:
    why = channel.broken_why or "its address rejected a message permanently"
    sentence = f"Alerts no longer reach {channel.pk}: {why.rstrip('.')}."
    return Banner(
        f"Nobody is told about alerts. {sentence}" if nobody else sentence,
        "Set a new address, or fix the channel and send a test message.",
        nobody,
    )


def _failing_banner(channel: Channel, *, nobody: bool) -> Banner:
    sentence = f"Alerts have not reached {channel.pk} since {channel.failing_since:%H:%M} UTC: {channel.last_answer.rstrip('.')}."
    return Banner(
        f"Nobody is told about alerts. {sentence}" if nobody else sentence,
        "The sender retries every few minutes.",
        nobody,
    )
