"""Which dead letter queues there are, and which queue a letter came from."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings

from jobs.models import DeadLetterQueue


def configured() -> list[DeadLetterQueue]:
    """A row for each dead letter queue of the settings, in their order; made or corrected where needed."""
    takes: dict[str, list[str]] = {}
    for queue in settings.QUEUES.values():
        if queue.dlq_url:
            takes.setdefault(queue.dlq_url, []).append(queue.name)
    DeadLetterQueue.objects.bulk_create(
        [DeadLetterQueue(url=url, queues=names) for url, names in takes.items()], ignore_conflicts=True
    )
    rows = {row.url: row for row in DeadLetterQueue.objects.filter(url__in=takes)}
    for url, names in takes.items():
        if rows[url].queues != names:
            rows[url].queues = names
            rows[url].save(update_fields=["queues"])
    return [rows[url] for url in takes]


def origin_of(queues: Sequence[str], source_arn: str, queue_of_job: str | None) -> str:
    """The queue of these that a letter came from, '' when that is not known.

    Its ``DeadLetterQueueSourceArn`` says so; a copy that was sent to the dead letter queue has none.
    """
    if source_arn:
        return next((name for name in settings.QUEUES if _is_named(name, source_arn)), "")
    if queue_of_job in queues:
        return str(queue_of_job)
    return queues[0] if len(queues) == 1 else ""


def _is_named(queue: str, arn: str) -> bool:
    """Whether the ARN 'arn:aws:sqs:region:account:name' is that of the queue; an emulator's URL has no region."""
    region, *named = arn.split(":")[3:6] or ["", ""]
    url = urlsplit(settings.QUEUES[queue].url)
    on_aws = (url.hostname or "").startswith("sqs.")
    return url.path.split("/")[-2:] == named and (not on_aws or f".{region}." in f"{url.hostname}")
