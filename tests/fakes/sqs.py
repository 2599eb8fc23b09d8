"""An in-memory SQS, fast and thread-safe, with optional faults: lag, throttling, lost answers, duplicates.

It replaces the adapter's client: ``monkeypatch.setattr(sqs, "client_for", fake.client_for)``.
Methods and responses are those of a boto3 client. A message that moves to a dead letter queue keeps its ID; on FIFO
queues its deduplication ID becomes that ID and its sent timestamp is the time of the move, as on SQS.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Condition
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

DEDUPLICATION_SECONDS = 300
LARGEST_BYTES = 1_048_576
PREFIX = "AWS.SimpleQueueService."
# Of groups and deduplication ids.
TOKEN = re.compile("[!-~]{1,128}")
FOREIGN_TO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(eq=False)
class Message:
    """One message in a fake queue. Times are seconds of the fake's clock."""

    body: str
    attributes: dict[str, Any]
    visible_at: float
    sent_at_ms: int
    group_id: str | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    dedup_id: str | None = None
    source_arn: str | None = None
    trace_header: str | None = None
    handle: str = ""
    receive_count: int = 0


@dataclass(eq=False)
class Queue:
    visibility_timeout: int = 30
    dlq_url: str | None = None
    max_receive_count: int = 3
    retention_seconds: int = 345_600
    messages: dict[str, Message] = field(default_factory=dict)
    deduplicated: dict[str, tuple[float, str]] = field(default_factory=dict)


