"""The channels: Slack by its webhook, others by Apprise URLs. They come from the environment, or were added on a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.crypto import salted_hmac

from alerts.channels import address_keys
from alerts.channels.address_keys import UnreadableAddress
from alerts.models import Channel

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
    """A channel and its address. The address is a secret: it is never shown or logged, and stored only encrypted.

    ``is_added``: on a page, and not by the environment.
    """

    name: str
    address: str = field(repr=False)
    is_fallback: bool = False
    is_added: bool = False

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
    """Return all channels by name. Of two with one name, that of the environment counts."""
    # Without a key there is nothing to open, and nothing to ask for at each turn of a sender.
    added = Channel.objects.only("secret").exclude(secret="") if address_keys.is_possible() else ()
    found = {row.pk: target_of(row) for row in added}
    found |= {name: _of_environment(name, address) for name, address in _environment().items()}
    return {name: target for name, target in found.items() if target is not None}


def target_of(row: Channel) -> Target | None:
    """Return the channel of a row, without a query; None where no address is known, or no key opens it."""
    if address := _environment().get(row.pk):
        return _of_environment(row.pk, address)
    try:
        address = address_keys.decrypt(row.secret) if row.secret else ""
    except UnreadableAddress:
        return None
    is_fallback = row.pk == settings.OPSCONSOLE_ALERT_FALLBACK
    return Target(row.pk, address, is_fallback, is_added=True) if address else None


def _environment() -> dict[str, str]:
    slack = {SLACK: settings.SLACK_WEBHOOK_URL} if settings.SLACK_WEBHOOK_URL else {}
    return slack | settings.OPSCONSOLE_ALERT_CHANNELS


def _of_environment(name: str, address: str) -> Target:
    return Target(name, address, name == settings.OPSCONSOLE_ALERT_FALLBACK)


def primary(targets: Iterable[Target]) -> list[Target]:
    """Return the channels that get notifications: all but the fallback, unless it is the only one."""
    every = list(targets)
    return [target for target in every if not target.is_fallback] or every


def fallback() -> Target | None:
    """Return the channel that gets the notifications of a channel that fails."""
    return next((target for target in all_targets().values() if target.is_fallback), None)
