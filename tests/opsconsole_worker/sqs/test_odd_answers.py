"""The adapter with answers of SQS that are not about what was asked, over HTTP: they are believed only about that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import md5
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config

from opsconsole_worker import sqs
from opsconsole_worker.sqs import clients
from tests.opsconsole_worker.sqs.test_sqs import IMPATIENT, SIGNED, answering, held, outgoing

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

ENTRIES = [outgoing(0), outgoing(1)]
DEPTH = {
    "ApproximateNumberOfMessages": "3",
    "ApproximateNumberOfMessagesNotVisible": "0",
    "ApproximateNumberOfMessagesDelayed": "0",
    "VisibilityTimeout": "30",
    "MessageRetentionPeriod": "345600",
}


@pytest.fixture(autouse=True)
def real_client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.AWS_ENDPOINT_URL = ""
    monkeypatch.setattr(clients, "CONFIG", IMPATIENT.merge(Config(read_timeout=30)))
    sqs._client.cache_clear()
    yield
    sqs._client.cache_clear()


def digest(body: str) -> str:
    return md5(body.encode(), usedforsecurity=False).hexdigest()


def success(number: int, **fields: Any) -> dict[str, Any]:
    named = {
        "Id": str(number),
        "MessageId": f"message-{number}",
        "MD5OfMessageBody": digest(f"body {number}"),
    }
    return named | fields


def failure(number: int, code: str = "InternalError", message: str = "no") -> dict[str, Any]:
    return {"Id": str(number), "Code": code, "Message": message, "SenderFault": False}


def message(number: int = 0, **fields: Any) -> dict[str, Any]:
    body = f"body {number}"
    named = {"MessageId": f"message-{number}", "ReceiptHandle": f"handle-{number}", "Body": body}
    return named | {"MD5OfBody": digest(body)} | fields


def said(answer: dict[str, Any]) -> Any:
    return answering(200, json.dumps(answer).encode(), SIGNED)


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        ({"Successful": [success(0), success(1)]}, "ss"),
        ({"Successful": [success(1)], "Failed": [failure(0)]}, "fs"),
        ({"Successful": [success(1)]}, "us"),
        ({}, "uu"),
        ({"Successful": [success(7), {**success(0), "Id": "-1"}, {**success(0), "Id": ""}]}, "uu"),
        ({"Successful": [success(0), success(0, MessageId="another"), success(1)]}, "us"),
        ({"Successful": [success(0), success(1)], "Failed": [failure(1)]}, "su"),
        ({"Failed": [failure(0), failure(0), failure(1)]}, "uf"),
        ({"Successful": [success(0, MD5OfMessageBody=digest("another")), success(1)]}, "us"),
        ({"Successful": [success(0, MD5OfMessageBody=""), success(1)]}, "us"),
        ({"Successful": [{"Id": "0", "MessageId": "by-an-emulator"}, success(1)]}, "ss"),
    ],
    ids=[
        "sent",
        "one failed",
        "one missing",
        "all missing",
        "of others",
        "twice sent",
        "sent and failed",
        "twice failed",
        "damaged",
        "no digest",
        "without a digest",
    ],
)
def test_message_counts_as_sent_only_if_the_answer_says_so_once(answer: dict[str, Any], sent: str) -> None:
    with said(answer) as url:
        results = sqs.send_batch(url, ENTRIES)

    assert "".join("s" if each.message_id else "u" if each.unknown else "f" for each in results) == sent
    assert all("may have been sent" in (each.error or "") for each in results if each.unknown)


@pytest.mark.parametrize("name", ["MessageId", "Id"])
@pytest.mark.parametrize("value", ["", None, 7, ["x"], {}, "x" * 101, "a\0b"], ids=str)
def test_message_without_an_id_of_its_own_is_not_sent(name: str, value: object) -> None:
    with said({"Successful": [success(0, **{name: value}), success(1)]}) as url:
        try:
            results = sqs.send_batch(url, ENTRIES)
        except sqs.QueueUnavailable as error:
            assert "does not answer like SQS" in str(error)
        else:
            assert results[0].unknown and not results[0].message_id


@pytest.mark.parametrize(
    "fields", [{"MessageId": ""}, {"MessageId": 7}, {"MD5OfMessageBody": digest("another")}]
)
def test_message_sent_alone_is_believed_only_about_its_body(fields: dict[str, Any]) -> None:
    with said(success(0)) as url:
        assert sqs.send_raw(url, "body 0") == "message-0"
    with (
        said(success(0, **fields)) as url,
        pytest.raises(sqs.QueueUnavailable, match="does not answer like SQS"),
    ):
        sqs.send_raw(url, "body 0")


@pytest.mark.parametrize("call", [sqs.delete_batch, sqs.release_batch])
@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        ({"Successful": [{"Id": "0"}]}, {"1"}),
        ({"Successful": [{"Id": "-1"}, {"Id": "1"}, {"Id": "00"}, {"Id": " 0"}]}, set()),
        ({"Successful": [{"Id": "0"}], "Failed": [failure(0)]}, set()),
        ({"Successful": [{"Id": "0"}, {"Id": "0"}]}, {"1"}),
    ],
    ids=["confirmed", "of others", "both", "twice"],
)
def test_only_confirmed_messages_of_ours_are_gone(call: Any, answer: dict[str, Any], ids: set[str]) -> None:
    with said(answer) as url:
        assert call([held(url)]) == ids


def test_more_messages_than_were_asked_for_are_left() -> None:
    with said({"Messages": [message(number) for number in range(30)]}) as url:
        assert [each.message_id for each in sqs.receive(url, 2, 0)] == ["message-0", "message-1"]
        assert len(sqs.receive(url, 99, 0)) == sqs.BATCH_ENTRIES


def test_receipt_that_occurs_twice_is_one_message() -> None:
    twice = [message(), message(), message(ReceiptHandle="another"), message(1)]
    with said({"Messages": twice}) as url:
        assert [each.receipt_handle for each in sqs.receive(url, 10, 0)] == [
            "handle-0",
            "another",
            "handle-1",
        ]


def test_damaged_body_is_left_and_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with said({"Messages": [message(MD5OfBody=digest("another")), message(1)]}) as url:
        assert [each.message_id for each in sqs.receive(url, 10, 0)] == ["message-1"]
    assert "The body of the message message-0" in caplog.text


@pytest.mark.parametrize(
    "fields",
    [
        {"ReceiptHandle": ""},
        {"ReceiptHandle": 7},
        {"MessageId": ""},
        {"MessageId": "a\0b"},
        {"Body": 7},
        {"Body": None},
        {"Attributes": {"ApproximateReceiveCount": "-1"}},
        {"Attributes": {"ApproximateReceiveCount": "many"}},
        {"Attributes": {"SentTimestamp": "-1"}},
        {"Attributes": {"SentTimestamp": "999999999999999"}},
    ],
    ids=repr,
)
def test_impossible_message_is_no_message(fields: dict[str, Any]) -> None:
    with (
        said({"Messages": [message(**fields)]}) as url,
        pytest.raises(sqs.QueueUnavailable, match="does not answer like SQS"),
    ):
        sqs.receive(url, 10, 0)


@pytest.mark.parametrize(
    "value", ["-1", "", "many", "1.5", "1_000", " 3", "9" * 40, "NaN", None, [], 1.5, True]
)
@pytest.mark.parametrize("name", DEPTH)
def test_impossible_count_is_unknown(name: str, value: object) -> None:
    with (
        said({"Attributes": DEPTH | {name: value}}) as url,
        pytest.raises(sqs.QueueUnavailable, match="does not answer like SQS"),
    ):
        sqs.depth(url)


@pytest.mark.parametrize(
    "body", [b"<html>Request Entity Too Large</html>", b"", b'{"__type": "RequestEntityTooLarge"}']
)
def test_batch_that_is_too_large_for_what_is_between_is_sent_one_by_one(body: bytes) -> None:
    with answering(413, body) as url:
        results = sqs.send_batch(url, ENTRIES)
        with pytest.raises(sqs.MessageRefused):
            sqs.send_raw(url, "body")
    assert [(each.permanent, each.unknown, each.message_id) for each in results] == [(True, False, None)] * 2


KEYS = [
    ("KmsAccessDenied", "kms:Decrypt and kms:GenerateDataKey"),
    ("KMS.AccessDeniedException", "kms:Decrypt and kms:GenerateDataKey"),
    ("KmsDisabled", "Enable the KMS key"),
    ("KMS.DisabledException", "Enable the KMS key"),
    ("KmsInvalidState", "Enable the KMS key"),
    ("KMS.KMSInvalidStateException", "Enable the KMS key"),
    ("KmsNotFound", "a KMS key that exists"),
    ("KMS.NotFoundException", "a KMS key that exists"),
    ("KmsInvalidKeyUsage", "a KMS key that exists"),
    ("KmsOptInRequired", "Subscribe the AWS account to KMS"),
    ("AccessDeniedException", "Check its URL and its region, and allow this process"),
]


@pytest.mark.parametrize(("code", "advice"), KEYS)
def test_what_to_do_about_a_key_is_said_in_words(code: str, advice: str) -> None:
    body = json.dumps(
        {"__type": f"com.amazonaws.sqs#{code}", "message": "The ciphertext refers to a key"}
    ).encode()
    headers = {"x-amzn-query-error": f"{code};Sender"} if code.startswith("KMS.") else {}
    for answered in ({}, headers):
        with answering(400, body, answered) as url, pytest.raises(sqs.QueueMisconfigured) as caught:
            sqs.send_batch(url, ENTRIES)
        assert advice in str(caught.value)

    with said({"Successful": [success(0)], "Failed": [failure(1, code) | {"SenderFault": True}]}) as url:
        sent, refused = sqs.send_batch(url, ENTRIES)
    assert sent.message_id and advice in (refused.error or "")
    assert not refused.permanent and not refused.unknown
