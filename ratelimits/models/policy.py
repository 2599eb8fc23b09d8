"""``rate_limit_policies``: who may ask for what how often. Edits hold in every process within two seconds."""

from __future__ import annotations

import re
from ipaddress import ip_network

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
LONGEST_WINDOW = 30 * 86_400
# An exact window keeps each admission: 9 bytes in the store, and a walk to the oldest.
HIGHEST_EXACT_LIMIT = 20_000
HIGHEST_LIMIT = 10_000_000


class Mode(models.TextChoices):
    ENFORCE = "enforce", "enforce: refuses what is too much"
    SHADOW = "shadow", "shadow: counts and records, refuses nothing"
    OFF = "off", "off: does not count"


class Policy(models.Model):
    class Algorithm(models.TextChoices):
        MOVING = "moving", "exact moving window: never more than the limit in any window"
        COUNTER = "counter", "sliding counter: approximate, 90 bytes a client"

    class Key(models.TextChoices):
        DEFAULT = "default", "API key, else user, else address"
        ADDRESS = "address", "address"
        USER = "user", "user, else address"
        API_KEY = "api_key", "API key, else address"

    class Away(models.TextChoices):
        LOCAL = "local", "count in each process, limit divided by the processes"
        OPEN = "open", "let everything pass"
        CLOSED = "closed", "refuse everything"

    name = models.TextField(
        unique=True, help_text="Lower-case letters, digits and dashes. It can't be changed later."
    )
    limit = models.IntegerField(help_text="How many requests a client may make in a window.")
    window_seconds = models.IntegerField("window, seconds", default=60)
    algorithm = models.TextField(choices=Algorithm, default=Algorithm.MOVING)
    mode = models.TextField(choices=Mode, default=Mode.ENFORCE)
    key = models.TextField("counts by", choices=Key, default=Key.DEFAULT)
    path_prefixes = ArrayField(
        models.TextField(),
        blank=True,
        default=list,
        help_text="Paths that are limited by it, separated by commas, such as /api/. Views may name it themselves.",
    )
    methods = ArrayField(
        models.TextField(), blank=True, default=list, help_text="Such as POST, PUT. Empty: all methods."
    )
    allow_networks = ArrayField(
        models.TextField(), blank=True, default=list, help_text="Never limited, such as 10.0.0.0/8."
    )
    deny_networks = ArrayField(
        models.TextField(), blank=True, default=list, help_text="Always refused, with 403."
    )
    when_store_is_away = models.TextField(choices=Away, default=Away.LOCAL)
    position = models.IntegerField(
        default=100, help_text="Where several apply to a request, the lowest is told first."
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
        """Refuse what could not be meant, with a sentence at the field."""
        faults = {
            field: sentence
            for field, sentence in (
                ("name", self._fault_of_name()),
                ("limit", self._fault_of_limit()),
                ("window_seconds", self._fault_of_window()),
                ("path_prefixes", _fault_of_prefixes(self.path_prefixes)),
                ("methods", _fault_of_methods(self.methods)),
                ("allow_networks", _fault_of_networks(self.allow_networks)),
                ("deny_networks", _fault_of_networks(self.deny_networks)),
            )
            if sentence
        }
        if faults:
            raise ValidationError(faults)

    def _fault_of_name(self) -> str:
        if re.fullmatch(r"[a-z][a-z0-9-]{0,49}", self.name or ""):
            return ""
        return "A name has up to 50 lower-case letters, digits and dashes, and begins with a letter."

    def _fault_of_limit(self) -> str:
        if not 1 <= (self.limit or 0) <= HIGHEST_LIMIT:
            return f"The limit is from 1 to {HIGHEST_LIMIT:,}. To let nobody pass, name networks to deny."
        if self.algorithm == self.Algorithm.MOVING and self.limit > HIGHEST_EXACT_LIMIT:
            return f"An exact window keeps every request: above {HIGHEST_EXACT_LIMIT:,} choose the sliding counter."
        return ""

    def _fault_of_window(self) -> str:
        if 1 <= (self.window_seconds or 0) <= LONGEST_WINDOW:
            return ""
        return f"A window has from 1 to {LONGEST_WINDOW:,} seconds."


def _fault_of_prefixes(prefixes: list[str]) -> str:
    odd = [prefix for prefix in prefixes or [] if not re.fullmatch(r"/[^\s?#]{0,200}", prefix)]
    return f"A path begins with a slash and has no blanks: {odd[0]!r} does not fit." if odd else ""


def _fault_of_methods(methods: list[str]) -> str:
    odd = [method for method in methods or [] if method not in METHODS]
    return f"{odd[0]!r} is none of the methods {', '.join(METHODS)}." if odd else ""


def _fault_of_networks(networks: list[str]) -> str:
    for network in networks or []:
        try:
            ip_network(network)
        except ValueError:
            return f"{network!r} is no network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7."
    return ""
