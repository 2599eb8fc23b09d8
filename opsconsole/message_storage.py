"""Messages for the next page in a cookie that no other host of the domain can set, or in the session where they are long."""

from __future__ import annotations

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class PrefixedCookieStorage(CookieStorage):
    """Django's storage, whose cookie has the prefix of all cookies of the console."""

    @property
    def cookie_name(self) -> str:  # type: ignore[override]  # read per request, because a setting names it
        return f"{settings.OPSCONSOLE_COOKIE_PREFIX}messages"


class MessageStorage(FallbackStorage):
    """Not the session alone: where the database refuses writes, the message about that must arrive all the same."""

    storage_classes = (PrefixedCookieStorage, SessionStorage)
