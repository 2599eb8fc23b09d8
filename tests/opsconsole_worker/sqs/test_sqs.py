"""Tests of the SQS adapter: normal paths use the emulator over HTTP, failures use failing servers."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from botocore import exceptions as vendor
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from opsconsole.kit.errors import OpsConsoleError
from opsconsole_worker import sqs
from opsconsole_worker.sqs import Attribute, Outgoing, SendResult, clients
from tests.fakes import sqs as fakes
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.conftest import TestQueue

Call = Callable[[str], object]

AWS = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"
IMPATIENT = Config(
    connect_timeout=0.3, read_timeout=0.3, retries={"mode": "standard", "total_max_attempts": 1}
)


def outgoing(number: int = 0, **fields: Any) -> Outgoing:
    return Outgoing(**{"key": f"key-{number}", "body": f"body {number}"} | fields)


def held(queue_url: str) -> sqs.Received:
    """Return a received message for tests that need only its queue and receipt handle."""
    return sqs.Received(
        queue_url=queue_url,
        message_id="1",
        receipt_handle="handle",
        body="body",
        receive_count=1,
        sent_at=None,
        attributes={},
        system_attributes={},
    )


CALLS: dict[str, Call] = {
    "send_batch": lambda url: sqs.send_batch(url, [outgoing()]),
    "send_raw": lambda url: sqs.send_raw(url, "body"),
    "receive": lambda url: sqs.receive(url, wait_seconds=0),
    "delete": lambda url: sqs.delete(held(url)),
    "release": lambda url: sqs.release(held(url)),
    "depth": sqs.depth,
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# -- the emulator over real HTTP


def test_batch_is_sent_received_and_deleted(sqs_queue: TestQueue) -> None:
    results = sqs.send_batch(sqs_queue.url, [outgoing(number) for number in range(10)])
    received = sqs.receive(sqs_queue.url, wait_seconds=1)

    assert [result.key for result in results] == [f"key-{number}" for number in range(10)]
    assert all(result.error is None for result in results)
    assert {result.message_id for result in results} == {message.message_id for message in received}
    assert {message.body for message in received} == {f"body {number}" for number in range(10)}
    assert all(sqs.delete(message) for message in received)
    assert sqs.depth(sqs_queue.url).total == 0


def test_received_message_carries_everything(sqs_queue: TestQueue) -> None:
    attributes = {
        "reason": Attribute("because"),
        "count": Attribute("7", "Number"),
        "trace": Attribute(b"\x00\x01", "Binary"),
        "own": Attribute("x", "String.custom"),
    }
    sqs.send_batch(sqs_queue.url, [outgoing(body='{"é": "ü"}', attributes=attributes)])
    [message] = sqs.receive(sqs_queue.url, max_messages=1, wait_seconds=1)

    assert message.body == '{"é": "ü"}'
    assert message.attributes == attributes
    assert message.receive_count == 1
    assert message.sent_at is not None
    assert abs(datetime.now(UTC) - message.sent_at) < timedelta(minutes=1)
    assert message.system_attributes["ApproximateReceiveCount"] == "1"
    assert message.queue_url == sqs_queue.url


def test_released_message_comes_again_at_once_and_counts(sqs_queue: TestQueue) -> None:
    sqs.send_raw(sqs_queue.url, "body")
    [first] = sqs.receive(sqs_queue.url, wait_seconds=1)

    assert sqs.receive(sqs_queue.url, wait_seconds=0) == []
    assert sqs.release(first)
    [second] = sqs.receive(sqs_queue.url, wait_seconds=1)
    assert (second.message_id, second.receive_count) == (first.message_id, 2)


def test_release_with_delay_keeps_the_message_hidden(sqs_queue: TestQueue) -> None:
    sqs.send_raw(sqs_queue.url, "body")
    [message] = sqs.receive(sqs_queue.url, wait_seconds=1, visibility_seconds=2)

    assert sqs.release(message, delay_seconds=1_000_000)
    assert sqs.receive(sqs_queue.url, wait_seconds=0) == []
    assert sqs.depth(sqs_queue.url).in_flight == 1


def test_release_of_a_deleted_message_is_false(sqs_queue: TestQueue) -> None:
    sqs.send_raw(sqs_queue.url, "body")
    [message] = sqs.receive(sqs_queue.url, wait_seconds=1)
    sqs.delete(message)

    assert sqs.release(message) is False


def test_released_batch_is_visible_at_once(sqs_queue: TestQueue) -> None:
    sqs.send_batch(sqs_queue.url, [outgoing(number) for number in range(3)])
    taken = sqs.receive(sqs_queue.url, wait_seconds=1, visibility_seconds=600)
    assert sqs.depth(sqs_queue.url).visible == 0

    assert sqs.release_batch(taken) == {message.message_id for message in taken}

    assert sqs.depth(sqs_queue.url).visible == 3


def test_deleted_batch_is_gone(sqs_queue: TestQueue) -> None:
    sqs.send_batch(sqs_queue.url, [outgoing(number) for number in range(3)])
    first, *others = sqs.receive(sqs_queue.url, wait_seconds=1)

    assert sqs.delete_batch(others) == {message.message_id for message in others}

    assert sqs.depth(sqs_queue.url).total == 1
    assert sqs.release_batch([first]) == {first.message_id}


@pytest.mark.parametrize("batch", [sqs.delete_batch, sqs.release_batch])
def test_only_entries_named_successful_count(
    batch: Callable[[Sequence[sqs.Received]], set[str]], fake: fakes.FakeSqs
) -> None:
    fake.create(AWS)
    sqs.send_batch(AWS, [outgoing(number) for number in range(3)])
    taken = sqs.receive(AWS, wait_seconds=0)
    fake.handle_fault = {"body 1": "InternalError"}.get

    assert batch(taken) == {taken[0].message_id, taken[2].message_id}


@pytest.mark.parametrize("batch", [sqs.delete_batch, sqs.release_batch])
def test_batch_whose_answer_is_lost_is_unavailable(
    batch: Callable[[Sequence[sqs.Received]], set[str]], fake: fakes.FakeSqs
) -> None:
    fake.create(AWS)
    sqs.send_batch(AWS, [outgoing()])
    taken = sqs.receive(AWS, wait_seconds=0)
    fake.drop_answers(1)

    with pytest.raises(sqs.QueueUnavailable):
        batch(taken)


@pytest.mark.parametrize("batch", [sqs.delete_batch, sqs.release_batch])
def test_empty_batch_makes_no_call(
    batch: Callable[[Sequence[sqs.Received]], set[str]], fake: fakes.FakeSqs
) -> None:
    assert batch([]) == set()

    assert fake.calls == []


@pytest.mark.parametrize(
    ("host", "console"),
    [
        (
            "sqs.cn-north-1.amazonaws.com.cn",
            "https://cn-north-1.console.amazonaws.cn/sqs/v3/home?region=cn-north-1",
        ),
        (
            "sqs.eu-west-1.amazonaws.com",
            "https://eu-west-1.console.aws.amazon.com/sqs/v3/home?region=eu-west-1",
        ),
    ],
)
def test_aws_console_link_matches_partition(host: str, console: str, settings: Settings) -> None:
    settings.AWS_ENDPOINT_URL = None
    encoded = f"https%3A%2F%2F{host}%2F123456789012%2Fjobs-dlq.fifo"

    assert sqs.console_link(f"https://{host}/123456789012/jobs-dlq.fifo") == f"{console}#/queues/{encoded}"


def test_unknown_receipt_handle_is_false(sqs_queue: TestQueue) -> None:
    assert sqs.delete(held(sqs_queue.url)) is False
    assert sqs.release(held(sqs_queue.url)) is False


def test_depth_counts_and_settings(sqs_queue: TestQueue) -> None:
    sqs.send_batch(sqs_queue.url, [outgoing(1), outgoing(2), outgoing(3), outgoing(4, delay_seconds=5_000)])
    sqs.receive(sqs_queue.url, max_messages=1, wait_seconds=1)
    depth = sqs.depth(sqs_queue.url)

    assert (depth.visible, depth.in_flight, depth.delayed, depth.total) == (2, 1, 1, 4)
    assert depth.visibility_timeout_seconds == 30
    assert depth.retention_seconds == 345_600


def test_refused_entry_does_not_hold_its_neighbours(fake: fakes.FakeSqs) -> None:
    # Use the fake, because the emulator accepts characters that SQS refuses.
    good, refused, also_good = sqs.send_batch(AWS, [outgoing(0), outgoing(1, body="\x01"), outgoing(2)])

    assert good.message_id
    assert also_good.message_id
    assert refused.key == "key-1"
    assert refused.message_id is None
    assert refused.permanent
    assert refused.error
    assert sorted(fake.bodies(AWS)) == ["body 0", "body 2"]


def test_message_over_the_size_limit_is_refused_permanently(sqs_queue: TestQueue) -> None:
    [result] = sqs.send_batch(sqs_queue.url, [outgoing(body="x" * (sqs.BATCH_BYTES + 1))])

    assert result.permanent
    assert result.error
    with pytest.raises(sqs.MessageRefused, match=sqs_queue.url):
        sqs.send_raw(sqs_queue.url, "x" * (sqs.BATCH_BYTES + 1))


def test_poison_message_is_sent_to_dlq_unchanged_with_reason(sqs_queue: TestQueue) -> None:
    sqs.send_raw(sqs_queue.dlq_url, "{", {"reason": Attribute.text("not JSON: \x00 at 1")})
    [message] = sqs.receive(sqs_queue.dlq_url, wait_seconds=1)

    assert message.body == "{"
    assert message.attributes["reason"].value == "not JSON: \ufffd at 1"


def test_trace_header_is_sent_as_a_system_attribute(sqs_queue: TestQueue) -> None:
    header = "Root=1-67a95f20-0a1b2c3d4e5f60718293a4b5"
    bodies: list[bytes] = []
    client = sqs.client_for(sqs_queue.url)
    client.meta.events.register("before-send.sqs", lambda request, **_: bodies.append(request.body))

    sqs.send_raw(sqs_queue.url, "one", trace_header=header)
    sqs.send_batch(sqs_queue.url, [outgoing(1, trace_header=header)])

    # The emulator keeps it of single messages only.
    received = sqs.receive(sqs_queue.url, wait_seconds=0)
    assert [message.trace_header for message in received if message.body == "one"] == [header]
    [entry] = json.loads(bodies[1])["Entries"]
    assert entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"] == header


def test_fifo_queue_gets_group_and_deduplication_and_no_delay(sqs_queue: TestQueue) -> None:
    url = sqs_queue.client.create_queue(
        QueueName=f"jobs-{uuid4().hex[:12]}.fifo", Attributes={"FifoQueue": "true"}
    )["QueueUrl"]
    entries = [
        outgoing(1, group_id="job 1", dedup_id="job 1 epoch 1", delay_seconds=5),
        outgoing(2, group_id="job 1", dedup_id="job 1 epoch 1"),
        outgoing(3),
    ]
    results = sqs.send_batch(url, entries)
    sqs.send_raw(url, "poison")
    received = [message for _ in range(3) for message in sqs.receive(url, wait_seconds=0)]
    sqs_queue.client.delete_queue(QueueUrl=url)

    assert all(result.message_id for result in results)
    assert {message.body for message in received} == {"body 1", "body 3", "poison"}
    groups = {message.body: message.system_attributes["MessageGroupId"] for message in received}
    assert groups["body 1"] == "job 1"
    assert groups["body 3"] == "key-3"


@every_call
def test_missing_queue_is_misconfigured(call: Call, sqs_queue: TestQueue) -> None:
    with pytest.raises(
        sqs.QueueMisconfigured, match=r"no-such-queue can't be used: NonExistentQueue: .*Check its URL"
    ):
        call(sqs_queue.url.rpartition("/")[0] + "/no-such-queue")


def test_no_entries_make_no_call() -> None:
    assert sqs.send_batch("http://127.0.0.1:9/never-called", []) == []


# -- batches


def test_batches_hold_ten() -> None:
    entries = [outgoing(number) for number in range(21)]

    assert [len(batch) for batch in sqs.split_batches(entries)] == [10, 10, 1]
    assert sqs.split_batches([]) == []


def test_batch_is_full_at_exactly_one_mebibyte_of_utf8() -> None:
    half = outgoing(1, body="é" * (sqs.BATCH_BYTES // 4))
    assert half.size * 2 == sqs.BATCH_BYTES

    assert len(sqs.split_batches([half, half])) == 1
    assert len(sqs.split_batches([half, outgoing(2, body=half.body + "x")])) == 2
    with_attribute = outgoing(3, body=half.body, attributes={"n": Attribute("7", "Number")})
    assert with_attribute.size == half.size + len("n" + "7" + "Number")
    assert len(sqs.split_batches([half, with_attribute])) == 2


def test_entry_too_large_goes_alone() -> None:
    giant = outgoing(1, body="x" * (sqs.BATCH_BYTES + 1))

    assert sqs.split_batches([outgoing(0), giant, outgoing(2)]) == [[outgoing(0)], [giant], [outgoing(2)]]


@given(st.lists(st.integers(0, sqs.BATCH_BYTES + 10), max_size=40))
def test_batches_keep_order_and_limits(sizes: list[int]) -> None:
    entries = [outgoing(number, body="x" * size) for number, size in enumerate(sizes)]
    batches = sqs.split_batches(entries)

    assert [entry for batch in batches for entry in batch] == entries
    for batch in batches:
        assert 1 <= len(batch) <= 10
        assert len(batch) == 1 or sum(entry.size for entry in batch) <= sqs.BATCH_BYTES


# -- partial answers and error codes, from the fake


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> fakes.FakeSqs:
    fake = fakes.FakeSqs()
    fake.create(AWS)
    monkeypatch.setattr(sqs, "client_for", fake.client_for)
    return fake


def test_each_entry_of_a_partial_answer_gets_its_own_result(fake: fakes.FakeSqs) -> None:
    faults = {
        "body 1": "sender:InvalidMessageContents",
        "body 2": "passing:InternalError",
        "body 3": "missing",
        "body 4": "unmentioned",
        "body 5": "sender:RequestThrottled",
        "body 6": "sender:KmsAccessDenied",
    }
    fake.entry_fault = faults.get
    results = sqs.send_batch(AWS, [outgoing(number) for number in range(7)])

    assert results[0].message_id
    assert [result.permanent for result in results] == [False, True, False, False, False, False, False]
    assert [result.key for result in results if result.error] == [f"key-{number}" for number in range(1, 7)]
    assert results[1].error == "InvalidMessageContents: InvalidMessageContents."
    assert results[3] == SendResult(
        "key-3", error="The answer does not mention the message: it may have been sent.", unknown=True
    )
    assert fake.bodies(AWS) == ["body 0", "body 4"]


def test_batch_refused_as_a_whole_is_sent_one_by_one(fake: fakes.FakeSqs) -> None:
    fake.fail_next(1, fakes.client_error("InvalidMessageContents"))
    fake.entry_fault = {"body 1": "sender:InvalidMessageContents"}.get
    results = sqs.send_batch(AWS, [outgoing(0), outgoing(1), outgoing(2)])

    assert [bool(result.message_id) for result in results] == [True, False, True]
    assert results[1].permanent
    assert len(fake.calls) == 4


def test_lost_answer_is_unavailable_although_the_messages_were_sent(fake: fakes.FakeSqs) -> None:
    fake.drop_answers(1)

    with pytest.raises(sqs.QueueUnavailable, match="can't be reached: Read timeout"):
        sqs.send_batch(AWS, [outgoing(0)])
    assert fake.bodies(AWS) == ["body 0"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestThrottled", 403, sqs.QueueThrottled),
        ("ThrottlingException", 400, sqs.QueueThrottled),
        ("KMS.ThrottlingException", 400, sqs.QueueThrottled),
        ("OverLimit", 403, sqs.QueueThrottled),
        ("", 429, sqs.QueueThrottled),
        ("ThrottlingException", 503, sqs.QueueThrottled),
        ("InternalError", 500, sqs.QueueUnavailable),
        ("ServiceUnavailable", 503, sqs.QueueUnavailable),
        ("502", 502, sqs.QueueUnavailable),
        ("AccessDenied", 403, sqs.QueueMisconfigured),
        ("AccessDeniedException", 400, sqs.QueueMisconfigured),
        ("KmsDisabled", 400, sqs.QueueMisconfigured),
        ("InvalidClientTokenId", 403, sqs.QueueMisconfigured),
        ("SignatureDoesNotMatch", 403, sqs.QueueMisconfigured),
        ("ExpiredToken", 403, sqs.QueueMisconfigured),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, sqs.QueueMisconfigured),
        ("QueueDoesNotExist", 400, sqs.QueueMisconfigured),
        ("InvalidAddress", 404, sqs.QueueMisconfigured),
        ("NeverSeenBefore", 400, sqs.QueueMisconfigured),
    ],
)
@every_call
def test_meaning_of_error_response(
    call: Call, code: str, status: int, kind: type[sqs.QueueError], fake: fakes.FakeSqs
) -> None:
    fake.fail_next(1, fakes.client_error(code, status))

    with pytest.raises(sqs.QueueError) as caught:
        call(AWS)
    assert type(caught.value) is kind
    assert AWS in str(caught.value)
    assert code.rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            vendor.NoCredentialsError(),
            sqs.QueueMisconfigured,
            "There are no AWS credentials .* set AWS_ACCESS_KEY_ID",
        ),
        (
            vendor.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            sqs.QueueMisconfigured,
            "no AWS credentials",
        ),
        (vendor.SSOTokenLoadError(error_msg="expired"), sqs.QueueMisconfigured, "no AWS credentials"),
        (vendor.ProfileNotFound(profile="x"), sqs.QueueMisconfigured, "no AWS credentials"),
        (
            vendor.CredentialRetrievalError(provider="x", error_msg="down"),
            sqs.QueueUnreachable,
            "credentials .* can't be read now",
        ),
        (vendor.ParamValidationError(report="bad"), sqs.MessageRefused, "is not valid"),
        (fakes.unreachable(), sqs.QueueUnreachable, "can't be reached"),
        (vendor.ConnectTimeoutError(endpoint_url="x"), sqs.QueueUnreachable, "can't be reached"),
        (
            vendor.SSLError(endpoint_url="x", error=ValueError("certificate")),
            sqs.QueueUnavailable,
            "certificate",
        ),
        (vendor.HTTPClientError(error="urllib3"), sqs.QueueUnavailable, "urllib3"),
        (
            vendor.EndpointConnectionError(endpoint_url="http://u:hunter2@emulator:4566/"),
            sqs.QueueUnreachable,
            'endpoint URL: "http://...@emulator:4566/"',
        ),
    ],
)
def test_meaning_of_failure_without_response(
    error: Exception, kind: type[sqs.QueueError], sentence: str, fake: fakes.FakeSqs
) -> None:
    fake.fail_next(1, error)

    with pytest.raises(sqs.QueueError, match=sentence) as caught:
        sqs.depth(AWS)
    assert type(caught.value) is kind
    assert isinstance(caught.value, OpsConsoleError)


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"])
def test_expired_receipt_handle_raises_no_error(code: str, fake: fakes.FakeSqs) -> None:
    fake.fail_next(2, fakes.client_error(f"AWS.SimpleQueueService.{code}"))

    assert sqs.delete(held(AWS)) is False
    assert sqs.release(held(AWS)) is False


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"VisibilityTimeout": "30"},
        dict.fromkeys(
            [
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
                "VisibilityTimeout",
                "MessageRetentionPeriod",
            ],
            "many",
        ),
    ],
)
def test_unreadable_gauge_is_not_zero(
    attributes: dict[str, str], fake: fakes.FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "get_queue_attributes", lambda **_: {"Attributes": attributes})

    with pytest.raises(sqs.QueueUnavailable, match="does not answer like SQS"):
        sqs.depth(AWS)


# -- the real client with servers that fail


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the URL of a queue on a test server that returns this response to each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/000000000000/jobs"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use the real client with short timeouts and no retries; it connects to the queue's URL."""
    settings.AWS_ENDPOINT_URL = ""
    monkeypatch.setattr(clients, "CONFIG", IMPATIENT)
    sqs._client.cache_clear()
    yield
    sqs._client.cache_clear()


