"""System checks of the jobs app."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks

from jobs.inspection import blockers, inspect_database
from opsconsole.kit.durations import spell
from opsconsole_worker import sqs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsconsole_worker.environment import QueueConfig

THREADS = 8
Reading = sqs.QueueDepth | sqs.QueueError


@checks.register(checks.Tags.database)
def attachable(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse a database that the console does not fit, before ``migrate`` changes anything."""
    if not databases or "default" not in databases:
        return []
    return [
        checks.Error(finding.sentence, hint=finding.action, id=f"jobs.{finding.id}")
        for finding in blockers(inspect_database())
    ]


@checks.register("queues", deploy=True)
def retention(**_: Any) -> list[checks.CheckMessage]:
    """Warn when dead letters are not kept longer than their queue keeps messages. Only ``check --deploy`` asks SQS.

    When SQS is away the check does not fail; it reports that the retention is unknown.
    """
    queues: list[QueueConfig] = [queue for queue in settings.QUEUES.values() if queue.dlq_url]
    urls = sorted({str(url) for queue in queues for url in (queue.url, queue.dlq_url)})
    with ThreadPoolExecutor(THREADS, thread_name_prefix="queue-check") as pool:
        read = dict(zip(urls, pool.map(_read, urls), strict=True))
    judged = [judge_retention(queue, read[queue.url], read[str(queue.dlq_url)]) for queue in queues]
    return [message for message in judged if message]


def _read(url: str) -> Reading:
    """Read the retention of one queue. This runs in a thread of the pool and therefore uses SQS only."""
    try:
        return sqs.depth(url)
    except sqs.QueueError as error:
        return error


def judge_retention(queue: QueueConfig, source: Reading, dlq: Reading) -> checks.CheckMessage | None:
    """Return the warning about one queue, if there is one. Pure."""
    if isinstance(source, sqs.QueueError) or isinstance(dlq, sqs.QueueError):
        return checks.Info(
            f"How long the dead letters of queue '{queue.name}' are kept is unknown: "
            f"{source if isinstance(source, sqs.QueueError) else dlq}",
            hint="Run the check where SQS can be reached, with the console's own credentials.",
            id="jobs.I001",
        )
    # In a FIFO queue the retention starts again when a message becomes a dead letter.
    if sqs.is_fifo(queue.url) or dlq.retention_seconds > source.retention_seconds:
        return None
    return checks.Warning(
        f"The dead letter queue of '{queue.name}' keeps messages for {_time(dlq)}, its queue for {_time(source)}. SQS "
        "counts from when a message was first sent: one that waited long is deleted soon after it died, or at once.",
        hint="Set its MessageRetentionPeriod higher than the queue's, best to 14 days (1209600).",
        id="jobs.W001",
    )


def _time(depth: sqs.QueueDepth) -> str:
    return spell(timedelta(seconds=depth.retention_seconds))
