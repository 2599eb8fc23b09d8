"""API keys: creation, authentication and revocation.

A key consists of ``ock_``, 32 random characters, and 8 check characters that only the console can compute from them.
A made-up key is therefore rejected without a database query. The database stores only a hash of each key, made with a
secret pepper.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import string
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest

from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError
from ratelimits.keys import operator_scopes
from ratelimits.models import ApiKey
from ratelimits.models.api_key import Scope

logger = logging.getLogger("ratelimits.keys.api_keys")

PREFIX = "ock_"
ALPHABET = string.ascii_letters + string.digits
RANDOM_LENGTH, CHECK_LENGTH, HINT_LENGTH = 32, 8, 4
KEY_LENGTH = len(PREFIX) + RANDOM_LENGTH + CHECK_LENGTH
# Where the reason is kept, as error messages say it.
KEPT = "with the key"
# A revoked key is refused at once by the process that revoked it, and after this time by all others.
CACHE_SECONDS = 1.0
MAX_CACHED_KEYS = 10_000


class KeyRefused(OpsConsoleError):
    """The key was not created or revoked; the message says why."""


@dataclass
class _KeyCache:
    """The keys that this process looked up recently, by digest, and the last use of each, by id. All are bounded.

    ``digests``: those of genuine keys, by a hash of their text, so that they need not be computed for each request. They don't
    depend on the database: whether a key is valid does, and is looked up.
    """

    keys: dict[str, tuple[ApiKey, float]] = field(default_factory=dict)
    digests: dict[bytes, list[str]] = field(default_factory=dict)
    last_used: dict[UUID, datetime] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_cache = _KeyCache()


def create(  # noqa: PLR0913 - a name for each column
    *,
    key_id: UUID,
    name: str,
    scopes: Collection[str],
    policy: str,
    expires_at: datetime | None,
    by: str,
    reason: str,
    succeeds: ApiKey | None = None,
    maker: User | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. Return its row, and the key itself, which is not stored and cannot be read again.

    ``succeeds``: the key that it replaces, also while both are valid; runs that one claimed, the other may end.
    ``maker``: the account for which a key of the operator's API acts. What it may do now is stored with the key.

    Raise ``KeyRefused`` if the reason is missing, if the maker may not give a scope, if the ``key_id`` was used before, so
    that a repeated request creates one key, or if a key with the same name exists and was not revoked.
    """
    reason = reasons.required(reason, KeyRefused, KEPT)
    if refused := [scope for scope in scopes if not operator_scopes.may_give(maker, Scope(scope))]:
        raise KeyRefused(_reason_for_scope(refused[0], maker))
    pepper = _peppers()[0]
    text = _new_text(pepper)
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
        succeeds=succeeds.lineage if succeeds else None,
        maker=maker,
        permissions=operator_scopes.held(maker, scopes),
    )
    _insert(key)
    return ApiKey.objects.get(pk=key_id), text


def _new_text(pepper: str) -> str:
    """Return the text of a new key."""
    random_part = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return PREFIX + random_part + _check(random_part, pepper)


def _insert(key: ApiKey) -> None:
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:
        raise KeyRefused(_reason_for_refusal(key.pk, key.name)) from error


def _reason_for_scope(scope: str, maker: User | None) -> str:
    if maker is None:
        return f"No key was created: with the scope '{scope}', a key acts for an account. Name the account."
    return f"No key was created: the account '{maker.get_username()}' may not do what the scope '{scope}' allows."


def _reason_for_refusal(key_id: UUID, name: str) -> str:
    if ApiKey.objects.filter(pk=key_id).exists():
        return (
            "This form already created a key, which was shown at that time. No second key was created. If the key "
            "is lost, revoke it and create another one."
        )
    return f"No key was created: a key named '{name}' exists. Revoke that key first, or choose another name."


def revoke(key_id: UUID, *, by: str, reason: str) -> bool:
    """Revoke the key. Return False if it was revoked before or does not exist.

    Raise ``KeyRefused`` if the reason is missing.
    """
    reason = reasons.required(reason, KeyRefused, KEPT)
    revoked_count = ApiKey.objects.filter(pk=key_id, revoked_at=None).update(
        revoked_at=Now(), revoked_by=by, revoke_reason=reason
    )
    clear_cache()
    return bool(revoked_count)


def authenticate(request: HttpRequest) -> ApiKey | None:
    """Return the valid key that the request carries, or None. The key is looked up once per request.

    If the database is unavailable, this also returns None, and ``lookup_failed`` returns True.
    """
    if not hasattr(request, "_api_key"):
        request._api_key = _find(request)  # type: ignore[attr-defined]  # noqa: SLF001 - our own attribute
    key: ApiKey | None = request._api_key  # type: ignore[attr-defined]  # noqa: SLF001 - our own attribute
    return key


def authenticate_as_known(request: HttpRequest) -> ApiKey | None:
    """Return the valid key that the request carries if this process looked it up a moment ago, without asking the database."""
    key = _known(_digests(_text_from(request)))
    if key is not None:
        request._api_key = key  # type: ignore[attr-defined]  # noqa: SLF001 - our own attribute
        _cache.last_used[key.pk] = datetime.now(UTC)
    return key