@dataclass(eq=False)
class FakeSqs:
    """A whole account. Its fields may be changed while threads use it.

    latency: seconds that each call takes, outside of the lock, so that calls run in parallel.
    entry_fault: for each body of a batch: None (sent), a code prefixed "sender:" or "passing:", "missing" (not
        sent and not mentioned) or "unmentioned" (sent and not mentioned).
    duplicates: how many of the next received messages stay visible and are received again.
    largest_read: the most messages that one receive returns (short reads); 0 makes each receive empty.
    empty_reads: how many of the next receives return nothing although the queue has messages.
    handle_fault: for the body of each entry of a batch of deletes or visibility changes: an error code, or None.
    miscount: turns a true count into the approximate count that is reported.
    sample: the order in which a receive considers messages; SQS itself asks only some of its hosts.
    wall: returns the seconds since 1970, for the sending and expiry of messages.
    """

    latency: float = 0.0
    entry_fault: Callable[[str], str | None] = lambda body: None
    duplicates: int = 0
    largest_read: int = 10
    empty_reads: int = 0
    handle_fault: Callable[[str], str | None] = lambda body: None
    miscount: Callable[[int], int] = lambda count: count
    sample: Callable[[list[Message]], list[Message]] = lambda messages: messages
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    queues: dict[str, Queue] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _faults: deque[tuple[Exception, bool, str]] = field(default_factory=deque, init=False, repr=False)
    _changed: Condition = field(default_factory=Condition, init=False, repr=False)

    # -- interface for tests

    def create(self, url: str, **settings: Any) -> str:
        """Create a queue (settings as the fields of ``Queue``) and return its URL."""
        self.queues[url] = Queue(**settings)
        return url

    def client_for(self, queue_url: str, *, once: bool = False) -> FakeSqs:
        return self

    def fail_next(self, count: int, error: Exception, *, after_effect: bool = False, call: str = "") -> None:
        """Raise the error from the next calls; with ``after_effect`` only after they have taken effect.

        ``call``: a prefix, such as "send", that limits this to calls whose name begins with it.
        """
        self._faults.extend([(error, after_effect, call)] * count)

    def drop_answers(self, count: int, *, call: str = "") -> None:
        """Let the next calls take effect but lose their responses."""
        self.fail_next(count, ReadTimeoutError(endpoint_url="https://sqs.fake"), after_effect=True, call=call)

    def heal(self) -> None:
        """Remove the faults that were configured and have not happened yet."""
        self._faults.clear()

    def hidden(self, url: str) -> int:
        """Return how many messages of the queue are in flight."""
        with self._changed:
            return sum(message.visible_at > self.clock() for message in self.queues[url].messages.values())

    def bodies(self, url: str) -> list[str]:
        """Return the bodies in the queue, visible or not, oldest first."""
        with self._changed:
            return [message.body for message in self.queues[url].messages.values()]

    # -- interface of the boto3 client, called by the adapter

    def send_message(self, *, QueueUrl: str, MessageBody: str, **options: Any) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            refusal = _refusal(MessageBody, options.get("MessageAttributes", {}))
            if refusal:
                raise client_error(refusal)
            return {"MessageId": self._put(QueueUrl, MessageBody, options)}

        return self._call("send_message", QueueUrl, work)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            if not Entries:
                raise client_error(PREFIX + "EmptyBatchRequest")
            if len(Entries) > 10:
                raise client_error(PREFIX + "TooManyEntriesInBatchRequest")
            if sum(len(entry["MessageBody"].encode("utf-8", "replace")) for entry in Entries) > LARGEST_BYTES:
                raise client_error(PREFIX + "BatchRequestTooLong")
            answer: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
            for entry in Entries:
                self._put_entry(QueueUrl, entry, answer)
            return answer

        return self._call("send_message_batch", QueueUrl, work)

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: float = 0,
        VisibilityTimeout: int | None = None,
        **names: Any,
    ) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            queue = self._queue(QueueUrl)
            hidden = queue.visibility_timeout if VisibilityTimeout is None else VisibilityTimeout
            limit = min(MaxNumberOfMessages, self.largest_read)
            if self.empty_reads:
                self.empty_reads -= 1
                return {}
            deadline = time.monotonic() + WaitTimeSeconds
            while not (taken := self._take(QueueUrl, queue, limit, hidden)):
                left = deadline - time.monotonic()
                if left <= 0:
                    return {}
                self._changed.wait(min(left, 0.05))
            return {"Messages": taken}

        return self._call("receive_message", QueueUrl, work)

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            message = self._held(QueueUrl, ReceiptHandle)
            if message:  # An old handle "succeeds" without effect, as on SQS.
                del self._queue(QueueUrl).messages[message.id]
            return {}

        return self._call("delete_message", QueueUrl, work)

    def change_message_visibility(
        self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            message = self._held(QueueUrl, ReceiptHandle)
            if message is None or message.visible_at <= self.clock():
                raise client_error(PREFIX + "MessageNotInflight")
            message.visible_at = self.clock() + VisibilityTimeout
            self._changed.notify_all()
            return {}

        return self._call("change_message_visibility", QueueUrl, work)

    def delete_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        def delete(entry: dict[str, Any], message: Message | None) -> None:
            if message:
                del self._queue(QueueUrl).messages[message.id]

        return self._call("delete_message_batch", QueueUrl, lambda: self._each(QueueUrl, Entries, delete))

    def change_message_visibility_batch(
        self, *, QueueUrl: str, Entries: list[dict[str, Any]]
    ) -> dict[str, Any]:
        def change(entry: dict[str, Any], message: Message | None) -> None:
            if message is None or message.visible_at <= self.clock():
                raise client_error(PREFIX + "MessageNotInflight")
            message.visible_at = self.clock() + entry["VisibilityTimeout"]
            self._changed.notify_all()

        name = "change_message_visibility_batch"
        return self._call(name, QueueUrl, lambda: self._each(QueueUrl, Entries, change))

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Iterable[str]) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            queue, now = self._queue(QueueUrl), self.clock()
            self._expire(queue)
            hidden = [message for message in queue.messages.values() if message.visible_at > now]
            delayed = sum(message.receive_count == 0 for message in hidden)
            attributes = {
                "ApproximateNumberOfMessages": str(self.miscount(len(queue.messages) - len(hidden))),
                "ApproximateNumberOfMessagesNotVisible": str(self.miscount(len(hidden) - delayed)),
                "ApproximateNumberOfMessagesDelayed": str(self.miscount(delayed)),
                "VisibilityTimeout": str(queue.visibility_timeout),
                "MessageRetentionPeriod": str(queue.retention_seconds),
            }
            if queue.dlq_url:
                policy = {
                    "deadLetterTargetArn": arn_of(queue.dlq_url),
                    "maxReceiveCount": queue.max_receive_count,
                }
                attributes["RedrivePolicy"] = json.dumps(policy)
            return {"Attributes": attributes}

        return self._call("get_queue_attributes", QueueUrl, work)

    # -- implementation

    def _call(self, name: str, url: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if self.latency:
            time.sleep(self.latency)
        with self._changed:
            self.calls.append(name)
            error, after_effect = self._next_fault(name)
            if error and not after_effect:
                raise error
            self._queue(url)
            answer = work()
            if error:
                raise error
            return answer

    def _next_fault(self, name: str) -> tuple[Exception | None, bool]:
        for fault in self._faults:
            error, after_effect, call = fault
            if name.startswith(call):
                self._faults.remove(fault)
                return error, after_effect
        return None, False

    def _each(
        self, url: str, entries: list[dict[str, Any]], work: Callable[[dict[str, Any], Message | None], None]
    ) -> dict[str, Any]:
        """Return HTTP 200 even if single entries fail."""
        answer: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
        for entry in entries:
            message = self._held(url, entry["ReceiptHandle"])
            code = self.handle_fault(message.body) if message else None
            try:
                if code:
                    raise client_error(code)
                work(entry, message)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                answer["Failed"].append({"Id": entry["Id"], "SenderFault": True, "Code": code})
            else:
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def _expire(self, queue: Queue) -> None:
        oldest = (self.wall() - queue.retention_seconds) * 1000
        for message in list(queue.messages.values()):
            if message.sent_at_ms <= oldest:
                del queue.messages[message.id]

    def _queue(self, url: str) -> Queue:
        try:
            return self.queues[url]
        except KeyError:
            raise client_error(PREFIX + "NonExistentQueue") from None

    def _put_entry(self, url: str, entry: dict[str, Any], answer: dict[str, list[dict[str, Any]]]) -> None:
        body, number = entry["MessageBody"], entry["Id"]
        refusal = _refusal(body)
        fault = f"sender:{refusal}" if refusal else self.entry_fault(body)
        if fault in {None, "unmentioned"}:
            sent = self._put(url, body, entry)
            if fault is None:
                answer["Successful"].append({"Id": number, "MessageId": sent})
        elif fault != "missing":
            blame, _, code = str(fault).partition(":")
            answer["Failed"].append(
                {"Id": number, "SenderFault": blame == "sender", "Code": code, "Message": code}
            )

    def _put(self, url: str, body: str, options: dict[str, Any]) -> str:
        queue, now = self._queue(url), self.clock()
        dedup = options.get("MessageDeduplicationId")
        if url.endswith(".fifo"):
            if not dedup or "MessageGroupId" not in options:
                raise client_error("MissingParameter")
            if not all(TOKEN.fullmatch(each) for each in (dedup, options["MessageGroupId"])):
                raise client_error("InvalidParameterValue")
            if dedup in queue.deduplicated and queue.deduplicated[dedup][0] > now:
                return queue.deduplicated[dedup][1]
        message = Message(
            body=body,
            attributes=options.get("MessageAttributes", {}),
            visible_at=now + options.get("DelaySeconds", 0),
            sent_at_ms=int(self.wall() * 1000),
            group_id=options.get("MessageGroupId"),
            dedup_id=dedup,
            trace_header=_trace_header(options),
        )
        queue.messages[message.id] = message
        if dedup:
            queue.deduplicated[dedup] = (now + DEDUPLICATION_SECONDS, message.id)
        self._changed.notify_all()
        return message.id

    def _take(self, url: str, queue: Queue, limit: int, hidden_seconds: int) -> list[dict[str, Any]]:
        self._expire(queue)
        taken: list[dict[str, Any]] = []
        now, locked = self.clock(), set[str | None]()
        messages = list(queue.messages.values())
        for message in messages if url.endswith(".fifo") else self.sample(messages):
            if len(taken) >= limit:
                break
            if message.group_id in locked:
                continue
            if message.visible_at > now and url.endswith(".fifo"):
                locked.add(message.group_id)
            if message.visible_at > now or self._moved_to_dlq(url, queue, message):
                continue
            message.receive_count += 1
            message.handle = f"{message.id}#{message.receive_count}"
            message.visible_at = now if self.duplicates else now + hidden_seconds
            self.duplicates = max(0, self.duplicates - 1)
            taken.append(_shown(message))
        return taken

    def _moved_to_dlq(self, url: str, queue: Queue, message: Message) -> bool:
        if queue.dlq_url is None or message.receive_count < queue.max_receive_count:
            return False
        del queue.messages[message.id]
        message.source_arn = arn_of(url)
        if url.endswith(".fifo"):
            message.dedup_id, message.sent_at_ms = message.id, int(self.wall() * 1000)
        self._queue(queue.dlq_url).messages[message.id] = message
        return True

    def _held(self, url: str, handle: str) -> Message | None:
        message = self._queue(url).messages.get(handle.partition("#")[0])
        return message if message and message.handle == handle else None


def _shown(message: Message) -> dict[str, Any]:
    system = {
        "ApproximateReceiveCount": str(message.receive_count),
        "SentTimestamp": str(message.sent_at_ms),
    }
    more = {
        "MessageGroupId": message.group_id,
        "MessageDeduplicationId": message.dedup_id,
        "DeadLetterQueueSourceArn": message.source_arn,
        "AWSTraceHeader": message.trace_header,
    }
    system |= {name: value for name, value in more.items() if value}
    shown: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "Body": message.body,
        "Attributes": system,
    }
    if message.attributes:
        shown["MessageAttributes"] = message.attributes
    return shown


def _trace_header(options: dict[str, Any]) -> str | None:
    header: str | None = (
        options.get("MessageSystemAttributes", {}).get("AWSTraceHeader", {}).get("StringValue")
    )
    return header


def arn_of(url: str) -> str:
    """Return the ARN of a fake queue, built from the last two parts of its URL."""
    account, name = url.split("/")[-2:]
    return f"arn:aws:sqs:us-east-1:{account}:{name}"


def _refusal(body: str, attributes: Mapping[str, Any] | None = None) -> str | None:
    if not body or FOREIGN_TO_XML.search(body):
        return "InvalidMessageContents"
    size = len(body.encode())
    for name, value in (attributes or {}).items():
        content = value.get("BinaryValue") or value["StringValue"].encode()
        size += len(name) + len(value["DataType"]) + len(content)
    return "InvalidParameterValue" if size > LARGEST_BYTES else None


def client_error(code: str, status: int = 400, message: str = "") -> ClientError:
    """Return SQS's error with this code and HTTP status, as botocore raises it."""
    answer: Any = {
        "Error": {"Code": code, "Message": message or code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "FakeSqs")


def unreachable() -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url="https://sqs.fake")


def throttled() -> ClientError:
    return client_error("RequestThrottled", 403, "Request is throttled.")
