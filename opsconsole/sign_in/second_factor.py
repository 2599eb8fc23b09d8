"""The second factor: a token from an authenticator app (TOTP, RFC 6238), or one of eight backup codes.

django-otp stores the secrets. This module decides when a second factor is required. Wrong codes are counted as failed
log-ins are (``opsconsole.sign_in.failures``), not per device, and a lock-out only asks for what can't be guessed
(``opsconsole.sign_in.codes``): somebody who knows the password can't lock out the owner of the device. A secret that is
being set up is kept in the session that asked for it, and nowhere else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol, cast

import django_otp
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

from opsconsole.kit import audit
from opsconsole.kit.audit_models import Refusal
from opsconsole.kit.built_once import built_once
from opsconsole.kit.compiled_rows import CompiledRows
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.row_locks import locked
from opsconsole.sign_in import codes, failures, known_browsers, refusals
from opsconsole.sign_in.failures import Lockout, Source

WRONG = "That code is wrong. It changes every 30 seconds."
INSTEAD = (
    "You need not wait: enter a code of your app and then the next one that it shows, such as 123456 654321, "
    "or one of your backup codes."
)
# The secret that is being set up, in the session; it must be confirmed within this many seconds.
PENDING = "pending_second_factor"
PENDING_SECONDS = 1_800
# In the session: the identity provider said that this person gave a second factor there.
AT_PROVIDER = "second_factor_at_provider"
KEY_BYTES = 20


class MaybeProved(Protocol):
    """What django-otp's middleware makes of ``request.user``."""

    def is_verified(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """The device that accepted a code, or None. ``lockout``: how long no single code of the app is looked at from there."""

    device: Any = None
    lockout: Lockout | None = None
    was_checked: bool = True


def missing(request: HttpRequest) -> bool:
    """Tell whether this person still has to give a second factor, having a device or being required to. One query per request."""
    if settings.OPSCONSOLE_SECOND_FACTOR == "off" or cast(MaybeProved, request.user).is_verified():
        return False
    if request.session.get(AT_PROVIDER):
        return False
    return settings.OPSCONSOLE_SECOND_FACTOR == "required" or has_device(request.user)


def has_device(user: User | AnonymousUser) -> bool:
    return bool(_with_device().of_keys([user.pk]))


@built_once
def _with_device() -> CompiledRows[Any]:
    """Return the people who have a device. Every page and every poll asks whether one of them does."""
    return CompiledRows(get_user_model().objects.filter(owns_device()).only("pk"))


def owns_device() -> Exists:
    """Tell of each user of a query whether they have a device."""
    return Exists(TOTPDevice.objects.filter(user_id=OuterRef("pk"), confirmed=True))


def pending(request: HttpRequest) -> TOTPDevice:
    """Return the device that this session sets up, which is not stored yet. A new password ends it."""
    user = cast(User, request.user)
    password = user.get_session_auth_hash()
    kept = request.session.get(PENDING)
    if not kept or kept["password"] != password or time.time() > kept["until"]:
        kept = {"key": random_hex(KEY_BYTES), "password": password, "until": time.time() + PENDING_SECONDS}
        request.session[PENDING] = kept
    return TOTPDevice(user=user, name="App", key=kept["key"], confirmed=True)


def confirm(request: HttpRequest, token: str) -> list[str]:
    """Store the new device if its token is right; return the backup codes, shown only once. Empty: the token was wrong."""
    with transaction.atomic():
        # Two sessions of one user take turns, so that only the first gets its device.
        _lock(request.user)
        device = pending(request)
        if has_device(request.user) or not device.verify_token(codes.plain(token)):
            # django-otp stores a device also to count a wrong token.
            transaction.set_rollback(True)
            return []
        backup_codes = codes.new_backup_codes(request.user)
    del request.session[PENDING]
    django_otp.login(request, device)
    return backup_codes


def verify(request: HttpRequest, token: str) -> Verdict:
    """Verify the person of this session with a token or a backup code, which is then used up."""
    browser = known_browsers.identify(request, request.user)
    source = failures.source_of(
        failures.CODE, request.user.get_username(), failures.address(request), browser
    )
    verdict = _judge(request, request.user, source, token)
    if verdict.device:
        django_otp.login(request, verdict.device)
    return verdict


def judge_early(request: HttpRequest, username: str, token: str) -> Verdict:
    """Judge a code of the user with this name, who has not logged in yet."""
    if settings.OPSCONSOLE_SECOND_FACTOR == "off":
        return Verdict()
    user = get_user_model().objects.filter(username=username, is_active=True).first()
    source = failures.source_of(failures.EARLY_CODE, username, failures.address(request))
    return _judge(request, user or AnonymousUser(), source, token)


def refusal(verdict: Verdict) -> str:
    """Return what a person is told about a code that was not accepted."""
    sentences = [WRONG] if verdict.was_checked else []
    if verdict.lockout:
        where = {
            "browser": "in this browser",
            "user": "for this user today, in browsers that are new to the console",
        }.get(verdict.lockout.scope, "from this address")
        sentences += [
            f"Too many wrong codes were entered {where}. You can try again in {spell(verdict.lockout.left)}.",
            INSTEAD,
        ]
    return " ".join(sentences)


def remove(user: User | AnonymousUser) -> bool:
    """Delete all devices and codes of this user; return False when there were none."""
    with transaction.atomic():
        apps = TOTPDevice.objects.filter(user_id=user.pk).delete()[0]
        codes = StaticDevice.objects.filter(user_id=user.pk).delete()[0]
    return bool(apps or codes)


def devices_of(user: User | AnonymousUser) -> list[str]:
    """Name the devices of this user, such as 'App 12'."""
    devices = TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).order_by("pk")
    return [f"{device.name} {device.pk}" for device in devices]


