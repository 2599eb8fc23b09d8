"""A worker without the library, whose clock is wrong: it uses the SQL of docs/workers.md, and its beats carry its own time.

Argument: the error of its clock, such as ``-11 minutes``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from typing import Any

import boto3
import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg.rows import dict_row

from tests.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "workers.md").read_text(encoding="utf-8")
STATEMENTS = dict(re.findall(r"```sql\n-- ([a-z ]+)\n(.*?)```", PAGE, re.DOTALL))
STEPS, STEP_SECONDS = 4, 0.3
BEAT = """
INSERT INTO worker_heartbeats (worker_id, current_job_id, current_run_epoch, last_heartbeat, started_at, metadata)
VALUES (%(worker)s, %(job_id)s, %(epoch)s, clock_timestamp() + %(error)s::interval, now(),
        '{"protocol": 1}')
ON CONFLICT (worker_id) DO UPDATE
   SET current_job_id = excluded.current_job_id, current_run_epoch = excluded.current_run_epoch,
       last_heartbeat = excluded.last_heartbeat
"""


class SkewedWorker:
    def __init__(self, clock_error: str) -> None:
        self.error = clock_error
        self.id = f"skewed-{uuid.uuid4().hex[:12]}"
        self.queue = boto3.client("sqs", region_name="us-east-1")
        self.url = os.environ["SQS_QUEUE_URL"]
        self.connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row)

    def say(self, name: str, **values: Any) -> list[dict[str, Any]]:
        """Run one of the page's statements."""
        return self.execute(re.sub(r":([a-z_]+)", r"%(\1)s", STATEMENTS[name]), **values)

    def execute(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(statement, {"worker": self.id, "error": self.error} | values)
        return cursor.fetchall() if cursor.description else []

    def turn(self) -> None:
        """Receive one message, and do its run unless that is refused."""
        self.execute(BEAT, job_id=None, epoch=None)
        answer = self.queue.receive_message(QueueUrl=self.url, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            self.run(body["job_id"], body["run_epoch"], message["ReceiptHandle"])

    def run(self, job_id: str, epoch: int, handle: str) -> None:
        claimed = self.say("claim", job_id=job_id, epoch=epoch)
        if not claimed:
            [refused] = self.say("refused", job_id=job_id, epoch=epoch) or [{"settled": False}]
            if refused["settled"]:
                self.queue.delete_message(QueueUrl=self.url, ReceiptHandle=handle)
            return
        self.execute(BEAT, job_id=job_id, epoch=epoch)
        self.queue.delete_message(QueueUrl=self.url, ReceiptHandle=handle)
        for _ in range(STEPS):
            time.sleep(STEP_SECONDS)
            self.execute(BEAT, job_id=job_id, epoch=epoch)
        self.say("complete", job_id=job_id, epoch=epoch, details=json.dumps({}))
        self.execute(BEAT, job_id=None, epoch=None)


def main() -> None:
    """Work until the network fails: the service manager starts a new worker, whose id is new too."""
    try:
        worker = SkewedWorker(sys.argv[1])
        while True:
            worker.turn()
    except (psycopg.Error, BotoCoreError, ClientError) as error:
        print(f"The worker ends: {error}")
        time.sleep(1)
        sys.exit(1)


if __name__ == "__main__":
    main()
