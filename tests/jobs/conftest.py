from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings
    from pytest_django.plugin import DjangoDbBlocker

    from tests.databases import Database


@pytest.fixture
def theirs(settings: Settings, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """An empty database of somebody else's, for the tests that attach to one."""
    from tests import databases  # once settings are there: pytest loads this file before

    database = databases.create(settings.DATABASES["default"])
    with django_db_blocker.unblock():
        yield database
    databases.drop(database)