@pytest.fixture
def without_retries(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use no retries and a long read timeout: the server answers at once, but the machine may be slow."""
    monkeypatch.setattr(clients, "CONFIG", IMPATIENT.merge(Config(read_timeout=30)))
    sqs._client.cache_clear()


@every_call
@pytest.mark.usefixtures("impatient")
def test_connection_refused(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(sqs.QueueUnavailable, match="can't be reached: Could not connect"):
        call(f"http://127.0.0.1:{port}/000000000000/jobs")


@every_call
@pytest.mark.usefixtures("impatient")
def test_server_accepts_and_never_answers(call: Call) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(sqs.QueueUnavailable, match="can't be reached: Read timeout"),
    ):
        call(f"http://127.0.0.1:{mute.getsockname()[1]}/000000000000/jobs")


@pytest.mark.usefixtures("impatient")
def test_server_closes_connection_during_response() -> None:
    answer = answering(200, b'{"Attributes"', {"Transfer-Encoding": "chunked"})

    with answer as url, pytest.raises(sqs.QueueUnavailable):
        sqs.depth(url)


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind"),
    [
        (503, b"", {}, sqs.QueueUnavailable),
        (502, b"<html>Bad Gateway</html>", {}, sqs.QueueUnavailable),
        (500, b'{"__type": "InternalFailure"}', {}, sqs.QueueUnavailable),
        (400, b'{"__type": "com.amazonaws.sqs#RequestThrottled"}', {}, sqs.QueueThrottled),
        (429, b"slow down", {}, sqs.QueueThrottled),
        (
            403,
            b'{"__type": "AccessDeniedException", "message": "User is not authorized"}',
            {},
            sqs.QueueMisconfigured,
        ),
        (
            400,
            b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}',
            {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"},
            sqs.QueueMisconfigured,
        ),
        (404, b"<html>Not found</html>", {}, sqs.QueueMisconfigured),
        (301, b"", {"Location": "https://login.invalid/"}, sqs.QueueMisconfigured),
    ],
)
@pytest.mark.usefixtures("without_retries")
def test_meaning_of_http_error(
    status: int, body: bytes, headers: dict[str, str], kind: type[sqs.QueueError]
) -> None:
    with answering(status, body, headers) as url:
        for name, call in CALLS.items():
            with pytest.raises(sqs.QueueError) as caught:
                call(url)
            assert type(caught.value) is kind, name


SIGNED = {"x-amzn-RequestId": "b9c3-1", "Content-Type": "application/x-amz-json-1.0"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>Log in</html>", {"Content-Type": "text/html"}),
        (b"", {"Content-Type": "text/html"}),
        (b"", {}),
        (b"OK", {"Content-Type": "text/plain"}),
        (b'{"status": "ok"}', {"Content-Type": "application/json"}),
        (b"<html>Log in</html>", SIGNED),
        (b'{"Messages": [{"Mess', SIGNED),
        (b"[]", SIGNED),
        (b"\xff\xfe", SIGNED),
    ],
    ids=["page", "nothing", "bare nothing", "text", "other JSON", "page in between", "cut", "list", "noise"],
)
@every_call
@pytest.mark.usefixtures("without_retries")
def test_success_response_from_another_server_is_unavailable(
    call: Call, body: bytes, headers: dict[str, str]
) -> None:
    """Do not treat a proxy's page with status 200 as an empty queue or a deletion."""
    with (
        answering(200, body, headers) as url,
        pytest.raises(sqs.QueueUnavailable, match="does not answer like SQS") as caught,
    ):
        call(url)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.usefixtures("without_retries")
def test_empty_answer_of_sqs_is_success(name: str, body: bytes) -> None:
    """Accept an empty body, which SQS sends, and a request ID or type alone, which some emulators send."""
    with answering(200, body, {name: SIGNED[name]}) as url:
        assert sqs.delete(held(url)) is True
        assert sqs.release(held(url)) is True
        assert sqs.receive(url, wait_seconds=0) == []


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in</html>",
        b"\xff\xfe",
        b"[]",
        b"7",
        b'"x"',
        b"null",
        b"{",
        b'{"__type": 7}',
        b'{"Attributes": 7, "Messages": 7, "Successful": 7, "Failed": 7, "MessageId": 7}',
        b'{"Attributes": [], "Messages": [7], "Successful": [7], "Failed": [null]}',
        b'{"Attributes": {}, "Messages": [{}], "Successful": [{}], "Failed": [{}]}',
        b'{"Messages": [{"MessageId": "1", "ReceiptHandle": "1", "Body": "", "Attributes": {"SentTimestamp": "x"}}]}',
        b'{"Messages": [{"MessageId": "1", "ReceiptHandle": "1", "Body": "", "Attributes": {"SentTimestamp": "9'
        + b"9" * 30
        + b'"}}]}',
        b'{"Attributes": {"RedrivePolicy": "[]"}}',
        b'{"Attributes": {"RedrivePolicy": "{"}}',
        pytest.param(b"[" * 100_000, id="nested"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_any_response_raises_only_adapter_errors(body: bytes, status: int) -> None:
    """Expect a negative result or a ``QueueError``, never another exception or a queue depth."""
    with answering(status, body, SIGNED) as url:
        for name, call in CALLS.items():
            try:
                answer = call(url)
            except sqs.QueueError as error:
                assert len(str(error)) < 700, name
            else:
                assert status == 200, name
                assert not isinstance(answer, sqs.QueueDepth)
                if isinstance(answer, list):
                    assert all(isinstance(result, SendResult) and not result.message_id for result in answer)


@pytest.mark.usefixtures("impatient")
def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(sqs.QueueMisconfigured, match=r"no AWS credentials to use http://127\.0\.0\.1:9/x"):
        sqs.depth("http://127.0.0.1:9/x")


@pytest.mark.parametrize("url", ["http://a_b!/jobs", "jobs", "http://[bad/jobs", ""])
@pytest.mark.usefixtures("impatient")
def test_invalid_url_is_reported_in_a_sentence(url: str) -> None:
    with pytest.raises(sqs.QueueMisconfigured, match="can't be the URL of a queue"):
        sqs.depth(url)


# -- the client


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (AWS, "eu-west-1"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/jobs", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/jobs", "cn-north-1"),
        ("https://sqs-fips.us-east-2.amazonaws.com/1/jobs", "us-east-2"),
        ("https://sqs.us-east-2.api.aws/1/jobs", "us-east-2"),
        ("https://vpce-0a1b-x2y3.sqs.ap-southeast-2.vpce.amazonaws.com/1/jobs", "ap-southeast-2"),
        ("https://eu-central-1.queue.amazonaws.com/1/jobs", "eu-central-1"),
        ("https://sqs.eusc-de-east-1.amazonaws.eu/1/jobs", "eusc-de-east-1"),
        ("https://queue.amazonaws.com/1/jobs", "us-west-2"),
        ("http://127.0.0.1:5000/1/jobs", "us-west-2"),
        ("http://sqs.eu-west-1.localhost.example:4566/1/jobs", "us-west-2"),
    ],
)
def test_region_comes_from_url_or_settings(url: str, region: str, settings: Settings) -> None:
    settings.AWS_DEFAULT_REGION = "us-west-2"
    settings.AWS_ENDPOINT_URL = ""
    client = sqs.client_for(url)

    assert client.meta.region_name == region
    assert url.startswith(client.meta.endpoint_url + "/")


