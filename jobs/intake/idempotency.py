"""Idempotency: a repeated request with the same key gets the first answer again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from jobs.models import IdempotencyKey
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.row_locks import limit_waits

# What the OpenAPI document says of it.
KEPT_FOR = "24 hours, unless OPSCONSOLE_KEEP_ANSWERS_DAYS says otherwise"


class KeyReused(OpsConsoleError):
    """The key was used for something else, and the answer to that is still kept."""


@dataclass(frozen=True)
class StoredAnswer:
    """An answer. ``replayed``: nothing was done now; this is the first answer."""

    fields: Mapping[str, Any]
    replayed: bool


def once(
    caller: str, key: str, asked: Mapping[str, Any], do: Callable[[], Mapping[str, Any]]
) -> StoredAnswer:
    """Run ``do`` and store its answer, both or neither; a second call with the same key returns the stored answer.

    Of two simultaneous calls, the unique key makes the later one wait until the earlier has ended.
    What fails keeps nothing. ``asked`` and the answer are JSON. Raises ``KeyReused``, and what ``do`` raises.
    """
    request = _digest(asked)
    with transaction.atomic():
        # The earlier of two calls may come from a host that has vanished.
        limit_waits()
        IdempotencyKey.objects.expired().filter(caller=caller, key=key).delete()
        mine = IdempotencyKey(caller=caller, key=key, request=request)
        IdempotencyKey.objects.bulk_create([mine], ignore_conflicts=True)
        kept = IdempotencyKey.objects.get(caller=caller, key=key)
        if kept.answer is None:
            fields = do()
            IdempotencyKey.objects.filter(pk=kept.pk).update(answer=fields)
            return StoredAnswer(fields, replayed=False)
    if kept.request != request:
        raise KeyReused(
            "This Idempotency-Key was already used for another request. Use a new key for each request."
        )
    return StoredAnswer(kept.answer, replayed=True)


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
