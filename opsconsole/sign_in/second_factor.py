"""The second factor: a token from an authenticator app (TOTP, RFC 6238), or one of eight backup codes.

django-otp stores the secrets, counts failures and throttles guesses. This module decides when a second factor is required.
"""

from __future__ import annotations

from typing import Protocol, cast

import django_otp
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from opsconsole.kit.row_locks import locked

BACKUP_CODES = 8
DIGITS = 6


class MaybeProved(Protocol):
    """What django-otp's middleware makes of ``request.user``."""

    def is_verified(self) -> bool: ...


def missing(request: HttpRequest) -> bool:
    """Tell whether this person still has to give a second factor, having a device or being required to. One query per request."""
    if settings.OPSCONSOLE_SECOND_FACTOR == "off" or cast(MaybeProved, request.user).is_verified():
        return False
    return settings.OPSCONSOLE_SECOND_FACTOR == "required" or has_device(request.user)


def has_device(user: User | AnonymousUser) -> bool:
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


def begin_setup(user: User | AnonymousUser) -> TOTPDevice:
    """Return the device that is to be confirmed, created when there is none; a confirmed one does not matter."""
    device, _ = TOTPDevice.objects.get_or_create(user_id=user.pk, confirmed=False, defaults={"name": "App"})
    return device


def confirm(request: HttpRequest, token: str) -> list[str]:
    """Activate the new device if its token is right; return the backup codes, shown only once. Empty: the token was wrong."""
    with transaction.atomic():
        device = locked(TOTPDevice.objects.filter(user_id=request.user.pk, confirmed=False)).first()
        if device is None or has_device(request.user) or not device.verify_token(_plain(token)):
            return []
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        codes = _backup_codes(request.user)
    django_otp.login(request, device)
    return codes


def verify(request: HttpRequest, token: str) -> bool:
    """Verify the person of this session with a token or a backup code, which is then used up."""
    plain = _plain(token)
    kind = TOTPDevice if plain.isdecimal() and len(plain) == DIGITS else StaticDevice
    with transaction.atomic():
        device = locked(kind.objects.filter(user_id=request.user.pk, confirmed=True)).first()
        fits = device is not None and device.verify_token(plain)
    if fits:
        django_otp.login(request, device)
    return fits


def remove(user: User | AnonymousUser) -> bool:
    """Delete all devices and codes of this user; return False when there were none."""
    with transaction.atomic():
        apps = TOTPDevice.objects.filter(user_id=user.pk).delete()[0]
        codes = StaticDevice.objects.filter(user_id=user.pk).delete()[0]
    return bool(apps or codes)


def _backup_codes(user: User | AnonymousUser) -> list[str]:
    StaticDevice.objects.filter(user_id=user.pk).delete()
    device = StaticDevice.objects.create(user_id=user.pk, name="Backup codes", confirmed=True)
    codes = [StaticToken.random_token() for _ in range(BACKUP_CODES)]
    StaticToken.objects.bulk_create([StaticToken(device=device, token=code) for code in codes])
    return codes


def _plain(token: str) -> str:
    return "".join(token.split()).lower()
