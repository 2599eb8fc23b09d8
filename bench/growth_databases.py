"""The databases that ``make bench-growth`` measures in turn: Django's connection goes from one to the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.cache.backends import locmem
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import Client

from bench.growth_report import Measured
from opsconsole import overview
from opsconsole.kit.postgresql.base import DatabaseWrapper


@dataclass
class Database:
    """A database of this many jobs, with a connection that stays open and somebody who is signed in."""

    rows: int
    url: str
    operations: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.url.partition("?")[0].rpartition("/")[2]
        self._connection = DatabaseWrapper(
            settings.DATABASES[DEFAULT_DB_ALIAS] | {"NAME": name}, DEFAULT_DB_ALIAS
        )
        self.client = Client()
        self.enter()
        self.client.force_login(User.objects.get(username="bench"))

    def enter(self) -> None:
        """Let Django use this database. What was cached of another one is forgotten."""
        if connections[DEFAULT_DB_ALIAS] is self._connection:
            return
        connections[DEFAULT_DB_ALIAS] = self._connection
        cache.clear()
        for name in locmem._caches:  # type: ignore[attr-defined]  # the caches of this process, by name
            locmem.LocMemCache(name, {}).clear()
        overview.memory.clear()
