"""Messages from SNS: a message takes effect once, and only if SNS signed it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from pytest_django.fixtures import Settings

from alerts.aws import sns
from alerts.models import Alert, Notification, SnsMessage
from tests.alerts.aws.amazon import (
    CERTIFICATE,
    HOST,
    OTHER_KEY,
    REGION,
    SUBSCRIBE,
    TOPIC,
    Amazon,
    alarm,
    certificate,
    envelope,
    post,
    signed,
    timestamp,
)
from tests.people import operator, viewer
from tests.racing import race

MINUTE = timedelta(minutes=1)
VIEW = (
    "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1"
    "#alarmsV2:alarm/opsconsole-jobs-dlq-not-empty"
)
FINGERPRINT = f"cloudwatch:{REGION}:123456789012:opsconsole-jobs-dlq-not-empty"


@pytest.fixture(autouse=True)
def amazon(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Amazon]:
    settings.OPSCONSOLE_SNS_TOPICS = [TOPIC]
    stand_in = Amazon()
    monkeypatch.setattr(sns, "fetch", stand_in.fetch)
    sns._certificates.clear()
    yield stand_in
    sns._certificates.clear()


def nothing_happened() -> bool:
    return not (Alert.objects.exists() or SnsMessage.objects.exists() or Notification.objects.exists())


# --- messages from SNS ---


@pytest.mark.django_db
@pytest.mark.parametrize("version", ["1", "2"])
def test_alarm_opens_an_alert(version: str, settings: Settings) -> None:
    settings.OPSCONSOLE_SNS_SIGNATURE_VERSION_1 = version == "1"
    answer = post(signed(envelope(Message=alarm(), Subject="ALARM: it is not empty"), version=version))

    assert (answer.status_code, answer.content) == (200, b"ok")
    alert = Alert.objects.get()
    assert (alert.fingerprint, alert.severity, alert.state) == (FINGERPRINT, "critical", "firing")
    assert alert.title == "CloudWatch alarm: opsconsole-jobs-dlq-not-empty"
    assert ["QueueName", "jobs-dlq"] in alert.facts
    assert alert.links == [["View alarm", VIEW]]
    assert Notification.objects.get().kind == "firing"


@pytest.mark.django_db
def test_ok_resolves_the_alert_and_insufficient_data_does_not() -> None:
    post(signed(envelope(Message=alarm())))
    post(signed(envelope(Message=alarm("INSUFFICIENT_DATA"))))
    alert = Alert.objects.get()
    assert alert.open and alert.unknown_since
    assert "Threshold Crossed" in alert.unknown_why

    post(signed(envelope(Message=alarm("OK"))))

    assert not Alert.objects.get().open


@pytest.mark.django_db
def test_repeated_message_has_no_effect() -> None:
    once = signed(envelope(Message=alarm()))
    assert post(once).status_code == 200
    post(signed(envelope(Message=alarm("OK"))))

    assert post(once).status_code == 200

    assert not Alert.objects.open().exists()
    assert SnsMessage.objects.count() == 2


@pytest.mark.django_db
def test_older_change_that_arrives_later_has_no_effect() -> None:
    post(signed(envelope(Message=alarm("OK", at="2026-11-24T10:05:00.000+0000"))))

    post(signed(envelope(Message=alarm("ALARM", at="2026-11-24T10:00:00.000+0000"))))

    assert not Alert.objects.exists()
    assert SnsMessage.objects.filter(effect__startswith="A later message was received").exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_copies_of_a_message_take_effect_once() -> None:
    once = signed(envelope(Message=alarm()))

    answers = race([lambda: post(once).status_code] * 4)

    assert answers == [200] * 4
    assert (Alert.objects.count(), Notification.objects.count(), SnsMessage.objects.count()) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_later_of_two_concurrent_changes_wins() -> None:
    for _ in range(3):
        SnsMessage.objects.all().delete()
        race(
            [
                lambda: post(signed(envelope(Message=alarm("ALARM", at="2026-11-24T10:00:00.000+0000")))),
                lambda: post(signed(envelope(Message=alarm("OK", at="2026-11-24T10:05:00.000+0000")))),
            ]
        )
        assert not Alert.objects.open().exists()


@pytest.mark.django_db
def test_message_that_is_not_an_alarm_shows_only_its_subject() -> None:
    post(signed(envelope(Message="password=hunter2", Subject="<!channel> \u202eDeploy <b>done</b>")))

    alert = Alert.objects.get()
    assert (alert.severity, alert.fingerprint) == ("info", f"sns-message:{TOPIC}")
    assert alert.summary == "<!channel>  Deploy <b>done</b>"
    assert "hunter2" not in str(Alert.objects.values().get()) + str(Notification.objects.values().get())
    client = Client()
    client.force_login(operator())
    html = client.get(f"/admin/alerts/alert/{alert.pk}/change/").content.decode()
    assert "<b>done</b>" not in html


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        "{",
        "[" * 100_000,
        alarm("MAYBE"),
        alarm(at="yesterday"),
        alarm(at="2026-11-24T10:00:00"),
        alarm(AlarmName=7),
        alarm(Trigger="x"),
        alarm(Trigger={"Dimensions": [1]}),
    ],
)
def test_incomplete_alarm_is_not_an_alarm(text: str) -> None:
    assert post(signed(envelope(Message=text))).status_code == 200
    assert Alert.objects.get().severity == "info"


@pytest.mark.django_db
def test_alarms_of_two_regions_have_separate_alerts(settings: Settings, amazon: Amazon) -> None:
    elsewhere = TOPIC.replace(REGION, "us-east-1")
    settings.OPSCONSOLE_SNS_TOPICS = [TOPIC, elsewhere]
    certificate_url = CERTIFICATE.replace(REGION, "us-east-1")
    amazon.pages[certificate_url] = certificate()

    post(signed(envelope(Message=alarm())))
    post(signed(envelope(Message=alarm(), TopicArn=elsewhere, SigningCertURL=certificate_url)))

    assert Alert.objects.open().count() == 2


# --- subscriptions ---


@pytest.mark.django_db
def test_subscription_is_confirmed_once(amazon: Amazon) -> None:
    confirmation = signed(envelope("SubscriptionConfirmation", Message="You have chosen to subscribe."))

    assert post(confirmation).status_code == 200
    assert post(confirmation).status_code == 200

    assert amazon.fetched == [CERTIFICATE, SUBSCRIBE]
    assert SnsMessage.objects.get().effect == "The subscription was confirmed."


@pytest.mark.django_db
def test_failed_confirmation_is_retried(amazon: Amazon) -> None:
    page = amazon.pages.pop(SUBSCRIBE)
    confirmation = signed(envelope("SubscriptionConfirmation"))

    assert post(confirmation).status_code == 503
    assert nothing_happened()

    amazon.pages[SUBSCRIBE] = page
    assert post(confirmation).status_code == 200
    assert SnsMessage.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.com/?Action=ConfirmSubscription",
        f"https://sns.{REGION}.amazonaws.com.evil.com/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"https://sns.{REGION}.amazonaws.com@evil.com/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"http://sns.{REGION}.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"{HOST}?Action=DeleteTopic&TopicArn={TOPIC}&Token=t",
        f"{HOST}?Action=ConfirmSubscription&Action=DeleteTopic&TopicArn={TOPIC}&Token=t",
        f"{HOST}?Action=ConfirmSubscription&TopicArn={TOPIC}x&Token=t",
        f"{HOST}?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t\nX: y",
    ],
)
def test_link_that_does_not_confirm_the_topic_is_refused(amazon: Amazon, url: str) -> None:
    answer = post(signed(envelope("SubscriptionConfirmation", SubscribeURL=url)))

    assert (answer.status_code, answer.content) == (403, b"refused")
    assert amazon.fetched == [CERTIFICATE]
    assert nothing_happened()


@pytest.mark.django_db
def test_ended_subscription_raises_an_alert_until_it_is_restored(amazon: Amazon) -> None:
    assert post(signed(envelope("UnsubscribeConfirmation", ago=MINUTE))).status_code == 200
    assert (
        Alert.objects.get().title
        == "The console is no longer subscribed to the SNS topic opsconsole-dlq-alarms"
    )
    assert SUBSCRIBE not in amazon.fetched, "it is not subscribed again behind people's backs"

    post(signed(envelope("SubscriptionConfirmation")))

    assert not Alert.objects.open().exists()


# --- forged messages ---


def forged(**changes: Any) -> dict[str, Any]:
    """Return a message that was changed after it was signed."""
    return signed(envelope(Message=alarm(), Subject="s")) | changes


HOSTILE: dict[str, Callable[[], tuple[dict[str, Any] | bytes, str | None, int]]] = {
    "another's key": lambda: (signed(envelope(Message=alarm()), OTHER_KEY), None, 403),
    "changed text": lambda: (forged(Message=alarm("OK")), None, 403),
    "changed subject": lambda: (forged(Subject="t"), None, 403),
    "changed topic's name": lambda: (forged(TopicArn=TOPIC + "2"), None, 403),
    "changed time": lambda: (forged(Timestamp=timestamp(MINUTE)), None, 403),
    "no signature": lambda: (envelope(Message=alarm(), SignatureVersion="2"), None, 403),
    "a signature that is no base64": lambda: (forged(Signature="é!"), None, 403),
    "an empty signature": lambda: (forged(Signature=""), None, 403),
    "a version that is not known": lambda: (forged(SignatureVersion="3"), None, 403),
    "version 1 for a signature of version 2": lambda: (forged(SignatureVersion="1"), None, 403),
    "version 1, which nobody asked for": lambda: (signed(envelope(Message=alarm()), version="1"), None, 403),
    "no version": lambda: (envelope(Message=alarm(), Signature="AAAA"), None, 403),
    "an hour and more old": lambda: (signed(envelope(Message=alarm(), ago=66 * MINUTE)), None, 403),
    "from the future": lambda: (signed(envelope(Message=alarm(), ago=-6 * MINUTE)), None, 403),
    "a time that is none": lambda: (signed(envelope(Timestamp="now")), None, 400),
    "a time without an offset": lambda: (signed(envelope(Timestamp="2026-11-24T10:00:00")), None, 400),
    "a foreign topic": lambda: (signed(envelope(TopicArn=TOPIC.replace("123", "999"))), None, 403),
    "no topic": lambda: (signed(envelope(TopicArn=None)), None, 400),
    "no id": lambda: (signed(envelope(MessageId=None)), None, 400),
    "no text": lambda: (signed(envelope(Message=None)), None, 400),
    "a number for a text": lambda: (signed(envelope()) | {"Message": 7}, None, 400),
    "a header of another type": lambda: (signed(envelope()), "SubscriptionConfirmation", 400),
    "a header of no type": lambda: (signed(envelope()), "", 400),
    "a type that is not known": lambda: (signed(envelope("Reboot")), None, 400),
    "garbage": lambda: (b"\xff\xfe{", None, 400),
    "nothing": lambda: (b"", None, 400),
    "a list": lambda: (b"[]", None, 400),
    "depth": lambda: (b"[" * 100_000, None, 400),
    "too much": lambda: (b" " * (sns.LARGEST_BODY + 1), None, 413),
}


@pytest.mark.django_db
def test_version_1_has_to_be_asked_for(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    old = signed(envelope(Message=alarm()), version="1")
    assert post(old).status_code == 403
    assert "set the attribute SignatureVersion of the topic to 2" in caplog.text
    assert nothing_happened()
    settings.OPSCONSOLE_SNS_SIGNATURE_VERSION_1 = True
    assert post(forged(SignatureVersion="1")).status_code == 403
    assert post(old).status_code == 200
    assert Alert.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("what", HOSTILE)
def test_forged_messages_are_refused(what: str) -> None:
    message, kind, status = HOSTILE[what]()

    answer = post(message, kind)

    assert (answer.status_code, answer.content) == (status, b"refused")
    assert nothing_happened()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url",
    [
        f"http://sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pem",
        f"https://sns.{REGION}.amazonaws.com.evil.com/SimpleNotificationService-1.pem",
        f"https://sns.{REGION}.amazonaws.com@evil.com/SimpleNotificationService-1.pem",
        f"https://evil.com/sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pem",
        f"https://evil.com#@sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pem",
        f"https://evil.com\\@sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pem",
        f"https://sns.{REGION}.amazonaws.com:8443/SimpleNotificationService-1.pem",
        f"https://user:password@sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pem",
        f"https://SNS.{REGION}.amazonaws.com/../x.pem",
        f"https://sns.{REGION}.amazonaws.com/a/b.pem",
        f"https://sns.{REGION}.amazonaws.com/a.pem?x=.pem",
        f"https://sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pem\n",
        f"https://sns.{REGION}.amazonaws.com/SimpleNotificationService-1.pfx",
        f"https://sns.{REGION}.amazonaws.com.cn/SimpleNotificationService-1.pem",
        f"https://snsx{REGION}xamazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://s3.amazonaws.com/sns/SimpleNotificationService-1.pem",
        "",
        None,
    ],
)
def test_certificate_from_elsewhere_is_refused(amazon: Amazon, url: str | None) -> None:
    answer = post(signed(envelope(Message=alarm(), SigningCertURL=url)))

    assert (answer.status_code, answer.content) == (403, b"refused")
    assert amazon.fetched == []
    assert nothing_happened()


@pytest.mark.django_db
def test_regions_in_china_have_their_own_domain(settings: Settings, amazon: Amazon) -> None:
    topic = "arn:aws-cn:sns:cn-north-1:123456789012:dlq"
    certificate_url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-1.pem"
    settings.OPSCONSOLE_SNS_TOPICS = [topic]
    amazon.pages[certificate_url] = certificate()

    assert (
        post(signed(envelope(Message=alarm(), TopicArn=topic, SigningCertURL=certificate_url))).status_code
        == 200
    )
    assert "console.amazonaws.cn" in Alert.objects.get().links[0][1]


def of_another_kind() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "pem", [b"", b"<html>", certificate(days=-1), certificate(OTHER_KEY), of_another_kind()]
)
def test_invalid_certificate_is_refused(amazon: Amazon, pem: bytes) -> None:
    amazon.pages[CERTIFICATE] = pem
    assert post(signed(envelope(Message=alarm()))).status_code == 403
    assert nothing_happened()


@pytest.mark.django_db
def test_valid_certificate_is_cached_and_an_invalid_one_is_not(amazon: Amazon) -> None:
    amazon.pages[CERTIFICATE] = b"<html>"
    post(signed(envelope(Message=alarm())))
    amazon.pages[CERTIFICATE] = certificate()
    for _ in range(3):
        assert post(signed(envelope(Message=alarm()))).status_code == 200
    assert amazon.fetched == [CERTIFICATE] * 2


@pytest.mark.django_db
def test_unavailable_amazon_makes_sns_retry(amazon: Amazon) -> None:
    message = signed(envelope(Message=alarm()))
    page = amazon.pages.pop(CERTIFICATE)
    assert post(message).status_code == 503
    assert nothing_happened()
    amazon.pages[CERTIFICATE] = page
    assert post(message).status_code == 200


@pytest.mark.django_db
def test_concurrent_fetches_are_limited(amazon: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns, "_fetches", threading.BoundedSemaphore(1))
    with sns._fetches:
        assert post(signed(envelope(Message=alarm()))).status_code == 503
    assert amazon.fetched == []


@pytest.mark.django_db
def test_endpoint_does_not_exist_without_topics(settings: Settings, amazon: Amazon) -> None:
    settings.OPSCONSOLE_SNS_TOPICS = []
    assert post(signed(envelope(Message=alarm()))).status_code == 404
    assert amazon.fetched == []


@pytest.mark.django_db
def test_only_post_with_a_valid_length_is_accepted() -> None:
    assert Client().get("/hooks/sns").status_code == 405
    answer = Client().generic("POST", "/hooks/sns", b"{}", CONTENT_LENGTH="many")
    assert answer.status_code == 413


@pytest.mark.django_db
def test_log_has_the_reason_but_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    post(signed(envelope("SubscriptionConfirmation", SubscribeURL="https://evil.com/?Token=secret-token")))
    [record] = [record for record in caplog.records if record.name == "alerts.aws.webhook"]
    assert "confirmation link does not lead to SNS" in record.message
    assert "secret-token" not in caplog.text and "evil.com" not in caplog.text


def test_signed_text_has_the_documented_format() -> None:
    """The documentation gives the format with and without a subject."""
    message = sns.Message(
        kind=sns.Kind.NOTIFICATION,
        id="22b80b92",
        topic=TOPIC,
        subject="",
        text="Hello",
        sent_at=sns.parse_time("2012-05-02T00:54:06.655Z"),
        fields={"Type": "Notification", "MessageId": "22b80b92", "TopicArn": "arn", "Message": "Hello"}
        | {"Timestamp": "2012-05-02T00:54:06.655Z", "Token": "not signed here"},
    )
    assert sns._signed(message) == (
        b"Message\nHello\nMessageId\n22b80b92\nTimestamp\n2012-05-02T00:54:06.655Z\nTopicArn\narn\nType\nNotification\n"
    )
    message.fields["Subject"] = "S"
    assert b"22b80b92\nSubject\nS\nTimestamp\n" in sns._signed(message)


@pytest.mark.django_db
def test_viewer_can_see_the_messages_and_their_effects() -> None:
    post(signed(envelope(Message=alarm())))
    client = Client()
    client.force_login(viewer())
    response = client.get("/admin/alerts/snsmessage/")
    assert response.status_code == 200
    assert "An alert was raised." in response.content.decode()
    detail = client.get(f"/admin/alerts/snsmessage/{SnsMessage.objects.get().pk}/change/")
    assert detail.status_code == 200
