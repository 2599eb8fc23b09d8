"""The system check of the settings of single sign-on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from opsconsole.sign_in.oidc import configuration


@checks.register("opsconsole")
def check_single_sign_on(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse settings that are half set: the login page would offer nothing, and nobody would know why."""
    missing = configuration.missing()
    begun = len(missing) < len(configuration.NEEDED) or settings.OPSCONSOLE_OIDC_CLIENT_SECRET
    if not missing or not begun:
        return []
    return [
        checks.Error(
            f"Single sign-on is set up in part: {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing.",
            hint="Set what is missing (docs/single-sign-on.md), or unset the other settings of OPSCONSOLE_OIDC_.",
            id="opsconsole.E035",
        )
    ]
