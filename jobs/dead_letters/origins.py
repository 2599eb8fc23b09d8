"""Origins: the configured dead letter queues, and the queue that a letter came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import QuerySet

from jobs.models import DeadLetterQueue


def configured() -> list[DeadLetterQueue]:
    """Return a row per dead letter queue in the order of the settings, creating or correcting rows where needed."""
    takes = _queues_of_each()
    DeadLetterQueue.objects.bulk_create(
        [DeadLetterQueue(url=url, queues=names) for url, names in takes.items()], ignore_conflicts=True
    )
    rows = {row.url: row for row in DeadLetterQueue.objects.filter(url__in=takes)}
    for url, names in takes.items():
        if rows[url].queues != names:
            rows[url].queues = names
            rows[url].save(update_fields=["queues"])
    return [rows[url] for url in takes]


def _queues_of_each() -> dict[str, list[str]]:
    """Return the names of the queues by the URL of their dead letter queue, in the order of the settings."""
    takes: dict[str, list[str]] = {}
    for queue in settings.QUEUES.values():
        if queue.dlq_url:
            takes.setdefault(queue.dlq_url, []).append(queue.name)
    return takes


def unread(known_queues: Iterable[DeadLetterQueue]) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the names of each dead letter queue whose messages are not known now, and a sentence that says why.

    It was not read yet, or its last reading failed. ``known_queues``: the rows of ``known()``.
    """
    rows = {row.url: row for row in known_queues}
    for url, names in _queues_of_each().items():
        row, name = rows.get(url), "+".join(names)
        if row and row.error:
            yield (
                names,
                f"The dead letter queue of {name} could not be read last, so it may hold more: {row.error.rstrip('.')}.",
            )
        elif row is None or row.read_at is None:
            yield names, f"The dead letter queue of {name} was not read yet, so it may hold more."


def known() -> QuerySet[DeadLetterQueue]:
    """Return the rows of the configured dead letter queues, without creating any."""
    urls = [queue.dlq_url for queue in settings.QUEUES.values() if queue.dlq_url]
    return DeadLetterQueue.objects.filter(url__in=urls).order_by("pk")


def origin_of(queues: Sequence[str], source_arn: str, queue_of_job: str | None, addressee: str = "") -> str:
    """Return which of these queues a letter came from or was addressed to, or '' when that is not known.

    Its ``DeadLetterQueueSourceArn`` names it; a copy that was sent to the dead letter queue has none. A message that
    another service could not deliver goes to its addressee, or nowhere.
    """
    if arn := source_arn or addressee:
        return next((name for name in settings.QUEUES if _is_named(name, arn)), "")
    if queue_of_job in queues:
        return str(queue_of_job)
    return queues[0] if len(queues) == 1 else ""


def _is_named(queue: str, arn: str) -> bool:
    """Tell whether the ARN 'arn:aws:sqs:region:account:name' names the queue; an emulator's URL has no region."""
    if arn.split(":")[2:3] != ["sqs"]:
        return False
    region, *named = arn.split(":")[3:6]
    url = urlsplit(settings.QUEUES[queue].url)
    on_aws = (url.hostname or "").startswith("sqs.")
    return url.path.split("/")[-2:] == named and (not on_aws or f".{region}." in f"{url.hostname}")
