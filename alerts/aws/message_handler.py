"""The effect of a message from SNS: an alert, a confirmed subscription, or only a record of the message.

A message takes effect once, however often it is delivered, and an alarm change that arrives after a later one has no
effect. The record of a message and its effect commit together.
"""

from __future__ import annotations

from urllib.parse import quote

from django.db import connection, transaction
from django.db.models.functions import Now

from alerts import notify
from alerts.aws import cloudwatch, sns
from alerts.aws.cloudwatch import AlarmChange, AlarmState
from alerts.models import SnsMessage
from alerts.models.external import KEPT
from alerts.trouble import Trouble

LONGEST_SUBJECT = 100
REPEATED = "The message was received before. Nothing was changed."


def handle(message: sns.Message) -> str:
    """Carry out a verified message once, and return a description of the effect.

    Raise ``sns.Refused`` if a subscription cannot be confirmed.
    """
    change = cloudwatch.read(message.text) if message.kind == sns.Kind.NOTIFICATION else None
    if message.kind == sns.Kind.SUBSCRIBED:
        if SnsMessage.objects.filter(pk=message.id).exists():
            return REPEATED
        # Confirm before storing the record: if this fails, SNS sends the message again. Confirming twice is harmless.
        sns.confirm(message)
    with transaction.atomic():
        record, created = SnsMessage.objects.get_or_create(
            pk=message.id,
            defaults={
                "kind": message.kind,
                "topic": message.topic,
                "about": _fingerprint(message, change),
                "happened_at": change.at if change else message.sent_at,
            },
        )
        if not created:
            return REPEATED
        effect = _apply(message, change, record)
        SnsMessage.objects.filter(pk=record.pk).update(effect=effect)
        SnsMessage.objects.filter(received_at__lt=Now() - KEPT).delete()
        return effect


def _fingerprint(message: sns.Message, change: AlarmChange | None) -> str:
    """Return the fingerprint of the alert. Alarms of different regions and accounts may share a name."""
    if change:
        return f"cloudwatch:{message.region}:{message.account}:{change.alarm}"
    kind = "message" if message.kind == sns.Kind.NOTIFICATION else "subscription"
    return f"sns-{kind}:{message.topic}"


def _apply(message: sns.Message, change: AlarmChange | None, record: SnsMessage) -> str:
    # Messages about the same alarm are processed one after the other, so that the later change wins.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [record.about])
    if SnsMessage.objects.filter(about=record.about, happened_at__gt=record.happened_at).exists():
        return "A later message was received before this one. Nothing was changed."
    match message.kind:
        case sns.Kind.SUBSCRIBED:
            notify.resolve(record.about)
            return "The subscription was confirmed."
        case sns.Kind.UNSUBSCRIBED:
            return _report_unsubscription(message, record.about)
        case sns.Kind.NOTIFICATION:
            if change:
                return _apply_change(message, change, record.about)
            return _report_other_message(message, record.about)


def _apply_change(message: sns.Message, change: AlarmChange, fingerprint: str) -> str:
    match change.state:
        case AlarmState.OK:
            notify.resolve(fingerprint)
            return "The alert was resolved."
        case AlarmState.UNKNOWN:
            notify.unknown(fingerprint, why=change.why or "CloudWatch has no data.")
            return "CloudWatch has no data. The alert stays open."
        case AlarmState.ALARM:
            notify.fire(
                fingerprint,
                Trouble(
                    title=f"CloudWatch alarm: {change.alarm}",
                    severity="critical",
                    summary=change.description or change.why,
                    facts=[
                        *change.dimensions,
                        ("Region", message.region),
                        ("Account", message.account),
                        ("Reason given by CloudWatch", change.why or "none"),
                    ],
                    links=[("View alarm", _console_url(message, change.alarm))],
                ),
            )
            return "An alert was raised."


def _report_other_message(message: sns.Message, fingerprint: str) -> str:
    """Raise an alert with the subject, but never the text, of a message that is not an alarm change."""
    subject = cloudwatch.printable(message.subject).strip()[:LONGEST_SUBJECT] or "The message has no subject."
    notify.fire(
        fingerprint,
        Trouble(
            title=f"Message from the SNS topic {message.topic_name}",
            severity="info",
            summary=subject,
            facts=[("Topic", message.topic)],
            news=f"Another message: {subject}",
        ),
    )
    return "The message is not an alarm change. An alert shows its subject."


def _report_unsubscription(message: sns.Message, fingerprint: str) -> str:
    notify.fire(
        fingerprint,
        Trouble(
            title=f"The console is no longer subscribed to the SNS topic {message.topic_name}",
            severity="warning",
            summary="The subscription was ended. Subscribe again, or remove the topic from OPSCONSOLE_SNS_TOPICS.",
            facts=[("Topic", message.topic)],
        ),
    )
    return "The subscription has ended. An alert was raised."


def _console_url(message: sns.Message, alarm: str) -> str:
    domain = "console.amazonaws.cn" if message.host.endswith(".cn") else "console.aws.amazon.com"
    region = message.region
    return f"https://{region}.{domain}/cloudwatch/home?region={region}#alarmsV2:alarm/{quote(alarm, safe='')}"
