"""Fetching from Amazon: limits of time and size, and no redirects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alerts.aws import sns
from tests.alerts.web import Web, refusing, serving


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def test_content_is_fetched(web: Web) -> None:
    web.body = b"pem"
    assert sns.get(f"{web.url}/x.pem") == b"pem"


@pytest.mark.parametrize("status", [201, 302, 403, 404, 500])
def test_other_status_than_200_is_refused(web: Web, status: int) -> None:
    web.status, web.headers = status, {"Location": "/elsewhere"}
    with pytest.raises(sns.AmazonUnavailable, match=str(status)):
        sns.get(f"{web.url}/x.pem")
    assert web.requests == ["GET /x.pem"]


def test_endless_content_is_refused(web: Web) -> None:
    web.body = b"x" * (sns.LARGEST_ANSWER + 8_193)
    with pytest.raises(sns.AmazonUnavailable, match="too long or too slow"):
        sns.get(web.url)


def test_hanging_server_times_out(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns, "READ_SECONDS", 0.2)
    web.silent = True
    with pytest.raises(sns.AmazonUnavailable, match="did not answer"):
        sns.get(web.url)


def test_error_contains_neither_url_nor_token() -> None:
    with pytest.raises(sns.AmazonUnavailable) as refusal:
        sns.get(f"{refusing()}/?Token=secret")
    assert "secret" not in str(refusal.value)
    assert refusal.value.__suppress_context__
