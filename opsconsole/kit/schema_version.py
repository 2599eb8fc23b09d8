"""Whether the database has all migrations of this code. While it lacks some, pages and workers wait."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib.util import find_spec
from pkgutil import iter_modules

from django.apps import apps
from django.db import DatabaseError, Error, ProgrammingError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from psycopg.errors import InsufficientPrivilege

from opsconsole.kit.counting import exactly

LOOK_SECONDS = 1.0
MOST_NAMED = 5
MIGRATE = "Run migrate (with OPSCONSOLE_OWNER_DATABASE_URL where the tables have another owner), and wait for its end."


class NotMigrated(DatabaseError):
    """The database lacks migrations of this code. Loops treat it like an outage, and go on when ``migrate`` has run."""


class _Version:
    """What this process last saw. A database that was migrated is not looked at again."""

    def __init__(self) -> None:
        self.required: frozenset[tuple[str, str]] | None = None
        self.missing: bool | None = None
        self.looked_at = 0.0


_version = _Version()


def is_behind() -> bool:
    """Tell whether migrations of this code are missing. Raise ``django.db.Error`` when the database does not answer."""
    if _version.missing is not False and _is_due():
        _version.missing = not required() <= _applied()
        _version.looked_at = time.monotonic()
    return bool(_version.missing)


def is_seen_current() -> bool:
    """Tell whether the database was seen to lack nothing. ``is_behind`` then asks it no more."""
    return _version.missing is False


def ask_before_forks() -> None:
    """Ask, if the database answers: what the first connection and question make is then made once, and not in each fork."""
    with suppress(Error):
        is_behind()


def missing() -> list[str]:
    """Return the migrations of this code that are not applied. Look now, whatever was seen before."""
    return sorted(f"{app}.{name}" for app, name in required() - _applied())


def lacking() -> str:
    """Return which migrations are not applied, without the full stop; '' where all are."""
    found = missing()
    named = ", ".join(found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")
    return f"{exactly(len(found), 'migration')} not applied: {named}" if found else ""


def require() -> None:
    """Raise ``NotMigrated`` while migrations are missing."""
    if is_behind():
        raise NotMigrated("run python manage.py migrate, or wait until it has finished")


def look_again() -> None:
    """Look at the database again at the next question: a statement named something that it does not have."""
    _version.missing = None


def _is_due() -> bool:
    return _version.missing is None or time.monotonic() - _version.looked_at >= LOOK_SECONDS


def _applied() -> set[tuple[str, str]]:
    """Return the applied migrations; none where the role may not read them yet: ``migrate`` grants that last."""
    try:
        return set(MigrationRecorder(connection).applied_migrations())
    except ProgrammingError as error:
        if isinstance(error.__cause__, InsufficientPrivilege):
            return set()
        raise


def required() -> frozenset[tuple[str, str]]:
    """Return the migrations of this code, as (app, name)."""
    if _version.required is None:
        _version.required = frozenset(
            (app.label, name) for app in apps.get_app_configs() for name in _names(app.label)
        )
    return _version.required


def _names(label: str) -> list[str]:
    """Return the names of an app's migrations. Django's loader would import them all, which takes 9 MB in each process."""
    module, _ = MigrationLoader.migrations_module(label)
    spec = find_spec(module) if module else None
    folders = spec.submodule_search_locations if spec and spec.origin else None
    return [each.name for each in iter_modules(folders or []) if not each.ispkg and each.name[0] not in "_~"]
