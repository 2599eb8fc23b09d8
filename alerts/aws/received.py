"""What follows from a message of SNS: an alert, a confirmed subscription, or nothing more than its record.

Each message has its effect once, whatever SNS or somebody else repeats, and a change of an alarm that comes
after a later one changes nothing. Record and effect commit together.
"""

from __future__ import annotations

from urllib.parse import quote

from django.db import connection, transaction
from django.db.models.functions import Now

from alerts import notify
from alerts.aws import cloudwatch, sns
from alerts.aws.cloudwatch import Change, State
from alerts.models import SnsMessage
from alerts.models.outside import KEPT

LONGEST_SUBJECT = 100


def take(message: sns.Message) -> str:
    """Do what a verified message asks for, once; returns a sentence. Raises ``sns.Refused`` when SNS must be asked."""
    change = cloudwatch.read(message.text) if message.kind == sns.Kind.NOTIFICATION else None
    if message.kind == sns.Kind.SUBSCRIBED:
        if SnsMessage.objects.filter(pk=message.id).exists():
            return AGAIN
        # Before the record: if it fails, SNS sends the message again. Twice does no harm.
        sns.confirm(message)
    with transaction.atomic():
        record, first = SnsMessage.objects.get_or_create(
            pk=message.id,
            defaults={
                "kind": message.kind,
                "topic": message.topic,
                "about": _fingerprint(message, change),
                "happened_at": change.at if change else message.sent_at,
            },
        )
        if not first:
            return AGAIN
        effect = _follow(message, change, record)
        SnsMessage.objects.filter(pk=record.pk).update(effect=effect)
        SnsMessage.objects.filter(received_at__lt=Now() - KEPT).delete()
        return effect


AGAIN = "It was here before."


def _fingerprint(message: sns.Message, change: Change | None) -> str:
    """Alarms of different regions and accounts may share a name."""
    if change:
        return f"cloudwatch:{message.region}:{message.account}:{change.alarm}"
    kind = "message" if message.kind == sns.Kind.NOTIFICATION else "subscription"
    return f"sns-{kind}:{message.topic}"


def _follow(message: sns.Message, change: Change | None, record: SnsMessage) -> str:
    # Two messages about one thing take turns, so that the later change is the one that stays.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [record.about])
    if SnsMessage.objects.filter(about=record.about, happened_at__gt=record.happened_at).exists():
        return "Something later was heard of it already: nothing was changed."
    match message.kind:
        case sns.Kind.SUBSCRIBED:
            notify.resolve(record.about)
            return "The subscription was confirmed."
        case sns.Kind.UNSUBSCRIBED:
            return _unsubscribed(message, record.about)
        case sns.Kind.NOTIFICATION:
            return _changed(message, change, record.about) if change else _announced(message, record.about)


def _changed(message: sns.Message, change: Change, fingerprint: str) -> str:
    match change.state:
        case State.OK:
            notify.resolve(fingerprint)
            return "The alarm is over."
        case State.UNKNOWN:
            notify.unknown(fingerprint, why=change.why or "CloudWatch has no data.")
            return "CloudWatch does not know: nothing was resolved."
        case State.ALARM:
            notify.fire(
                fingerprint,
                title=f"CloudWatch alarm: {change.alarm}",
                severity="critical",
                summary=change.description or change.why,
                facts=[
                    *change.about,
                    ("Region", message.region),
                    ("Account", message.account),
                    ("CloudWatch says", change.why or "nothing more"),
                ],
                links=[("View alarm", _console_url(message, change.alarm))],
            )
            return "The alarm was raised."


def _announced(message: sns.Message, fingerprint: str) -> str:
    """Not a change of an alarm: people hear that something came, and its subject; never what it says."""
    subject = cloudwatch.printable(message.subject).strip()[:LONGEST_SUBJECT] or "It has no subject."
    notify.fire(
        fingerprint,
        title=f"A message came by the SNS topic {message.topic_name}",
        severity="info",
        summary=subject,
        facts=[("Topic", message.topic)],
        news=f"Another one: {subject}",
    )
    return "It is no change of an alarm: its subject was shown."


def _unsubscribed(message: sns.Message, fingerprint: str) -> str:
    notify.fire(
        fingerprint,
        title=f"The console no longer hears of the SNS topic {message.topic_name}",
        severity="warning",
        summary="Somebody ended its subscription. Subscribe it again, or take the topic from OPSCONSOLE_SNS_TOPICS.",
        facts=[("Topic", message.topic)],
    )
    return "The subscription has ended."


def _console_url(message: sns.Message, alarm: str) -> str:
    domain = "console.amazonaws.cn" if message.host.endswith(".cn") else "console.aws.amazon.com"
    region = message.region
    return f"https://{region}.{domain}/cloudwatch/home?region={region}#alarmsV2:alarm/{quote(alarm, safe='')}"
