"""The tests of the worker run twice: with the database of ``run_worker``, and with that of a worker without the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import worker_databases


@pytest.fixture(params=[worker_databases.DJANGO, worker_databases.DIRECT])
def each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """Let the test's worker use each of the two databases."""
    with worker_databases.used(request.param):
        yield