def refuse_scope(request: HttpRequest, scope: str) -> None:
    """Note that the request's key lacks this scope, for whoever counts refusals."""
    request._api_key_scope_refused = scope  # type: ignore[attr-defined]  # noqa: SLF001 - our own attribute


def refused_scope(request: HttpRequest) -> str:
    """Return the scope for want of which the request's key was refused, or ''."""
    return str(getattr(request, "_api_key_scope_refused", ""))


def is_sent(request: HttpRequest) -> bool:
    """Tell whether the request carries anything in the place of a key, valid or not."""
    return bool(_text_from(request))


def lookup_failed(request: HttpRequest) -> bool:
    """Tell whether the request's key could not be checked because the database was unavailable."""
    return getattr(request, "_api_key_lookup_failed", False)


def counted_as(request: HttpRequest) -> ApiKey | None:
    """Return the key under which the request counts: the valid one or, while none can be looked up, the genuine one.

    Its check characters prove that the console created it. It may have been revoked since, so it allows nothing.
    """
    key = authenticate(request)
    if key is not None or not lookup_failed(request):
        return key
    digests = _digests(_text_from(request))
    known = (entry[0] for digest in digests if (entry := _cache.keys.get(digest)))
    # This process may never have looked it up: then its digest stands for its id.
    stranger = ApiKey(id=UUID(digests[0][:32]), name="(not looked up)", policy="api-key", scopes=[])
    return next(known, stranger)


def _find(request: HttpRequest) -> ApiKey | None:
    digests = _digests(_text_from(request))
    if not digests:
        return None
    try:
        key = _known(digests) or _look_up(digests)
    except (OperationalError, InterfaceError) as error:
        logger.error("An API key could not be looked up: %s", error)  # noqa: TRY400 - a traceback adds nothing
        request._api_key_lookup_failed = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own attribute
        return None
    if key is not None:
        _cache.last_used[key.pk] = datetime.now(UTC)
    return key


def _text_from(request: HttpRequest) -> str:
    """Return the key from ``Authorization: Bearer ...`` or, if that is absent, from ``X-API-Key``."""
    # request.headers is not used, because building it takes as long as the rest of a refusal.
    if sent := request.META.get("HTTP_AUTHORIZATION"):
        scheme, _, rest = str(sent).partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip()
    return str(request.META.get("HTTP_X_API_KEY", "")).strip()


def _digests(text: str) -> list[str]:
    """Return the digest for each pepper that may have created this key. A made-up key has none."""
    if len(text) != KEY_LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return []
    peppers = _peppers()
    name = hashlib.sha256("\n".join([text, *peppers]).encode()).digest()
    if known := _cache.digests.get(name):
        return known
    random_part, check = text[len(PREFIX) : -CHECK_LENGTH], text[-CHECK_LENGTH:]
    digests = [
        _digest(text, pepper) for pepper in peppers if hmac.compare_digest(_check(random_part, pepper), check)
    ]
    if digests:
        with _cache.lock:
            if len(_cache.digests) >= MAX_CACHED_KEYS:
                _cache.digests.clear()
            _cache.digests[name] = digests
    return digests


def _known(digests: list[str]) -> ApiKey | None:
    now = time.monotonic()
    for digest in digests:
        key, until = _cache.keys.get(digest, (None, 0.0))
        if now < until:
            return key
    return None


def _look_up(digests: list[str]) -> ApiKey | None:
    key = ApiKey.objects.valid().filter(digest__in=digests).first()
    with _cache.lock:
        if key is None:
            for digest in digests:
                _cache.keys.pop(digest, None)
        else:
            if len(_cache.keys) >= MAX_CACHED_KEYS:
                _cache.keys.clear()
            _cache.keys[key.digest] = (key, time.monotonic() + CACHE_SECONDS)
    return key


def clear_cache() -> None:
    """Make the next request look up its key again."""
    with _cache.lock:
        _cache.keys.clear()


def write_last_used() -> int:
    """Write when each key was last used, and return the number of keys used. No request waits for this."""
    with _cache.lock:
        last_used, _cache.last_used = _cache.last_used, {}
    for key_id, at in last_used.items():
        earlier = Q(last_used_at=None) | Q(last_used_at__lt=at)
        ApiKey.objects.filter(earlier, pk=key_id).update(last_used_at=at)
    return len(last_used)


def _peppers() -> list[str]:
    """Return the peppers. The first is used for new keys, all of them to check keys. The default is the secret key."""
    return settings.OPSCONSOLE_API_KEY_PEPPERS or [settings.SECRET_KEY]


def _digest(text: str, pepper: str) -> str:
    return hmac.digest(pepper.encode(), b"ratelimits.keys.api_keys.digest:" + text.encode(), "sha256").hex()


def _check(random_part: str, pepper: str) -> str:
    mac = hmac.digest(pepper.encode(), b"ratelimits.keys.api_keys.check:" + random_part.encode(), "sha256")
    number = int.from_bytes(mac[:16])
    digits = []
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)
