"""Titles of failure groups, read again a few at a time when the redaction has changed."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from jobs.dead_letters import reading
from jobs.dead_letters.fingerprint import Fingerprint
from jobs.models import DeadLetter, FailureGroup
from opsconsole.kit import redaction_version
from opsconsole.kit.row_locks import locked_if_free

BATCH = 50


def catch_up(limit: int = BATCH) -> int:
    """Read the titles of some groups again, each from its newest letter; return how many.

    The group takes the fingerprint of that letter, so that later letters with the same failure join it. Where another
    group has it, which differed by what is hidden now, both stay, with the same title.
    """
    behind = FailureGroup.objects.behind().order_by("-last_seen_at", "-pk")
    return sum(_read_again(group) for group in behind.values_list("pk", flat=True)[:limit])


def _read_again(group: int) -> int:
    letters = DeadLetter.objects.filter(group=group).order_by("-first_seen_at", "-pk")
    newest = letters.only("body", "attributes", "system_attributes").first()
    # The error of a job is not what these groups are made of.
    now = reading.fingerprint_of(reading.of_letter(newest), error="") if newest else None
    try:
        with transaction.atomic():
            # One that others keep locked stays behind until the next time.
            free = locked_if_free(FailureGroup.objects.filter(pk=group))
            return FailureGroup.objects.filter(pk__in=list(free.values_list("pk", flat=True))).update(
                title_of=redaction_version.current(), **_changes(group, now)
            )
    except IntegrityError:
        # Another process has just made a group with this fingerprint.
        return 0


def _changes(group: int, now: Fingerprint | None) -> dict[str, str]:
    if now is None:
        return {"title": "No dead letter is left that says it"}
    changes = {"kind": str(now.kind), "title": now.title}
    is_taken = FailureGroup.objects.filter(fingerprint=now.key).exclude(pk=group).exists()
    return changes if is_taken else changes | {"fingerprint": now.key}
