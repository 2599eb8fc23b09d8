"""The display of times, states and JSON on pages. All outside text is escaped here."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from opsconsole.kit import addresses
from opsconsole.kit.durations import spell, unbroken

LONGEST_UNBROKEN_BADGE = 12
NOTHING = format_html('<span class="nothing">{}</span>', "–")  # noqa: RUF001 - an en dash is meant


def age(at: datetime | None, now: datetime | None = None, *, suffix: str = "") -> SafeString:
    """Return an age in words, with the exact time on hover. ``now`` is by the clock that wrote ``at``."""
    if at is None:
        return NOTHING
    elapsed = (now or timezone.now()) - at
    # A second is the error of clocks that agree, and no time to come.
    past = elapsed > -timedelta(seconds=1)
    words = f"{rough(max(elapsed, timedelta(0)))}{suffix}" if past else f"in {rough(-elapsed)}"
    return moment(at, words)


def moment(at: datetime, words: str) -> SafeString:
    """Return a ``<time>`` element that shows ``words`` and carries the exact time in UTC."""
    exact = timezone.localtime(at, timezone.get_default_timezone())
    title = f"{exact:%Y-%m-%d %H:%M:%S %Z}"
    # A list has a hundred of them: ``format_html`` would escape digits, too, and take three times as long.
    shown = f'<time datetime="{at.isoformat()}" title="{title}">{html.escape(unbroken(words))}</time>'
    return mark_safe(shown)  # noqa: S308 - escaped above


def exact_with_age(at: datetime) -> SafeString:
    """Return a time in UTC with its age, for facts and histories, where people compare times with logs."""
    exact = timezone.localtime(at, timezone.get_default_timezone())
    since = age(at, suffix=" ago")
    return format_html("{} ({})", f"{exact:%Y-%m-%d %H:%M:%S %Z}", since)


def rough(time: timedelta) -> str:
    """Return a duration for table columns, mostly in a single unit."""
    seconds = int(time.total_seconds())
    if 120 <= seconds < 3_600:
        return f"{seconds // 60} min"
    if seconds < 120:
        return f"{max(0, seconds)} s"
    return spell(timedelta(hours=seconds // 3_600)) if seconds >= 36_000 else spell(time)


# A list shows few of them, many times. What is safe and what is not are kept apart.
@lru_cache(maxsize=1_000, typed=True)
def badge(text: str, tone: str = "quiet") -> SafeString:
    """Return a state as a small label. Tones: good, running, waiting, warning, bad, quiet.

    A narrow column breaks the lines of a long one only.
    """
    long = "badge-long " if len(str(text)) > LONGEST_UNBROKEN_BADGE else ""
    return format_html('<span class="badge {}badge-{}">{}</span>', long, tone, text)


def pretty(value: Any) -> SafeString:
    """Return a JSON value, indented and escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return format_html('<pre class="json" tabindex="0">{}</pre>', text)


def whole_link(view: str, key: object, column: str) -> SafeString:
    """Return a link that downloads all of a column of which the page shows the beginning."""
    address = reverse(f"admin:{view}", args=[addresses.row_key(key), column])
    return format_html(' <a class="whole" href="{}">Download all of it</a>', address)


def clock_time(at: datetime) -> str:
    """Return a time in UTC, with the date when it is not today."""
    exact = timezone.localtime(at, timezone.get_default_timezone())
    today = timezone.localtime(timezone=timezone.get_default_timezone()).date()
    return f"{exact:%H:%M:%S %Z}" if exact.date() == today else f"{exact:%Y-%m-%d %H:%M:%S %Z}"


def inline_markup(text: str) -> SafeString:
    """Show code, emphasis and links as in Markdown: a link is its text alone."""
    escaped = str(escape(text))
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
    escaped = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", escaped)
    return mark_safe(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escaped))  # noqa: S308 - escaped above
