"""An SQS stub that accepts every message in 8 ms: boto3 does its own work, only the network is left out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from opsconsole_worker import sqs

SECONDS_A_CALL = 0.008


@dataclass
class Answer:
    """The parts of an HTTP response that boto3 reads."""

    content: bytes
    status_code: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/x-amz-json-1.0"})


@dataclass
class StubSqs:
    """Replaces the network of one queue's client; ``job_ids`` holds the job ID of each accepted message."""

    queue_url: str
    calls: int = 0
    job_ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The return value replaces the HTTP response; the type stubs declare no return value.
        answer: Any = self.answer
        sqs.client_for(self.queue_url).meta.events.register("before-send.sqs", answer)

    def forget(self) -> None:
        self.calls, self.job_ids = 0, []

    def answer(self, request: Any, **_: Any) -> Answer:
        """Return a success response. Sending threads call this; appending to a list is thread-safe."""
        time.sleep(SECONDS_A_CALL)
        asked = json.loads(request.body)
        self.calls += 1
        entries = asked.get("Entries")
        for entry in entries or [asked]:
            self.job_ids.append(json.loads(entry["MessageBody"])["job_id"])
        if entries is None:
            return Answer(json.dumps({"MessageId": str(uuid4())}).encode())
        successful = [{"Id": entry["Id"], "MessageId": str(uuid4())} for entry in entries]
        return Answer(json.dumps({"Successful": successful, "Failed": []}).encode())
