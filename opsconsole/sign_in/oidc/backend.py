"""The backend of sessions that single sign-on opened. It takes no password."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from opsconsole.sign_in.oidc import configuration

PATH = f"{__name__}.OidcBackend"


class OidcBackend(ModelBackend):
    def authenticate(self, request: HttpRequest | None, **_: Any) -> None:  # type: ignore[override]  # nobody
        """Accept nobody: ``opsconsole.sign_in.oidc.pages`` signs in."""

    def get_user(self, user_id: int) -> User | None:
        """Return the user of a session, which ends when the account is unlinked, deactivated or made a superuser."""
        if not configuration.is_on():
            return None
        mine = User.objects.filter(pk=user_id, is_active=True, is_superuser=False)
        return mine.filter(identity__issuer=settings.OPSCONSOLE_OIDC_ISSUER).first()
