"""What verifications found, kept for the page and for the overview. The last few are enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from opsconsole.kit.models import Verification
from opsconsole.verification.check import Verdict
from opsconsole.verification.running import Result

KEPT = 20
# A verification that did not end within this time was ended with its process.
GIVEN_UP_AFTER = timedelta(minutes=15)


def begin(by: str) -> Verification:
    """Note that a verification begins, and forget the oldest."""
    with transaction.atomic():
        row = Verification.objects.create(by=by)
        kept = Verification.objects.order_by("-pk").values_list("pk", flat=True)[:KEPT]
        Verification.objects.filter(pk__lt=min(kept)).delete()
    return row


def keep(row: Verification, results: Sequence[Result], *, ended: bool) -> None:
    """Store the answers so far; ``ended``: there are no more."""
    changes: dict[str, Any] = {"results": [result.as_json() for result in results]}
    if ended:
        changes["ended_at"] = Now()
    Verification.objects.filter(pk=row.pk).update(**changes)


def going_on() -> bool:
    """Tell whether somebody verifies right now."""
    return Verification.objects.filter(ended_at=None, began_at__gte=Now() - GIVEN_UP_AFTER).exists()


def last() -> Verification | None:
    """Return the newest verification."""
    return Verification.objects.order_by("-pk").first()


def verdicts(results: Iterable[Result]) -> str:
    """Count the answers, such as "13 ok, 1 wrong, 1 skipped"."""
    found = [result.verdict for result in results]
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in Verdict if verdict in found)
