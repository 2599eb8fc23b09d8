"""The URLs of queues: their region, their endpoint and their page in the AWS console."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote, urlsplit

from opsconsole_worker import settings

AWS_HOST = re.compile(r"\b([a-z]{2,4}(?:-[a-z]+)+-\d+)\..*(?:amazonaws\.(?:com|com\.cn|eu)|api\.aws)$")


def is_fifo(queue_url: str) -> bool:
    """Tell whether the queue keeps the order within each message group; SQS demands this ending of its name."""
    return urlsplit(queue_url).path.endswith(".fifo")


def console_link(queue_url: str) -> str | None:
    """Return the page of this queue in the AWS console, or None when the queue is not on AWS."""
    host = urlsplit(queue_url).hostname or ""
    named = AWS_HOST.search(host)
    if named is None or settings.current().endpoint:
        return None
    domain = "console.amazonaws.cn" if host.endswith(".amazonaws.com.cn") else "console.aws.amazon.com"
    page = f"https://{named[1]}.{domain}/sqs/v3/home?region={named[1]}"
    return f"{page}#/queues/{quote(queue_url, safe='')}"


def region_and_endpoint(queue_url: str) -> tuple[str, str]:
    """Return region and endpoint from the URL, because queues may be in several regions; outside AWS, from the settings."""
    of_settings = settings.current()
    return _region_and_endpoint(queue_url, of_settings.region, of_settings.endpoint)


@cache
def _region_and_endpoint(queue_url: str, region: str, endpoint: str | None) -> tuple[str, str]:
    url = urlsplit(queue_url)
    named = AWS_HOST.search(url.hostname or "")
    return named[1] if named else region, endpoint or f"{url.scheme}://{url.netloc}"