def test_endpoint_setting_takes_precedence(settings: Settings) -> None:
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:4566"

    assert sqs.client_for(AWS).meta.endpoint_url == "http://127.0.0.1:4566"
    assert sqs.client_for(AWS).meta.region_name == "eu-west-1"


def test_client_is_created_once_per_region_and_endpoint(settings: Settings) -> None:
    settings.AWS_ENDPOINT_URL = ""

    assert sqs.client_for(AWS) is sqs.client_for(AWS + "-dlq")
    assert sqs.client_for(AWS) is not sqs.client_for(AWS.replace("eu-west-1", "eu-west-2"))


def test_long_poll_ends_before_the_client_gives_up(settings: Settings) -> None:
    config: Any = sqs.client_for(AWS).meta.config

    assert config.connect_timeout == 3
    assert config.read_timeout > sqs.LONGEST_POLL_SECONDS
    assert config.max_pool_connections == 16


def test_forked_child_opens_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = sqs.client_for(AWS)
    monkeypatch.setattr(os, "getpid", lambda: -1)

    assert sqs.client_for(AWS) is not ours


def test_threads_share_one_adapter(sqs_queue: TestQueue) -> None:
    """Create clients in several threads at once, then send a request."""
    sqs._client.cache_clear()
    start = threading.Barrier(8)
    clients: list[object] = []

    def ask() -> None:
        start.wait(timeout=10)
        clients.append(sqs.client_for(sqs_queue.url))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert len(clients) == 8
    assert sqs.depth(sqs_queue.url).total == 0


