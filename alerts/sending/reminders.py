"""What is due without a new report: reminders, news that waited, the end of snoozes and of alerts that are clear."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from alerts import notification_policy, notifications, rules
from alerts.models import Alert, Notification, Rule
from alerts.models.alert import AlertQuerySet
from alerts.notification_policy import joined
from opsconsole.kit.row_locks import locked_if_free

BATCH = 1_000


def remind() -> int:
    """Create the notifications that are due, each once however many senders run. Return the number of alerts."""
    # All of them are about open alerts.
    if not Alert.objects.open().exists():
        return 0
    with transaction.atomic():
        return _end_snoozes() + _resolve_clear() + _tell_held_news() + _remind()


def _end_snoozes() -> int:
    alerts = list(locked_if_free(Alert.objects.snooze_over())[:BATCH])
    for alert in alerts:
        changes = {"state": Alert.State.FIRING, "snoozed_until": None}
        if alert.clear_since:
            # The problem is away, so there is nothing to tell.
            Alert.objects.filter(pk=alert.pk).update(**changes)
            continue
        kind = Notification.Kind.REMINDER if alert.told_at else Notification.Kind.FIRING
        news = joined(f"The snooze by {alert.handled_by} has ended.", alert.held_news)
        notifications.tell(alert, kind, news, **changes)
    return len(alerts)


def _resolve_clear() -> int:
    """Resolve alerts whose problem has stayed away for long enough, also where nothing measures it again."""
    return _each_due(
        Alert.objects.clear().filter(unknown_since=None),
        notification_policy.may_resolve,
        notifications.close,
    )


def _tell_held_news() -> int:
    firing = Q(state=Alert.State.FIRING) | Q(held_breaks_through=True)
    return _each_due(
        Alert.objects.with_held_news().filter(firing), notification_policy.news_is_due, _tell_news
    )


def _tell_news(alert: Alert) -> None:
    changes = {"state": Alert.State.FIRING, "snoozed_until": None}
    kind = Notification.Kind.NEWS if alert.told_at else Notification.Kind.FIRING
    notifications.tell(alert, kind, alert.held_news, **changes)


def _remind() -> int:
    return _each_due(
        Alert.objects.firing().filter(told_at__lte=Now() - rules.SHORTEST_REMINDER),
        notification_policy.reminder_is_due,
        partial(notifications.tell, kind=Notification.Kind.REMINDER),
    )


def _each_due(
    candidates: AlertQuerySet,
    is_due: Callable[[Alert, datetime, Rule | None], bool],
    act: Callable[[Alert], None],
) -> int:
    """Lock the candidates that no other sender has, and act on those that are due. Return their number."""
    rows = list(locked_if_free(candidates).annotate(db_now=Now()).order_by("told_at")[:BATCH])
    if not rows:
        return 0
    by_name = rules.all_by_name()
    due = [row for row in rows if is_due(row, row.db_now, by_name.get(row.rule))]
    for alert in due:
        act(alert)
    return len(due)
