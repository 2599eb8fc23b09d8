"""Settings of channels by people: adding one with its address, what it is told, muting and removing it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from alerts.channels import address_keys, stored_addresses
from alerts.channels.targets import SLACK
from alerts.models import Channel
from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError

LONGEST_MUTE = timedelta(days=7)
FIXED = "The environment has the address of this channel"
REMOVE_IN_ENVIRONMENT = f"{FIXED}. Remove it there."
# What the audit says.
DID_CHANGE = "Changed what the channel is told."


class ChannelRefused(OpsConsoleError):
    """A change of a channel is not possible; the message says why."""


class AddressRefused(ChannelRefused):
    """The address is not one that a page accepts."""


@dataclass(frozen=True)
class Route:
    """What a channel is told: of alerts of this severity and above, of some rules and queues (none: all), at some hours (UTC)."""

    least_severity: str
    rules: Collection[str] = field(default=())
    from_hour: int | None = None
    until_hour: int | None = None
    queues: Collection[str] = field(default=())

    def as_fields(self) -> dict[str, object]:
        """Return the columns. Raise ``ChannelRefused`` for a span with one end, or with none between its ends."""
        if (self.from_hour is None) != (self.until_hour is None):
            raise ChannelRefused("Give both hours, or none for the whole day.")
        if self.from_hour is not None and self.from_hour == self.until_hour:
            raise ChannelRefused("Give two different hours, or none for the whole day.")
        return {
            "least_severity": self.least_severity,
            "rules": sorted(self.rules),
            "queues": sorted(self.queues),
            "from_hour": self.from_hour,
            "until_hour": self.until_hour,
        }


def is_fixed(name: str) -> bool:
    """Tell whether the environment has the address of this channel."""
    return name in settings.OPSCONSOLE_ALERT_CHANNELS or (name == SLACK and bool(settings.SLACK_WEBHOOK_URL))


def add(name: str, address: str, route: Route, reason: str) -> Channel:
    """Add a channel. Raise ``ChannelRefused`` for a name that is taken and for an address that a page does not accept."""
    reasons.required(reason, ChannelRefused)
    if not stored_addresses.NAME.fullmatch(name):
        raise ChannelRefused(
            "A name has up to 40 lower-case letters, digits, - and _, and begins with a letter or digit."
        )
    encrypted = _encrypted(name, address)
    with transaction.atomic():
        Channel.objects.bulk_create([Channel(name=name)], ignore_conflicts=True)
        free = Channel.objects.filter(pk=name, secret="")
        if is_fixed(name) or not free.update(secret=encrypted, **route.as_fields()):
            raise ChannelRefused(f"There is a channel {name} already.")
    return Channel.objects.get(pk=name)


def change(name: str, route: Route, reason: str, *, address: str = "") -> Channel:
    """Change what a channel is told and, with ``address``, where it is. Raise ``ChannelRefused`` if that is not possible."""
    reasons.required(reason, ChannelRefused)
    fields = route.as_fields()
    rows = Channel.objects.filter(pk=name)
    if address:
        if is_fixed(name):
            raise ChannelRefused(f"{FIXED}. Change it there.")
        fields["secret"] = _encrypted(name, address)
        rows = rows.exclude(secret="")
    if not rows.update(**fields):
        raise ChannelRefused(f"There is no channel {name} any more.")
    return Channel.objects.get(pk=name)


def mute(name: str, how_long: timedelta, who: str, reason: str) -> Channel:
    """Tell a channel nothing for a while. Raise ``ChannelRefused`` for longer than a week."""
    reason = reasons.required(reason, ChannelRefused)
    if not timedelta(0) < how_long <= LONGEST_MUTE:
        raise ChannelRefused("A channel can be muted for up to 7 days.")
    Channel.objects.filter(pk=name).update(muted_until=Now() + how_long, muted_by=who, muted_why=reason)
    return Channel.objects.get(pk=name)


def unmute(name: str) -> bool:
    """Tell the channel again. Return whether it was muted."""
    muted = Channel.objects.filter(Q(muted_until__gt=Now()), pk=name)
    return bool(muted.update(muted_until=None, muted_by="", muted_why=""))


def remove(name: str, reason: str) -> None:
    """Forget the address of a channel that was added on a page. Its history stays. Raise ``ChannelRefused`` for others."""
    reasons.required(reason, ChannelRefused)
    if is_fixed(name):
        raise ChannelRefused(REMOVE_IN_ENVIRONMENT)
    if not Channel.objects.filter(pk=name).exclude(secret="").update(secret=""):
        raise ChannelRefused(f"The channel {name} is removed already.")


def _encrypted(name: str, address: str) -> str:
    if not address_keys.is_possible():
        raise ChannelRefused(address_keys.WITHOUT_KEY)
    if problem := stored_addresses.problem_with(name, address):
        raise AddressRefused(problem)
    return address_keys.encrypt(address)
