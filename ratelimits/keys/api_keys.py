"""API keys: made, shown once, recognised without keeping them, revoked.

A key is ``ock_``, 32 random characters, and 8 that only the console can compute from them: a key that somebody
made up is known as such without asking the database. Of each key the database has a hash under a pepper.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import string
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone

from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError
from ratelimits.models import ApiKey

logger = logging.getLogger("ratelimits.keys.api_keys")

PREFIX = "ock_"
ALPHABET = string.ascii_letters + string.digits
RANDOM_LENGTH, CHECK_LENGTH, HINT_LENGTH = 32, 8, 4
KEY_LENGTH = len(PREFIX) + RANDOM_LENGTH + CHECK_LENGTH
KEPT = "with the key"
# A revoked key is refused everywhere after this long, and at once in the process that revoked it.
KNOWN_SECONDS = 1.0
MOST_KNOWN = 10_000


class KeyRefused(OpsConsoleError):
    """A key can't be made or revoked as asked; the message says why."""


@dataclass
class _Memory:
    """The keys that this process saw lately, and when each was used; both are bounded."""

    known: dict[str, tuple[ApiKey, float]] = field(default_factory=dict)
    used: dict[UUID, datetime] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_memory = _Memory()


def create(
    *,
    key_id: UUID,
    name: str,
    scopes: Collection[str],
    policy: str,
    expires_at: datetime | None,
    by: str,
    reason: str,
) -> tuple[ApiKey, str]:
    """Make a key; the text returned beside it is the key itself, and this is the only time it exists.

    ``key_id`` makes it once: asked again with the same, or with the name of a valid key, it raises ``KeyRefused``.
    """
    reason = reasons.required(reason, KeyRefused, KEPT)
    pepper = _peppers()[0]
    random_part = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    text = PREFIX + random_part + _check(random_part, pepper)
    key = ApiKey(
        id=key_id,
        name=name,
        digest=_digest(text, pepper),
        hint=text[-HINT_LENGTH:],
        scopes=sorted(scopes),
        policy=policy,
        expires_at=expires_at,
        created_by=by,
        reason=reason,
    )
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:
        raise KeyRefused(_why_not(key_id, name)) from error
    return ApiKey.objects.get(pk=key_id), text


def _why_not(key_id: UUID, name: str) -> str:
    if ApiKey.objects.filter(pk=key_id).exists():
        return "This key was made already, and it was shown then. If it is lost, revoke it and make another."
    return f"There is a key named '{name}'. Revoke it first, or choose another name."


def revoke(key_id: UUID, *, by: str, reason: str) -> bool:
    """Refuse the key from now on. False: it was revoked before. Raises ``KeyRefused`` without a reason."""
    reason = reasons.required(reason, KeyRefused, KEPT)
    revoked = ApiKey.objects.filter(pk=key_id, revoked_at=None).update(
        revoked_at=Now(), revoked_by=by, revoke_reason=reason
    )
    forget()
    return bool(revoked)


def authenticate(request: HttpRequest) -> ApiKey | None:
    """The valid key that the request carries, or None. It is looked up once a request.

    With the database away, None: who needs to know the difference asks ``was_unanswered``.
    """
    if not hasattr(request, "_api_key"):
        request._api_key = _recognise(request)  # type: ignore[attr-defined]  # noqa: SLF001 - ours, on their object
    key: ApiKey | None = request._api_key  # type: ignore[attr-defined]  # noqa: SLF001
    return key


def was_unanswered(request: HttpRequest) -> bool:
    """Whether nobody could say if the request's key is valid, because the database was away."""
    return getattr(request, "_api_key_unanswered", False)


def _recognise(request: HttpRequest) -> ApiKey | None:
    text = presented(request)
    digests = list(_digests(text))
    if not digests:
        return None
    try:
        key = next(filter(None, map(_known, digests)), None) or _look_up(digests)
    except (OperationalError, InterfaceError) as error:
        logger.error("An API key could not be looked up: %s", error)  # noqa: TRY400 - the sentence says it all
        request._api_key_unanswered = True  # type: ignore[attr-defined]  # noqa: SLF001
        return None
    if key is not None:
        _memory.used[key.pk] = timezone.now()
    return key


def presented(request: HttpRequest) -> str:
    """What stands where a key should: ``Authorization: Bearer ...``, or else ``X-API-Key``."""
    # Not request.headers: making that takes as long as the rest of a refusal.
    scheme, _, rest = str(request.META.get("HTTP_AUTHORIZATION", "")).partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else str(request.META.get("HTTP_X_API_KEY", "")).strip()


def _digests(text: str) -> Iterator[str]:
    """The hash under each pepper that could have made this text; none for what the console never made."""
    if len(text) != KEY_LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return
    random_part, check = text[len(PREFIX) : -CHECK_LENGTH], text[-CHECK_LENGTH:]
    for pepper in _peppers():
        if hmac.compare_digest(_check(random_part, pepper), check):
            yield _digest(text, pepper)


def _known(digest: str) -> ApiKey | None:
    key, until = _memory.known.get(digest, (None, 0.0))
    return key if time.monotonic() < until else None


def _look_up(digests: list[str]) -> ApiKey | None:
    key = ApiKey.objects.valid().filter(digest__in=digests).first()
    if key is not None:
        with _memory.lock:
            if len(_memory.known) >= MOST_KNOWN:
                _memory.known.clear()
            _memory.known[key.digest] = (key, time.monotonic() + KNOWN_SECONDS)
    return key


def forget() -> None:
    """Look each key up anew."""
    with _memory.lock:
        _memory.known.clear()


def write_uses() -> int:
    """Write when each key was last used, and return how many were. Never called while a request waits."""
    with _memory.lock:
        used, _memory.used = _memory.used, {}
    for key_id, at in used.items():
        earlier = Q(last_used_at=None) | Q(last_used_at__lt=at)
        ApiKey.objects.filter(earlier, pk=key_id).update(last_used_at=at)
    return len(used)


def _peppers() -> list[str]:
    """The first makes new keys, all recognise. Without peppers of their own, the secret key is the pepper."""
    return settings.OPSCONSOLE_API_KEY_PEPPERS or [settings.SECRET_KEY]


def _digest(text: str, pepper: str) -> str:
    return hmac.new(
        pepper.encode(), b"ratelimits.keys.api_keys.digest:" + text.encode(), hashlib.sha256
    ).hexdigest()


def _check(random_part: str, pepper: str) -> str:
    mac = hmac.new(pepper.encode(), b"ratelimits.keys.api_keys.check:" + random_part.encode(), hashlib.sha256)
    number = int.from_bytes(mac.digest()[:16])
    digits = []
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)
