"""Which channels there are: Slack by its webhook, others by an Apprise URL, all from the environment alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings

SLACK = "slack"


@dataclass(frozen=True)
class Target:
    """``address`` is a secret: it is not in the representation, and never on a page or in the database."""

    name: str
    address: str = field(repr=False)
    is_fallback: bool = False

    @property
    def kind(self) -> str:
        """'slack', or the scheme of the Apprise URL, which is no secret."""
        return SLACK if self.name == SLACK else self.address.partition(":")[0]


def configured() -> dict[str, Target]:
    """All channels by name."""
    addresses = {SLACK: settings.SLACK_WEBHOOK_URL} if settings.SLACK_WEBHOOK_URL else {}
    addresses |= settings.OPSCONSOLE_ALERT_CHANNELS
    fallback = settings.OPSCONSOLE_ALERT_FALLBACK
    return {name: Target(name, address, name == fallback) for name, address in addresses.items()}


def everyday() -> list[Target]:
    """Those that hear everything: all but the fallback, unless it is alone."""
    targets = list(configured().values())
    return [target for target in targets if not target.is_fallback] or targets


def fallback() -> Target | None:
    """The one that hears what another could not take."""
    return next((target for target in configured().values() if target.is_fallback), None)
