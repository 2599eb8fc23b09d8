"""Sessions in the database. A session that can't be stored because the database refuses it is no fault of the request."""

from __future__ import annotations

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.db import Error

from opsconsole.kit.database_troubles import trouble_behind


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