def delete_unconfirmed() -> None:
    """Delete devices that were set up before their keys were kept in the session."""
    TOTPDevice.objects.filter(confirmed=False).delete()


def _judge(request: HttpRequest, user: User | AnonymousUser, source: Source, token: str) -> Verdict:
    verdict = _verdict(request, user, source, codes.plain(token))
    if not verdict.device:
        refusals.count(Refusal.Kind.LOG_IN, who=source.username, address=source.address)
    return verdict


def _verdict(request: HttpRequest, user: User | AnonymousUser, source: Source, code: str) -> Verdict:
    """Judge a code. What can't be guessed is looked at during a lock-out, too; wrong codes then count no further."""
    if refused := _refused(user, source, code):
        return refused
    with transaction.atomic():
        # Codes for one user are judged one after the other, so that parallel guesses are counted as well.
        _lock(user)
        if refused := _refused(user, source, code):
            return refused
        if device := codes.use(user, code):
            failures.forget(source)
            _note_backup_code(device, source)
            return Verdict(device)
        failures.count(source, request.path)
        return Verdict(lockout=failures.lockout(source))


def _refused(user: User | AnonymousUser, source: Source, code: str) -> Verdict | None:
    """Return the refusal during a lock-out, or None where the code must be judged. Asked before any lock is taken."""
    is_guessable = codes.is_guessable(code)
    if not is_guessable and codes.is_right(user, code):
        return None
    lockout = failures.lockout(source)
    return Verdict(lockout=lockout, was_checked=not is_guessable) if lockout else None


def _note_backup_code(device: Any, source: Source) -> None:
    """Write to the audit that a backup code was used up. An app's codes are part of every log-in."""
    if isinstance(device, StaticDevice):
        left = exactly(device.token_set.count(), "backup code")
        did = f"Used a backup code instead of the app; {left} left."
        audit.log(device.user, [device.user], did, why=audit.NOT_ASKED, result=f"From {source.address}.")


def _lock(user: User | AnonymousUser) -> None:
    if user.pk is not None:
        locked(get_user_model().objects.filter(pk=user.pk)).first()
