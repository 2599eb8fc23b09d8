"""What people read on a page: a number and its unit are kept on one line by a space that tests need not spell."""

from __future__ import annotations

from opsconsole.kit.durations import NO_BREAK


def spaced(text: str) -> str:
    """Return the text with a usual space between a number and its unit."""
    return text.replace(NO_BREAK, " ")
