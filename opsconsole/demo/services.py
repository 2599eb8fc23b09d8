"""The demo's services: PostgreSQL, Valkey and an SQS emulator with two queues."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from opsconsole import embedded
from opsconsole.demo import slack
from opsconsole.demo.environment import QUEUE_BY_HAND, DemoError

ACCOUNT = "123456789012"
QUEUE, LISTINGS = "demo-jobs", "demo-listings"
ANSWER_SECONDS = 30.0


def start(folder: Path, stack: ExitStack) -> dict[str, str]:
    """Start the services and return the variables that name them. They end with ``stack`` and with this process."""
    postgres = embedded.start_postgres(folder / "postgres", throwaway=True)
    stack.callback(postgres.stop)
    valkey = embedded.start_valkey(folder / "valkey")
    stack.callback(valkey.stop)
    emulator = embedded.start_sqs(folder / "sqs")
    stack.callback(emulator.stop)
    account = f"{emulator.url}/{ACCOUNT}"
    listings = {"url": f"{account}/{LISTINGS}", "dlq_url": f"{account}/{_dlq(LISTINGS)}"}
    return {
        "DATABASE_URL": postgres.url,
        "CACHE_URL": valkey.url,
        "AWS_ENDPOINT_URL": emulator.url,
        "SQS_QUEUE_URL": f"{account}/{QUEUE}",
        "SQS_DLQ_URL": f"{account}/{_dlq(QUEUE)}",
        "OPSCONSOLE_QUEUES": json.dumps({QUEUE_BY_HAND: listings}),
        # Served by opsconsole.demo.slack, one of the demo's programs.
        "SLACK_WEBHOOK_URL": f"http://127.0.0.1:{_free_port()}{slack.PATH}",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def make_queues(endpoint: str) -> None:
    """Create the queues, each of which moves a message to its dead letter queue after three failed receives."""
    for name in (QUEUE, LISTINGS):
        _ask(endpoint, "CreateQueue", {"QueueName": _dlq(name)})
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{_dlq(name)}"
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
        _ask(endpoint, "CreateQueue", {"QueueName": name, "Attributes": {"RedrivePolicy": policy}})


def _dlq(queue: str) -> str:
    return f"{queue}-dlq"


def _ask(endpoint: str, action: str, body: dict[str, Any]) -> None:
    headers = {
        "X-Amz-Target": f"AmazonSQS.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        # The emulator reads the region from this header and checks nothing.
        "Authorization": "AWS4-HMAC-SHA256 Credential=demo/20260101/us-east-1/sqs/aws4_request",
    }
    request = urllib.request.Request(endpoint, json.dumps(body).encode(), headers)  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):  # noqa: S310
        pass


def refuse_taken_port(port: int) -> None:
    """Raise ``DemoError`` when the port is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"Port {port} can't be used ({error.strerror}). Choose another: DEMO_PORT={port + 10} make demo"
            ) from error


def answers(address: str) -> bool:
    """Tell whether the console answers at this address."""
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def wait_for(condition: Callable[[], bool], stop: Callable[[], bool]) -> bool:
    """Repeat until the condition holds, stopping was requested or the time is over; return whether it holds."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while not stop() and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False
