"""System checks of the alert channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register("opsconsole")
def check_channel_urls(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Refuse URLs that Apprise cannot send to: such a channel would break at its first alert."""
    return list(_errors()) if settings.OPSCONSOLE_ALERT_CHANNELS else []


def _errors() -> Iterator[CheckMessage]:
    # Apprise takes a third of a second and 12 MB to load its services, so only those wait who have such a channel.
    from alerts.channels import apprise_urls  # noqa: PLC0415

    for name, url in settings.OPSCONSOLE_ALERT_CHANNELS.items():
        if not apprise_urls.understands(url):
            yield Error(
                f"OPSCONSOLE_ALERT_CHANNELS: Apprise does not understand the URL of the channel '{name}'.",
                hint="https://github.com/caronc/apprise/wiki lists the form of each service's URL. The URL is not shown "
                "here because it is a secret.",
                id="alerts.E001",
            )
