"""SQS stubs that answer every call after 8 ms: boto3 does its own work, only the network is left out."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from uuid import uuid4

from opsconsole_worker import sqs

SECONDS_A_CALL = 0.008
RETENTION_SECONDS = 345_600


@dataclass
class Answer:
    """The parts of an HTTP response that boto3 reads."""

    content: bytes
    status_code: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/x-amz-json-1.0"})


class Stub(ABC):
    """Replaces the network of the clients of one queue's account, those without retries included."""

    def stand_in_for(self, queue_url: str) -> None:
        # The return value replaces the HTTP response; the type stubs declare no return value.
        answer: Any = self.answer
        for once in (False, True):
            sqs.client_for(queue_url, once=once).meta.events.register("before-send.sqs", answer)

    def answer(self, request: Any, **_: Any) -> Answer:
        """Return a success response, in the thread that asks."""
        time.sleep(SECONDS_A_CALL)
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        return Answer(json.dumps(self.result_of(operation, json.loads(request.body))).encode())

    @abstractmethod
    def result_of(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]: ...


@dataclass
class StubSqs(Stub):
    """A queue that accepts every message; ``job_ids`` holds the job ID of each."""

    queue_url: str
    calls: int = 0
    job_ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stand_in_for(self.queue_url)

    def forget(self) -> None:
        self.calls, self.job_ids = 0, []

    def result_of(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Accept what was sent. Appending to a list is thread-safe."""
        self.calls += 1
        entries = asked.get("Entries")
        for entry in entries or [asked]:
            self.job_ids.append(json.loads(entry["MessageBody"])["job_id"])
        return {"MessageId": str(uuid4())} if entries is None else _accepted(entries)


@dataclass
class _Queue:
    visible: deque[dict[str, Any]] = field(default_factory=deque)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)


class StubQueues(Stub):
    """Queues that hold messages. No call costs more when a queue holds more; a message that is held stays held."""

    def __init__(self, *urls: str) -> None:
        self.queues = {url: _Queue() for url in urls}
        self._changing = Lock()
        self.stand_in_for(urls[0])

    def put(self, url: str, bodies: Iterable[str]) -> None:
        sent = str(int(time.time() * 1000))
        self.queues[url].visible.extend(
            {
                "MessageId": str(uuid4()),
                "Body": body,
                "Attributes": {"SentTimestamp": sent, "ApproximateReceiveCount": "0"},
            }
            for body in bodies
        )

    def size(self, url: str) -> int:
        return len(self.queues[url].visible) + len(self.queues[url].held)

    def result_of(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        queue = self.queues[asked["QueueUrl"]]
        if operation == "GetQueueAttributes":
            return {"Attributes": _attributes_of(queue)}
        if operation == "ReceiveMessage":
            return {"Messages": self._receive(queue, asked)}
        if operation == "SendMessageBatch":
            with self._changing:
                self.put(asked["QueueUrl"], [entry["MessageBody"] for entry in asked["Entries"]])
            return _accepted(asked["Entries"])
        return self._let_go(queue, asked["Entries"], visible=operation == "ChangeMessageVisibilityBatch")

    def _receive(self, queue: _Queue, asked: dict[str, Any]) -> list[dict[str, Any]]:
        if not queue.visible:
            # A long poll.
            time.sleep(asked["WaitTimeSeconds"])
        with self._changing:
            count = min(len(queue.visible), asked["MaxNumberOfMessages"])
            messages = [queue.visible.popleft() for _ in range(count)]
            for message in messages:
                receives = int(message["Attributes"]["ApproximateReceiveCount"]) + 1
                message["Attributes"]["ApproximateReceiveCount"] = str(receives)
                message["ReceiptHandle"] = f"{message['MessageId']}#{receives}"
                queue.held[message["ReceiptHandle"]] = message
            return messages

    def _let_go(self, queue: _Queue, entries: list[dict[str, Any]], *, visible: bool) -> dict[str, Any]:
        """Delete these held messages, or make them visible again."""
        with self._changing:
            messages = [queue.held.pop(entry["ReceiptHandle"]) for entry in entries]
            if visible:
                queue.visible.extend(messages)
        return {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}


def _accepted(entries: list[dict[str, Any]]) -> dict[str, Any]:
    successful = [{"Id": entry["Id"], "MessageId": str(uuid4())} for entry in entries]
    return {"Successful": successful, "Failed": []}


def _attributes_of(queue: _Queue) -> dict[str, str]:
    return {
        "ApproximateNumberOfMessages": str(len(queue.visible)),
        "ApproximateNumberOfMessagesNotVisible": str(len(queue.held)),
        "ApproximateNumberOfMessagesDelayed": "0",
        "VisibilityTimeout": "30",
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
    }
