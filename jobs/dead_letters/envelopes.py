"""The job that a message names inside an envelope of SNS or EventBridge, or where OPSCONSOLE_JOB_ID_PATHS says. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from jsonpath_ng.ext.parser import parse

from opsconsole.kit import job_ids
from opsconsole.kit.storable import LARGEST_INTEGER, is_too_deep

NAMES = ("job_id", "jobId")
# What an envelope holds its content in: EventBridge, SNS, and the destinations of Lambda. A record that Lambda got from SQS
# has a body, and one from SNS a notification.
CONTENTS = ("detail", "Message", "requestPayload")
CONTENTS_OF_RECORD = ("body", "Sns")
# An event of EventBridge may arrive in a notification of SNS, and neither is nested any deeper.
MOST_ENVELOPES = 3


@dataclass(frozen=True)
class NamedRun:
    """The job that an enveloped message is for, and its run where the message says it."""

    job_id: UUID
    run_epoch: int | None


def run_in(document: Any, paths: Sequence[str] = ()) -> NamedRun | None:
    """Return the job that the document names; the configured JSON paths are tried before the usual places.

    The paths are tried on the document and on the content of each of its envelopes.
    """
    contents = list(_contents(document, MOST_ENVELOPES))
    for path in _paths(*paths):
        for content in contents:
            for match in path.find(content):
                if job_id := job_ids.parse(match.value):
                    return NamedRun(job_id, _epoch(content))
    for content in contents:
        for name in NAMES:
            if isinstance(content, dict) and (job_id := job_ids.parse(content.get(name))):
                return NamedRun(job_id, _epoch(content))
    return None


def _contents(document: Any, most: int) -> Iterator[Any]:
    """Yield the document and then the content of each envelope in it, which may be JSON in a text."""
    if isinstance(document, str):
        document = _parsed(document)
    if not isinstance(document, dict | list):
        return
    yield document
    if most and isinstance(document, dict):
        for name in CONTENTS:
            yield from _contents(document.get(name), most - 1)
        for content in _contents_of_record(document.get("Records")):
            yield from _contents(content, most - 1)


def _contents_of_record(records: Any) -> Iterator[Any]:
    """Yield the content of the single record of an event of Lambda. Of several, none is the job of the message."""
    if isinstance(records, list) and len(records) == 1 and isinstance(records[0], dict):
        for name in CONTENTS_OF_RECORD:
            yield records[0].get(name)


def _parsed(text: str) -> Any:
    # Configured paths may search every level.
    if is_too_deep(text):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _epoch(content: Any) -> int | None:
    epoch = content.get("run_epoch") if isinstance(content, dict) else None
    is_epoch = isinstance(epoch, int) and not isinstance(epoch, bool) and 1 <= epoch <= LARGEST_INTEGER
    return epoch if is_epoch else None


@cache
def _paths(*texts: str) -> tuple[Any, ...]:
    return tuple(parse(text) for text in texts)
