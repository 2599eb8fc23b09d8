from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Database


@pytest.fixture
def role(theirs: Database) -> Iterator[str]:
    """Create a role that can only log in and use the schema."""
    name = f"console_{theirs.name}"
    theirs.sql(f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA public TO {name}")
    yield name
    theirs.sql(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
