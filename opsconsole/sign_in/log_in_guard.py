"""The handler of django-axes: who may try a password, what counts as a failure, and what a log-in begins."""

from __future__ import annotations

import logging
from typing import Any

import django_otp
from axes.handlers.database import AxesDatabaseHandler
from axes.signals import user_locked_out
from django.contrib.auth.models import User
from django.http import HttpRequest

from opsconsole.sign_in import failures, known_browsers, second_factor, sessions
from opsconsole.sign_in.failures import Lockout, Source
from opsconsole.sign_in.second_factor import Verdict

log = logging.getLogger(__name__)
# Counts the wrong passwords of whoever gave a right code instead of waiting for the end of a lock-out.
BY_CODE = "(by code)"


class LogInRequest(HttpRequest):
    """A request with what django-axes and this handler note in it."""

    axes_credentials: dict[str, Any]
    axes_ip_address: str | None
    axes_locked_out: bool
    log_in_source: Source
    log_in_lockout: Lockout | None
    log_in_code: Verdict


class LogInGuard(AxesDatabaseHandler):  # type: ignore[misc]  # django-axes has no types
    """django-axes with counts of our own (``opsconsole.sign_in.failures``).

    Nobody who is locked out has a password checked, so that a storm of guesses costs two queries per request.
    """

    def is_allowed(self, request: LogInRequest, credentials: dict[str, Any] | None = None) -> bool:
        username = (credentials or {}).get("username")
        if not username:
            # The sign-in by a proxy's header has no password to guess.
            return True
        source = _source(request, username)
        lockout = failures.lockout(source)
        code = request.POST.get("token", "")
        if lockout and code and not source.browser:
            by_code = _source(request, username, BY_CODE)
            # A second factor shows that somebody else has failed so often.
            if failures.lockout(by_code) is None:
                request.log_in_code = second_factor.judge_early(request, username, code)
                if request.log_in_code.device:
                    source, lockout = by_code, None
        _note(request, source, lockout)
        return lockout is None

    def is_locked(self, request: LogInRequest, credentials: dict[str, Any] | None = None) -> bool:
        return not self.is_allowed(request, credentials)

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: LogInRequest | None = None, **_: Any
    ) -> None:
        """Count a wrong password, unless it was not even checked."""
        username = credentials.get("username")
        if request is None or not username:
            return
        request.axes_credentials = credentials
        if not request.axes_locked_out:
            source = request.log_in_source
            failures.count(source, request.path)
            lockout = failures.lockout(source)
            _note(request, source, lockout)
            request.axes_locked_out = lockout is not None
            if lockout:
                log.warning(
                    "Locked out %r at %s (%s) after failed logins.", username, source.address, lockout.scope
                )
        if request.axes_locked_out:
            user_locked_out.send(
                "axes", request=request, username=username, ip_address=request.axes_ip_address
            )

    def user_logged_in(self, sender: Any, request: LogInRequest, user: User, **_: Any) -> None:
        if source := getattr(request, "log_in_source", None):
            failures.forget(source)
        sessions.begin(request)
        if (verdict := getattr(request, "log_in_code", None)) and verdict.device:
            django_otp.login(request, verdict.device)

    def user_logged_out(self, sender: Any, request: LogInRequest, user: User | None, **_: Any) -> None:
        """Write nothing: there is no log of accesses."""


def _source(request: LogInRequest, username: str, browser: str = "") -> Source:
    address = request.axes_ip_address
    known = browser or known_browsers.known_as(request, username)
    return failures.source_of(failures.PASSWORD, username, address, known)


def _note(request: LogInRequest, source: Source, lockout: Lockout | None) -> None:
    request.log_in_source, request.log_in_lockout = source, lockout
