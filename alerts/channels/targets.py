"""The channels in the settings: Slack by its webhook, others by Apprise URLs. Both come from the environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings
from django.utils.crypto import salted_hmac

SLACK = "slack"
EMAIL_SCHEMES = frozenset({"mailto", "mailtos"})
# The schemes of services that open incidents; alerts.channels.incidents sends to them.
INCIDENT_SCHEMES = frozenset(
    {
        "firehydrant",
        "goalert",
        "goalerts",
        "ilert",
        "incidentio",
        "jira",
        "opsgenie",
        "opsimate",
        "opsimates",
        "pagerduty",
        "pagertree",
        "signl4",
        "splunk",
        "squadcast",
        "victorops",
    }
)


@dataclass(frozen=True)
class Target:
    """A channel and its address. The address is a secret: it is never shown, logged or stored."""

    name: str
    address: str = field(repr=False)
    is_fallback: bool = False

    @property
    def kind(self) -> str:
        """'slack', or the scheme of the Apprise URL, which is not a secret."""
        return SLACK if self.name == SLACK else self.address.partition(":")[0].lower()

    @property
    def digest(self) -> str:
        """Identify the address without revealing it, so that a new one starts without the state of the old one."""
        return "h" + salted_hmac("alerts.channels", self.address, algorithm="sha256").hexdigest()[:24]

    @property
    def opens_incidents(self) -> bool:
        """Whether the channel has an incident per alert, which must be resolved with the alert."""
        return self.kind in INCIDENT_SCHEMES


def all_targets() -> dict[str, Target]:
    """Return all channels by name."""
    addresses = {SLACK: settings.SLACK_WEBHOOK_URL} if settings.SLACK_WEBHOOK_URL else {}
    addresses |= settings.OPSCONSOLE_ALERT_CHANNELS
    fallback = settings.OPSCONSOLE_ALERT_FALLBACK
    return {name: Target(name, address, name == fallback) for name, address in addresses.items()}


def primary_targets() -> list[Target]:
    """Return the channels that get every notification: all but the fallback, unless it is the only one."""
    targets = list(all_targets().values())
    return [target for target in targets if not target.is_fallback] or targets


def fallback() -> Target | None:
    """Return the channel that gets the notifications of a channel that fails."""
    return next((target for target in all_targets().values() if target.is_fallback), None)
