"""The tests of the worker run once per way to report: ``run_worker``, a worker without the console, and one over the HTTP API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import worker_databases


@pytest.fixture(params=[worker_databases.DJANGO, worker_databases.DIRECT])
def each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """Let the test's worker use each of the two databases."""
    with worker_databases.used(request.param):
        yield


@pytest.fixture(params=[worker_databases.DJANGO, worker_databases.DIRECT, worker_databases.HTTP])
def each_way(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """Let the test's worker report in each of the three ways. The console of the last is a server of this process."""
    if request.param != worker_databases.HTTP:
        with worker_databases.used(request.param):
            yield
        return
    from tests.keys import key

    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr("opsconsole.api.unanswered.RETRY_AFTER_SECONDS", 0)
    address = request.getfixturevalue("live_server").url
    with worker_databases.used_over_http(address, key("workers", ["worker"])[1]):
        yield