# -- the fake answers like the emulator


@pytest.mark.parametrize("real", [True, False], ids=["emulator", "fake"])
def test_fake_and_emulator_behave_alike(
    real: bool, sqs_queue: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not real:
        fake = fakes.FakeSqs()
        fake.create(sqs_queue.dlq_url)
        fake.create(sqs_queue.url, dlq_url=sqs_queue.dlq_url, max_receive_count=3)
        monkeypatch.setattr(sqs, "client_for", fake.client_for)

    sqs.send_batch(sqs_queue.url, [outgoing(attributes={"a": Attribute("1", "Number")})])
    counts = []
    message: Any = None
    for _ in range(3):
        [message] = sqs.receive(sqs_queue.url, wait_seconds=1)
        counts.append(message.receive_count)
        assert sqs.release(message)
    assert sqs.receive(sqs_queue.url, wait_seconds=0) == []
    [dead] = sqs.receive(sqs_queue.dlq_url, wait_seconds=1)

    assert counts == [1, 2, 3]
    assert (dead.message_id, dead.body, dead.attributes) == (
        message.message_id,
        message.body,
        message.attributes,
    )
    assert sqs.depth(sqs_queue.dlq_url).in_flight == 1
    assert sqs.delete(dead)
    assert sqs.release(dead) is False
    assert sqs.depth(sqs_queue.url).total + sqs.depth(sqs_queue.dlq_url).total == 0


def test_fake_hides_delays_and_shows_again_by_its_clock(fake: fakes.FakeSqs) -> None:
    now = [0.0]
    fake.clock = lambda: now[0]
    sqs.send_batch(AWS, [outgoing(delay_seconds=5)])

    assert sqs.depth(AWS).delayed == 1
    assert sqs.receive(AWS, wait_seconds=0) == []
    now[0] = 5.0
    [first] = sqs.receive(AWS, wait_seconds=0)
    assert sqs.receive(AWS, wait_seconds=0) == []
    now[0] = 35.0
    [second] = sqs.receive(AWS, wait_seconds=0)
    assert second.receive_count == 2
    assert sqs.delete(first)
    assert fake.bodies(AWS) == ["body 0"]
    assert sqs.delete(second)
    assert fake.bodies(AWS) == []


def test_fake_delivers_duplicates_and_short_reads_on_demand(fake: fakes.FakeSqs) -> None:
    fake.duplicates, fake.largest_read = 1, 2
    sqs.send_batch(AWS, [outgoing(number) for number in range(3)])
    reads = [[message.body for message in sqs.receive(AWS, wait_seconds=0)] for _ in range(3)]

    assert reads == [["body 0", "body 1"], ["body 0", "body 2"], []]


def test_fake_wakes_a_long_poll(fake: fakes.FakeSqs) -> None:
    received: list[sqs.Received] = []
    poll = threading.Thread(target=lambda: received.extend(sqs.receive(AWS, wait_seconds=20)))
    poll.start()
    sqs.send_raw(AWS, "body")
    poll.join(timeout=10)

    assert [message.body for message in received] == ["body"]


def test_fake_keeps_every_message_under_threads(fake: fakes.FakeSqs) -> None:
    sent = {f"{sender} {number}" for sender in range(4) for number in range(200)}
    received: list[str] = []

    def send(sender: int) -> None:
        for batch in sqs.split_batches([outgoing(n, body=f"{sender} {n}") for n in range(200)]):
            sqs.send_batch(AWS, batch)

    def take() -> None:
        while len(received) < len(sent) and send_or_take.is_set():
            for message in sqs.receive(AWS, wait_seconds=0):
                received.append(message.body)
                sqs.delete(message)

    send_or_take = threading.Event()
    send_or_take.set()
    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    threads += [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(received) >= len(sent), timeout=30)
    finally:
        send_or_take.clear()
        for thread in threads:
            thread.join(timeout=10)

    assert sorted(received) == sorted(sent)
    assert fake.bodies(AWS) == []
