"""The key that encrypts addresses of channels in the database: only the environment has it."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

from opsconsole.kit.errors import OpsConsoleError

_PURPOSE = "alerts.channels"
# Prints a secret that is long enough.
COMMAND = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'
WITHOUT_KEY = f"Set OPSCONSOLE_CHANNEL_KEYS to a random secret, such as that of: {COMMAND}. Then channels can be added here."


class UnreadableAddress(OpsConsoleError):
    """The key that encrypted an address is not among those of the environment."""


def is_possible() -> bool:
    """Tell whether there is a key to store addresses with."""
    return bool(settings.OPSCONSOLE_CHANNEL_KEYS)


def encrypt(address: str) -> str:
    return _keys().encrypt(address.encode()).decode()


def decrypt(stored: str) -> str:
    """Return the address. Raise ``UnreadableAddress`` without the key."""
    try:
        return _keys().decrypt(stored).decode()
    except (InvalidToken, ValueError) as error:
        raise UnreadableAddress("None of OPSCONSOLE_CHANNEL_KEYS opens this address.") from error


def _keys() -> MultiFernet:
    """Return the keys: the first one encrypts, each of them opens."""
    keys = settings.OPSCONSOLE_CHANNEL_KEYS
    if not keys:
        raise UnreadableAddress(WITHOUT_KEY)
    digests = [salted_hmac(_PURPOSE, "addresses", secret=key, algorithm="sha256").digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
