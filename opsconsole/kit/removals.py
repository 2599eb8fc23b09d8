"""The record of retention: each run that removed rows is told once, in the log, in the audit and on the page Data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from opsconsole.kit import activity, audit
from opsconsole.kit.counting import exactly
from opsconsole.kit.retention_models import Removal, TableSize

SCHEDULE = "schedule"
# What the page shows at most; the audit keeps what it says for longer.
RECORDS_KEPT = timedelta(days=400)


def kept(subject: str) -> timedelta:
    """Return for how long rows are kept by the setting of this name, such as ``SWEEPS``."""
    return timedelta(days=getattr(settings, f"OPSCONSOLE_KEEP_{subject}_DAYS"))


def tell(removed: Mapping[str, int], by: str = SCHEDULE) -> None:
    """Record how many rows of each kind a run removed. A run that removed nothing is not told."""
    counts = {subject: rows for subject, rows in removed.items() if rows}
    if not counts:
        return
    with transaction.atomic():
        note(counts, by)
        listed = ", ".join(f"{name} {rows:,}" for name, rows in counts.items())
        total = exactly(sum(counts.values()), "row")
        audit.log_without_user(
            f"retention ({by})", f"Removed {total} whose retention had ended: {listed}.", why=audit.NOT_ASKED
        )
        activity.done(
            "rows removed", by=by, **{name.replace(" ", "_"): rows for name, rows in counts.items()}
        )


def note(counts: Mapping[str, int], by: str) -> None:
    """Keep the numbers for the page. What was removed is told elsewhere."""
    Removal.objects.bulk_create(Removal(subject=name, rows=rows, by=by) for name, rows in counts.items())


def prune() -> None:
    """Delete old records of what was removed, and old sizes of tables."""
    Removal.objects.filter(at__lt=Now() - RECORDS_KEPT).delete()
    TableSize.objects.filter(day__lt=Now() - RECORDS_KEPT).delete()
