"""The API's answer when the database does not answer: whether the request changed anything, and whether to repeat it (I14)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from opsconsole.database_failures import kept_by
from opsconsole.kit import operator_api
from opsconsole.kit.kept_changes import Kept
from opsconsole.kit.problems import PREFIX, SAFE_METHODS, Problem

RETRY_AFTER_SECONDS = 5
KEYED = "create_job"
CLAIM = "claim_run"
NOTE = "note_progress"
UNKNOWN = (
    "The connection to the database broke while the change was being saved. Whether it was saved is unknown."
)

# What repeating a request with a key never does, and what to do first without one.
_OF_JOB = ("creates a second job", "Look for the job")
_OF_OPERATOR = ("changes anything twice", "Look at what is true now")


def problem(request: HttpRequest, error: Exception) -> Problem:
    """Return the problem document for a request that failed with this error of the database."""
    kept = kept_by(request, error)
    if request.method in SAFE_METHODS:
        return _away("The database does not answer. Try again.")
    if kept is Kept.NOTHING:
        return _away("The database does not answer. Nothing was changed. Try again.")
    if _is_route(request, CLAIM):
        # The same request again would be refused as claimed before, so clients must not repeat it by themselves.
        return Problem(
            503,
            f"{UNKNOWN} Repeat the request with asked_before set to true: it returns the run if this worker has claimed it.",
            outcome="unknown",
        )
    operator = request.path_info.startswith(f"{PREFIX}{operator_api.PREFIX}")
    if not operator and not _is_route(request, KEYED):
        then = (
            "the note may then stand twice on the timeline"
            if _is_route(request, NOTE)
            else "a report counts once"
        )
        return _away(f"{UNKNOWN} Repeat the request: {then}.", outcome="unknown")
    twice, look = _OF_OPERATOR if operator else _OF_JOB
    if request.headers.get("Idempotency-Key"):
        return _away(
            f"{UNKNOWN} Repeat the request with the same Idempotency-Key: that never {twice}.",
            outcome="unknown",
        )
    return Problem(
        503,
        f"{UNKNOWN} {look} before you repeat the request. A request with an Idempotency-Key can be repeated safely.",
        outcome="unknown",
    )


def _away(sentence: str, **members: Any) -> Problem:
    """Return a problem that invites to repeat the request. Without ``Retry-After``, clients don't repeat it by themselves."""
    return Problem(503, sentence, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}, **members)


def _is_route(request: HttpRequest, name: str) -> bool:
    return request.resolver_match is not None and request.resolver_match.url_name == name
