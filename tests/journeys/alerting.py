"""Alerts for the journeys: one each firing, acknowledged, snoozed, unknown and resolved."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from alerts import notify, operator_decisions, rules
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.targets import all_targets
from alerts.models import Alert, Rule
from alerts.notify import Trouble
from alerts.sending import addressing, banner, delivery
from tests.alerts import clock

HOUR = timedelta(hours=1)


def build() -> None:
    """Create the alerts. Needs a channel ``slack`` in the settings; posts nothing to it."""
    banner.memory.clear()
    Rule.objects.bulk_create(rules.all_by_name().values(), ignore_conflicts=True)
    notify.measure("quarantined_jobs", 1, Trouble(title="1 job in quarantine"))
    notify.measure("stale_jobs_day", 9, Trouble(title="9 jobs lost their worker within 24 hours"))
    clock.move(3 * HOUR)
    notify.resolve("stale_jobs_day")
    notify.measure("no_live_worker", 14, Trouble(title="14 jobs wait and no worker is alive"))
    operator_decisions.acknowledge(_pk("no_live_worker"), "olga", "The host restarts, five minutes.")
    now = Alert.objects.values_list(Now(), flat=True)[0]
    operator_decisions.snooze(
        _pk("quarantined_jobs"), now + 8 * HOUR, "olga", "Known; mended with the next release."
    )
    notify.measure("dlq_not_empty", 2, Trouble(title="2 dead letters in slow"), scope="slow")
    notify.measure("dlq_not_empty", None, scope="slow", why_unknown="AccessDenied: sqs:GetQueueAttributes")
    notify.monitor_ok("sweep", timedelta(minutes=2))
    notify.monitor_ok("dlq check of default", timedelta(minutes=5))
    told("500 rollup_error", Outcome.AGAIN)
    told("200 ok", Outcome.DELIVERED)
    dead_letters()


def dead_letters() -> None:
    """Fire the dead letter alert that the journeys use."""
    notify.measure(
        "dlq_not_empty",
        5,
        Trouble(
            title="5 dead letters in default",
            summary="Newest groups: TimeoutError at maps (3), ValueError: no address (2).",
            facts=[
                ("Customers", "CUST-04218, CUST-00017"),
                ("Longest overdue", "CUST-04218, 2 h 10 min"),
                ("Text for support", "Your order is delayed; we are on it and nothing was lost."),
            ],
            links=[("View DLQ", "https://eu-west-1.console.aws.amazon.com/sqs/v3/home")],
            link="/admin/jobs/job/",
        ),
        scope="default",
    )


def _pk(fingerprint: str) -> int:
    return int(Alert.objects.open().get(fingerprint=fingerprint).pk)


def told(answer: str, outcome: Outcome) -> None:
    """Record this response from Slack for the waiting notifications."""
    addressing.address_notifications()
    while leased := delivery.lease_message(all_targets()["slack"]):
        delivery.record_answer(leased, ChannelAnswer(outcome, answer))
        if outcome != Outcome.DELIVERED:
            break
        clock.move(timedelta(seconds=2))
    clock.move(timedelta(minutes=1))
