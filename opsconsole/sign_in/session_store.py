"""Sessions in the database. They end at a time after the log-in, by its clock, and no later save extends them.

The clock of this host could be fast when a session begins, and be set right later. The database's time comes with the row.

A session that can't be stored because the database refuses it is no fault of the request.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import Error, connection
from django.db.models.functions import Now

from opsconsole.kit.built_once import built_once
from opsconsole.kit.compiled_rows import CompiledRows
from opsconsole.kit.database_troubles import trouble_behind

# The time of the log-in in seconds, in the session.
STARTED = "started"


class SessionStore(db.SessionStore):
    """Django's store, which takes every refused write for a session that was ended elsewhere, and answers 400."""

    _now: datetime | None = None

    @property
    def now(self) -> int:
        """Return the database's time in seconds, as of when the session was read, or else asked now."""
        if self._now is None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT statement_timestamp()")
                self._now = cursor.fetchone()[0]
        return int(self._now.timestamp())

    def _get_session_from_db(self) -> Any:
        """Return the row if it has not ended, with the time, in one query."""
        row = _not_ended().of_keys([self.session_key]).get(self.session_key)
        if row is None:
            self._session_key = None
            return None
        self._now = row.db_now
        return row

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
        return max(0, min(age, started + settings.OPSCONSOLE_SESSION_SECONDS - self.now))

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        if self.get(STARTED) is None:
            return super().get_expiry_date(**kwargs)
        return datetime.fromtimestamp(self.now + self.get_expiry_age(**kwargs), UTC)


@built_once
def _not_ended() -> CompiledRows[Any]:
    """Return the sessions that have not ended, with the time. Every page and every poll reads one."""
    sessions = db.SessionStore.get_model_class().objects.filter(expire_date__gt=Now())
    return CompiledRows(sessions.annotate(db_now=Now()))
