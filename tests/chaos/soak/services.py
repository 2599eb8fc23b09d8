"""What both hosts share: PostgreSQL, SQS and Slack."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import boto3
import psycopg
from psycopg.rows import namedtuple_row

from opsconsole import embedded
from tests.fakes.slack import FakeSlack, serve
from tests.repository import REPOSITORY

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
CLOCK_ERRORS = {"ash": "2 days", "birch": "-11 minutes"}


class Services:
    """The services, and the settings of the console on both hosts. Times are short, so that much happens in minutes."""

    stale_seconds = 10
    sweep_seconds = 5

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.restarts: list[tuple[float, float]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.postgres = embedded.start_postgres(self.folder / "postgres", throwaway=True)
        self._stack.callback(self._stop_postgres)
        self.sqs = embedded.start_sqs(self.folder / "sqs")
        self._stack.callback(self.sqs.stop)
        self.slack: FakeSlack = self._stack.enter_context(serve())
        for name in ("jobs", "jobs-dlq"):
            self.client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "10"})
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _stop_postgres(self) -> None:
        # The server of the moment: it is another one after each restart.
        self.postgres.stop()

    @property
    def client(self) -> Any:
        return boto3.client(
            "sqs",
            endpoint_url=self.sqs.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    @property
    def environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SLACK_WEBHOOK_URL": self.slack.url,
            "PYTHONPATH": str(REPOSITORY),
            "OPSCONSOLE_ENV": "development",
            "OPSCONSOLE_VAR_DIR": str(self.folder / "var"),
            "OPSCONSOLE_STALE_AFTER_SECONDS": str(self.stale_seconds),
            "OPSCONSOLE_BEAT_INTERVAL_SECONDS": "2",
            "OPSCONSOLE_MAX_RECOVERIES": "100",
            "OPSCONSOLE_MASS_STALE_RUNS": "1000",
            "OPSCONSOLE_LOST_AFTER_SECONDS": "30",
            "OPSCONSOLE_LOST_RESEND": "on",
            "OPSCONSOLE_RETRY_BACKOFF_SECONDS": "1",
            "OPSCONSOLE_CLUSTER_STALL_SECONDS": "20",
            "OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS": "60",
        }

    def manage(self, *words: str) -> None:
        """Run a command past all proxies; a failure ends the soak with its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=REPOSITORY,
            env=self.environment
            | {
                "DATABASE_URL": self.postgres.url,
                "AWS_ENDPOINT_URL": self.sqs.url,
                "SQS_QUEUE_URL": f"{self.sqs.url}/123456789012/jobs",
                "SQS_DLQ_URL": f"{self.sqs.url}/123456789012/jobs-dlq",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def clock_error(self, host: str) -> str:
        return CLOCK_ERRORS[host]

    def connect_to_postgres(self) -> socket.socket:
        [folder] = parse_qs(urlsplit(self.postgres.url).query)["host"]
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(f"{folder}/.s.PGSQL.5432")
        except OSError:
            end.close()
            raise
        return end

    def connect_to_sqs(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", urlsplit(self.sqs.url).port or 0))

    def restart_postgres(self) -> None:
        began = time.time()
        self.postgres.stop()
        self.postgres = embedded.start_postgres(self.folder / "postgres", throwaway=True)
        self.restarts.append((began, time.time()))

    def rows(self, query: str, **values: object) -> list[Any]:
        """Query the database past all proxies."""
        with psycopg.connect(self.postgres.url, row_factory=namedtuple_row) as connection:
            return connection.execute(query, values or None).fetchall()

    def number(self, query: str, **values: object) -> int:
        [row] = self.rows(query, **values)
        return int(row[0])
