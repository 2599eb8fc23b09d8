"""Answers while the database is away, read-only, full or not migrated: 503 with Retry-After, and a banner where pages open."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from django.core.cache.backends.locmem import LocMemCache
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults

from opsconsole.database_failures import is_of_staff, kept_by
from opsconsole.kit import problems, schema_version
from opsconsole.kit.database_troubles import Trouble, refuses_changes, summary_of, trouble_behind
from opsconsole.kit.kept_changes import Kept
from opsconsole.kit.problems import Problem

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
CACHE_SECONDS = 5

ADVICE = {
    Trouble.AWAY: "Try again.",
    Trouble.NO_TRANSACTIONS: "Nothing needs a restart then. Run python manage.py inspect_database, which says whether it worked.",
    Trouble.READ_ONLY: "Pages that only show something still open. Sweeps and workers wait, and go on by themselves when it "
    "accepts changes again.",
    Trouble.DISK_FULL: "Make room on the disk of the database server.",
    Trouble.LOCKED: "Try again.",
    Trouble.DEADLOCK: "Try again.",
    Trouble.CONFLICT: "Try again.",
    Trouble.TOO_SLOW: "Try again when the database is less busy.",
    Trouble.NOT_MIGRATED: "Pages open by themselves when python manage.py migrate has finished. Sweeps and workers wait for it "
    "too.",
    Trouble.TABLES_CHANGED: "Change it back, or do what python manage.py inspect_database says. Where a column has a new name, "
    "OPSCONSOLE_MAPPING says so (docs/attaching.md).",
    Trouble.ROW_MISSING: "Run python manage.py migrate, which writes it again: recovery then only observes until it is armed, and all "
    "rate limits are enforced.",
    Trouble.NOT_GRANTED: "python manage.py migrate grants what is missing, at its end.",
}

PASSING = {Trouble.AWAY, Trouble.LOCKED, Trouble.DEADLOCK, Trouble.CONFLICT, Trouble.TOO_SLOW}

memory = LocMemCache("database-state", {})


def answer(request: HttpRequest, trouble: Trouble, error: BaseException | None = None) -> HttpResponse:
    """Return the answer to a request that this state of the database prevents."""
    reading = request.method in problems.SAFE_METHODS
    kept = Kept.NOTHING if reading else kept_by(request, error)
    repeatable = kept is Kept.NOTHING
    what_is_kept = [] if reading else [kept.sentence]
    # Nobody should be told to look first and to try again.
    advice = [ADVICE[trouble]] if repeatable or trouble not in PASSING else []
    about = summary_of(trouble) if trouble is Trouble.TABLES_CHANGED or is_of_staff(request) else ""
    sentences = [trouble.value, *filter(None, [about]), *what_is_kept, *advice]
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if repeatable else {}
    if request.path_info.startswith(problems.PREFIX):
        return Problem(503, " ".join(sentences), headers=headers, reason=trouble.name.lower()).response()
    context = {"sentences": sentences, "seconds": RETRY_AFTER_SECONDS if repeatable else None}
    page = render_to_string("unavailable.html", context, request)
    return HttpResponse(page, status=503, headers=headers)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request that raised an error, which Django is handling: 503 for a state of the database, else 500."""
    error = sys.exc_info()[1]
    trouble = trouble_behind(error)
    return answer(request, trouble, error) if trouble else defaults.server_error(request)


class NotMigratedMiddleware:
    """Answers every request with 503 until the database has all migrations of this code. Then it costs nothing.

    Without it, a page would fail at the first table or column that is missing, or show what is half there.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._logged = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            behind = schema_version.is_behind()
        except Error:
            # Whether it is behind is unknown. The request itself will say what is wrong.
            behind = False
        if not behind:
            return self.get_response(request)
        if not self._logged:
            logger.warning("%s Requests are answered with 503.", Trouble.NOT_MIGRATED.value)
        self._logged = True
        return answer(request, Trouble.NOT_MIGRATED)


def is_read_only() -> bool:
    """Tell whether the database refuses changes now, as a standby or by its settings; at most ``CACHE_SECONDS`` old."""
    seen: bool | None = memory.get("read-only")
    if seen is None:
        seen = refuses_changes()
        memory.set("read-only", seen, CACHE_SECONDS)
    return seen
