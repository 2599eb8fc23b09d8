"""``rate_limit_policies``: which requests are limited, and how many are allowed per window.

An edit takes effect in every process within two seconds.
"""

from __future__ import annotations

import re

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from opsconsole.kit.ip_addresses import embeds_everybody

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
LONGEST_WINDOW = 30 * 86_400
# An exact window stores each request (9 bytes) and has to walk to the oldest one.
HIGHEST_EXACT_LIMIT = 20_000
HIGHEST_LIMIT = 10_000_000


class Mode(models.TextChoices):
    ENFORCE = "enforce", "enforce: refuse requests above the limit"
    SHADOW = "shadow", "shadow: count and record, but refuse nothing"
    OFF = "off", "off: do not count"


class Policy(models.Model):
    """A rate limit: which requests it covers, and how many of them are allowed per window."""

    class Algorithm(models.TextChoices):
        MOVING = "moving", "exact moving window: never more than the limit in any window"
        COUNTER = "counter", "sliding counter: approximate, about 120 bytes per client"

    class Key(models.TextChoices):
        DEFAULT = "default", "API key, otherwise user, otherwise address"
        ADDRESS = "address", "address"
        USER = "user", "user, otherwise address"
        API_KEY = "api_key", "API key, otherwise address"

    class Away(models.TextChoices):
        LOCAL = "local", "count in each process, with the limit divided by the number of processes"
        OPEN = "open", "allow every request"
        CLOSED = "closed", "refuse every request"

    name = models.TextField(
        unique=True, help_text="Lowercase letters, digits and hyphens. The name cannot be changed later."
    )
    limit = models.IntegerField(help_text="The number of requests that a client may make per window.")
    window_seconds = models.IntegerField("window (seconds)", default=60)
    algorithm = models.TextField(choices=Algorithm, default=Algorithm.MOVING)
    mode = models.TextField(choices=Mode, default=Mode.ENFORCE)
    key = models.TextField("count per", choices=Key, default=Key.DEFAULT)
    path_prefixes = ArrayField(
        models.TextField(),
        blank=True,
        default=list,
        help_text="Paths to limit, separated by commas, such as /api/. Views can also name the policy in code.",
    )
    methods = ArrayField(
        models.TextField(),
        blank=True,
        default=list,
        help_text="Methods to limit, separated by commas, such as POST, PUT. Empty means all methods.",
    )
    allow_networks = ArrayField(
        models.TextField(),
        blank=True,
        default=list,
        help_text="Networks that are never limited, separated by commas, such as 10.0.0.0/8.",
    )
    deny_networks = ArrayField(
        models.TextField(),
        blank=True,
        default=list,
        help_text="Networks whose requests are always refused with 403, separated by commas.",
    )
    when_store_is_away = models.TextField("when the store is unavailable", choices=Away, default=Away.LOCAL)
    position = models.IntegerField(
        default=100,
        help_text="If several policies cover a request, they are listed in this order, lowest first.",
    )
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.TextField(blank=True, default="", editable=False)

    class Meta:
        db_table = "rate_limit_policies"
        verbose_name_plural = "policies"
        ordering = ["position", "name"]
        default_permissions = ("view", "add", "change")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Validate the fields, and report every error at its field."""
        errors = {
            field: message
            for field, message in (
                ("name", self._name_error()),
                ("limit", self._limit_error()),
                ("window_seconds", self._window_error()),
                ("path_prefixes", _prefix_error(self.path_prefixes)),
                ("methods", _method_error(self.methods)),
                ("allow_networks", _network_error(self.allow_networks)),
                ("deny_networks", _network_error(self.deny_networks)),
            )
            if message
        }
        if errors:
            raise ValidationError(errors)

    def _name_error(self) -> str:
        if re.fullmatch(r"[a-z][a-z0-9-]{0,49}", self.name or ""):
            return ""
        return "Enter up to 50 lowercase letters, digits and hyphens, starting with a letter."

    def _limit_error(self) -> str:
        if not 1 <= (self.limit or 0) <= HIGHEST_LIMIT:
            return (
                f"Enter a limit from 1 to {HIGHEST_LIMIT:,}. To refuse all requests, enter networks to deny."
            )
        if self.algorithm == self.Algorithm.MOVING and self.limit > HIGHEST_EXACT_LIMIT:
            return (
                f"An exact window stores every request. For a limit above {HIGHEST_EXACT_LIMIT:,}, choose the sliding "
                "counter."
            )
        return ""

    def _window_error(self) -> str:
        if 1 <= (self.window_seconds or 0) <= LONGEST_WINDOW:
            return ""
        return f"Enter a window from 1 to {LONGEST_WINDOW:,} seconds."


def _prefix_error(prefixes: list[str]) -> str:
    invalid = [prefix for prefix in prefixes or [] if not re.fullmatch(r"/[^\s?#]{0,200}", prefix)]
    return f"{invalid[0]!r} is not a path. A path starts with a slash and has no spaces." if invalid else ""


def _method_error(methods: list[str]) -> str:
    unknown = [method for method in methods or [] if method not in METHODS]
    return f"{unknown[0]!r} is not a method. Methods: {', '.join(METHODS)}." if unknown else ""


def _network_error(networks: list[str]) -> str:
    for network in networks or []:
        try:
            everybody = embeds_everybody(network)
        except ValueError:
            return f"{network!r} is not a network. Examples: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7."
        if everybody:
            return f"Addresses in {network} count by the IPv4 address that they embed. Enter IPv4 networks instead."
    return ""
