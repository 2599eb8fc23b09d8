"""The one door to alerts: say that something is wrong, or that it no longer is.

Both are idempotent and join the caller's transaction, so an alert commits with what caused it. An open alert
is shown in the console.
"""

from __future__ import annotations

from django.db.models.functions import Now

from alerts.models import Alert


def fire(
    fingerprint: str,
    *,
    title: str,
    severity: str,
    summary: str = "",
    value: float | None = None,
    threshold: float | None = None,
    link: str = "",
) -> None:
    """Open the alert, or refresh the one that is open; an acknowledged one stays acknowledged.

    ``severity`` is one of ``Alert.Severity``; another raises ``ValueError``. ``value`` and ``threshold`` are in
    the unit that the title names. ``link`` is a path within the console.
    """
    said = {
        "title": title,
        "severity": Alert.Severity(severity),
        "summary": summary,
        "value": value,
        "threshold": threshold,
        "link": link,
    }
    if Alert.objects.open().filter(fingerprint=fingerprint).update(last_seen_at=Now(), **said):
        return
    # Whoever opened it in between has just said the same: the constraint lets one through.
    Alert.objects.bulk_create([Alert(fingerprint=fingerprint, **said)], ignore_conflicts=True)


def resolve(fingerprint: str) -> bool:
    """Close the open alert. False: none was open."""
    changes = {"state": Alert.State.RESOLVED, "resolved_at": Now()}
    return bool(Alert.objects.open().filter(fingerprint=fingerprint).update(**changes))
