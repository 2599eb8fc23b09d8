"""The codes of a second factor: what a person entered, whether it could be found by guessing, and whether it is right.

One code of the app can be guessed: three of a million are right at a time. Two codes in a row, and a backup code, can't:
they open a lock-out by others, because no limit is needed for them.
"""

from __future__ import annotations

import secrets
import string
import time
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django_otp.oath import hotp
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from opsconsole.kit.row_locks import locked

DIGITS = 6
BACKUP_CODES = 8
# Those of earlier versions have 8 characters. None has 12, as two codes of the app have together.
BACKUP_CODE_CHARACTERS = 10
ALPHABET = string.ascii_lowercase + "234567"


def plain(entered: str) -> str:
    """Return a code without the spaces that people put into it."""
    return "".join(entered.split()).lower()


def is_guessable(code: str) -> bool:
    """Tell whether this is a single code of the app."""
    return code.isdecimal() and len(code) == DIGITS


def is_right(user: User | AnonymousUser, code: str) -> bool:
    """Tell whether an unguessable code is right at the moment. Takes no lock, so that a storm of wrong ones delays nobody."""
    if _is_two(code):
        device = _devices(TOTPDevice, user).order_by("pk").first()
        return device is not None and _step_of(device, code) is not None
    return bool(
        StaticToken.objects.filter(token=code, device__user_id=user.pk, device__confirmed=True).exists()
    )


def use(user: User | AnonymousUser, code: str) -> Any:
    """Return the device that accepts this code, which is then used up, or None. Needs a transaction."""
    kind = TOTPDevice if is_guessable(code) or _is_two(code) else StaticDevice
    device = locked(_devices(kind, user).order_by("pk")).first()
    if device is None:
        return None
    if not _is_two(code):
        return device if device.verify_token(code) else None
    step = _step_of(device, code)
    if step is None:
        return None
    device.last_t = step + 1
    device.set_last_used_timestamp(commit=False)
    device.save()
    return device


def new_backup_codes(user: User | AnonymousUser) -> list[str]:
    """Replace the backup codes of this user; return the new ones."""
    StaticDevice.objects.filter(user_id=user.pk).delete()
    device = StaticDevice.objects.create(user_id=user.pk, name="Backup codes", confirmed=True)
    codes = [
        "".join(secrets.choice(ALPHABET) for _ in range(BACKUP_CODE_CHARACTERS)) for _ in range(BACKUP_CODES)
    ]
    StaticToken.objects.bulk_create([StaticToken(device=device, token=code) for code in codes])
    return codes


def _is_two(code: str) -> bool:
    return code.isdecimal() and len(code) == 2 * DIGITS


def _devices(kind: Any, user: User | AnonymousUser) -> Any:
    return kind.objects.filter(user_id=user.pk, confirmed=True)


def _step_of(device: TOTPDevice, two: str) -> int | None:
    """Return the time step of the first of these two codes, if the app showed one right after the other just now."""
    entered = int(two[:DIGITS]), int(two[DIGITS:])
    now = (int(time.time()) - device.t0) // device.step + device.drift
    # The second code may be as old, or as new, as a single one.
    for step in range(now - device.tolerance - 1, now + device.tolerance):
        shown = tuple(hotp(device.bin_key, each, device.digits) for each in (step, step + 1))
        if step > device.last_t and shown == entered:
            return int(step)
    return None
