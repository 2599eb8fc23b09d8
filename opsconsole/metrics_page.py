"""``/metrics`` for Prometheus, for whoever has a token of OPSCONSOLE_METRICS_TOKENS."""

from __future__ import annotations

import logging
from pathlib import Path

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from jobs.watch import event_metrics
from opsconsole import metric_gauges
from opsconsole.kit import metric_files
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
BOOKMARK = "job_events.bookmark"
PLAIN = "text/plain; charset=utf-8"


@require_safe
@never_cache
def show(request: HttpRequest) -> HttpResponse:
    """Return the metrics of all processes of this host, and the gauges of the whole installation."""
    if not settings.OPSCONSOLE_METRICS_TOKENS:
        return HttpResponse("There is no such page.\n", status=404, content_type=PLAIN)
    if not _has_token(request):
        refused = HttpResponse(
            "A token is needed: OPSCONSOLE_METRICS_TOKENS.\n", status=401, content_type=PLAIN
        )
        refused.headers["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return refused
    counted = _counted()
    # The database is read without the lock: one that hangs must not keep every other scrape waiting.
    text = (counted or b"") + metric_gauges.exposition(counted=counted is not None)
    return HttpResponse(text, content_type=CONTENT_TYPE)


def _counted() -> bytes | None:
    """Return what the processes of this host counted; None if that can't be read, of which the gauges tell."""
    folder = metric_files.folder()
    if folder is None:
        return None
    try:
        with metric_files.locked(folder):
            _follow_events(folder / BOOKMARK)
            return metric_files.exposition(folder)
    except (metric_files.Busy, *metric_files.FAILURES) as error:
        logger.warning("The files of /metrics can't be read: %s", str(error) or "other scrapes take too long")
        return None


def _has_token(request: HttpRequest) -> bool:
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    bearer = sent.strip() if scheme.lower() == "bearer" else ""
    # Each is compared, so that the time tells nothing.
    return any([constant_time_compare(bearer, token) for token in settings.OPSCONSOLE_METRICS_TOKENS])  # noqa: C419 - see above


def _follow_events(bookmark: Path) -> None:
    try:
        event_metrics.follow(bookmark)
    except Error as error:
        logger.warning("The timelines can't be read for /metrics: %s", first_line(error))
        connection.close_if_unusable_or_obsolete()
