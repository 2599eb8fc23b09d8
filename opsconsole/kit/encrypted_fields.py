"""Values that travel through a form and back, which the person in between can neither change nor read."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.signing import BadSignature
from django.utils.crypto import salted_hmac


def encrypt(value: Any, purpose: str) -> str:
    """Return a JSON value as text for a hidden field, which ``decrypt`` accepts for the same purpose only."""
    return _keys(purpose).encrypt(zlib.compress(json.dumps(value).encode())).decode()


def decrypt(text: str, purpose: str, *, max_age: timedelta) -> Any:
    """Return the value. Raise ``BadSignature`` for text that is not ours, that was changed, or that is older."""
    try:
        content = _keys(purpose).decrypt(text.encode(), ttl=int(max_age.total_seconds()))
    except InvalidToken as error:
        raise BadSignature("It was changed, or it is too old.") from error
    return json.loads(zlib.decompress(content))


def _keys(purpose: str) -> MultiFernet:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = [
        salted_hmac(purpose, "encrypted fields", secret=secret, algorithm="sha256").digest()
        for secret in secrets
    ]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
