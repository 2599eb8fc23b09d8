"""The second factor: a token of an authenticator app (TOTP, RFC 6238), or one of eight backup codes.

django-otp holds the secrets, counts failures and makes whoever guesses wait. Here stands when it is asked for.
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

BACKUP_CODES = 8
DIGITS = 6


class MaybeProved(Protocol):
    """What django-otp's middleware makes of ``request.user``."""

    def is_verified(self) -> bool: ...


def missing(request: HttpRequest) -> bool:
    """Whether this person has still to prove himself: he has a device, or must have one. One query a request."""
    if settings.OPSCONSOLE_SECOND_FACTOR == "off" or cast(MaybeProved, request.user).is_verified():
        return False
    return settings.OPSCONSOLE_SECOND_FACTOR == "required" or has_device(request.user)


def has_device(user: User | AnonymousUser) -> bool:
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


def begin_setup(user: User | AnonymousUser) -> TOTPDevice:
    """The device that waits to be confirmed, made when there is none. Raises nothing when he has a confirmed one."""
    device, _ = TOTPDevice.objects.get_or_create(user_id=user.pk, confirmed=False, defaults={"name": "App"})
    return device


def confirm(request: HttpRequest, token: str) -> list[str]:
    """Take the new device into use once its token fits; returns the backup codes, shown this once. Empty: it didn't fit."""
    with transaction.atomic():
        device = (
            TOTPDevice.objects.select_for_update().filter(user_id=request.user.pk, confirmed=False).first()
        )
        if device is None or has_device(request.user) or not device.verify_token(_plain(token)):
            return []
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        codes = _backup_codes(request.user)
    django_otp.login(request, device)
    return codes


def verify(request: HttpRequest, token: str) -> bool:
    """Prove the person of this session by a token or a backup code, which is then used up."""
    plain = _plain(token)
    kind = TOTPDevice if plain.isdecimal() and len(plain) == DIGITS else StaticDevice
    with transaction.atomic():
        device = kind.objects.select_for_update().filter(user_id=request.user.pk, confirmed=True).first()
        fits = device is not None and device.verify_token(plain)
    if fits:
        django_otp.login(request, device)
    return fits


def remove(user: User | AnonymousUser) -> bool:
    """Forget all devices and codes of this user. False: there were none."""
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
