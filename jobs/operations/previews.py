"""For how long a preview may be carried out: what it showed grows old, whatever it is about."""

from __future__ import annotations

from datetime import timedelta

PREVIEW_LASTS = timedelta(hours=1)
