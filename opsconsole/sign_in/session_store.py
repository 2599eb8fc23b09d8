"""Sessions in the database. They end at a time after the log-in, and no later save extends them.

A session that can't be stored because the database refuses it is no fault of the request.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import Error
from django.utils import timezone

from opsconsole.kit.database_troubles import trouble_behind

# The time of the log-in in seconds, in the session.
STARTED = "started"


class SessionStore(db.SessionStore):
    """Django's store, which takes every refused write for a session that was ended elsewhere, and answers 400."""

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        try:
            super().save(must_create)
        except UpdateError as error:
            reason = error.__context__
            if isinstance(reason, Error) and trouble_behind(reason):
                raise reason from reason.__cause__
            raise

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return how many seconds are left: Django's own count begins anew with every save."""
        age: int = super().get_expiry_age(**kwargs)
        started: int | None = self.get(STARTED)
        if started is None:
            return age
        left = started + settings.OPSCONSOLE_SESSION_SECONDS - int(timezone.now().timestamp())
        return max(0, min(age, left))

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        if self.get(STARTED) is None:
            return super().get_expiry_date(**kwargs)
        return timezone.now() + timedelta(seconds=self.get_expiry_age(**kwargs))
