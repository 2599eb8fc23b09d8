"""Sign-ins that were begun: what is needed when the browser comes back, in an encrypted cookie of its own per sign-in.

A row per beginning could be written by anybody who knows the address. A row is written only when a sign-in is completed, so
that its cookie, if somebody kept a copy, completes none again.

When a sign-in was begun counts by the database's clock: ``opsconsole.sign_in.oidc.ended`` compares it with log-outs.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.signing import BadSignature
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from opsconsole.kit import encrypted_fields
from opsconsole.kit.identity_models import CompletedSignIn

COOKIE = "opsconsole_oidc_"
LASTS = timedelta(minutes=10)
# In as many tabs one can sign in at once; with more, the browser's cookies would become too long for a request.
MOST = 3
AT = "at"


def keep(request: HttpRequest, response: HttpResponseBase, begun: dict[str, Any]) -> None:
    """Give the browser what it must bring back, and forget the other sign-ins that it has begun if there are too many."""
    others = [name for name in request.COOKIES if name.startswith(_prefix())]
    if len(others) >= MOST:
        for name in others:
            response.delete_cookie(name)
    response.set_cookie(
        _name(begun["state"]),
        encrypted_fields.encrypt(begun | {AT: _now().isoformat()}, __name__),
        max_age=LASTS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        # The browser comes back from another site.
        samesite="Lax",
    )


def find(request: HttpRequest, state: str) -> dict[str, Any] | None:
    """Return what was kept for this state, or None if this browser began no such sign-in, or too long ago."""
    try:
        text = request.COOKIES.get(_name(state), "")
        kept: dict[str, Any] = encrypted_fields.decrypt(text, __name__, max_age=LASTS)
    except (BadSignature, ValueError):
        return None
    return kept if kept["state"] == state else None


def at(kept: dict[str, Any]) -> datetime:
    """Return when this sign-in was begun; the earliest time possible for one that an older version of the console began."""
    return datetime.fromisoformat(kept[AT]) if AT in kept else _now() - LASTS


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def forget(response: HttpResponseBase, state: str) -> None:
    response.delete_cookie(_name(state))


def complete(state: str) -> bool:
    """Write down that this sign-in, or the log-out of this name, is completed; return False if it was already."""
    CompletedSignIn.objects.filter(at__lt=Now() - 2 * LASTS).delete()
    try:
        with transaction.atomic():
            CompletedSignIn.objects.create(state=hashed(state))
    except IntegrityError:
        return False
    return True


def _prefix() -> str:
    return f"{settings.OPSCONSOLE_COOKIE_PREFIX}{COOKIE}"


def _name(state: str) -> str:
    return f"{_prefix()}{hashed(state)[:12]}"


def hashed(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
