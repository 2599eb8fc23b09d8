"""boto3 alone on the stub: the same calls, side by side and without a database. Nothing that uses boto3 can be faster."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opsconsole_worker import sqs

THREADS = 8
ENTRIES = sqs.BATCH_ENTRIES


def receive_and_return(url: str, count: int) -> None:
    """Hold this many messages at once, then make them visible again."""
    client = sqs.client_for(url)
    with ThreadPoolExecutor(THREADS) as pool:
        pages = list(pool.map(lambda _: _receive(url), range(count // ENTRIES)))
        entries: list[Any] = [[{**each, "VisibilityTimeout": 0} for each in _handles(page)] for page in pages]
        list(
            pool.map(lambda some: client.change_message_visibility_batch(QueueUrl=url, Entries=some), entries)
        )


def receive_send_and_delete(url: str, destination: str, count: int) -> None:
    """Move this many messages, ten at a time per thread."""

    def move(_: int) -> None:
        page = _receive(url)
        send([each["Body"] for each in page], destination)
        sqs.client_for(url).delete_message_batch(QueueUrl=url, Entries=_handles(page))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(move, range(count // ENTRIES)))


def send_all(bodies: Sequence[str], url: str) -> None:
    """Send these messages, ten per call."""
    starts = range(0, len(bodies), ENTRIES)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda start: send(bodies[start : start + ENTRIES], url), starts))


def send(bodies: Sequence[str], url: str) -> None:
    entries: Any = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    sqs.client_for(url).send_message_batch(QueueUrl=url, Entries=entries)


def _receive(url: str) -> list[Any]:
    answer: Any = sqs.client_for(url).receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=ENTRIES,
        WaitTimeSeconds=1,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["All"],
    )
    return list(answer["Messages"])


def _handles(page: Sequence[Any]) -> list[Any]:
    return [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(page)]
