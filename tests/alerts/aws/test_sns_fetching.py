"""What is fetched from Amazon: bounded in time and size, and never from where a redirect leads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alerts.aws import sns
from tests.alerts.web import Web, refusing, serving


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def test_a_page_is_read(web: Web) -> None:
    web.body = b"pem"
    assert sns.get(f"{web.url}/x.pem") == b"pem"


@pytest.mark.parametrize("status", [201, 302, 403, 404, 500])
def test_anything_but_200_is_for_another_time(web: Web, status: int) -> None:
    web.status, web.headers = status, {"Location": "/elsewhere"}
    with pytest.raises(sns.AmazonUnavailable, match=str(status)):
        sns.get(f"{web.url}/x.pem")
    assert web.asked == ["GET /x.pem"]


def test_a_page_without_end_is_not_read_on(web: Web) -> None:
    web.body = b"x" * (sns.LARGEST_ANSWER + 8_193)
    with pytest.raises(sns.AmazonUnavailable, match="too long or too slow"):
        sns.get(web.url)


def test_a_server_that_hangs_is_left(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns, "READ_SECONDS", 0.2)
    web.silent = True
    with pytest.raises(sns.AmazonUnavailable, match="did not answer"):
        sns.get(web.url)


def test_the_address_and_its_token_are_not_told() -> None:
    with pytest.raises(sns.AmazonUnavailable) as refusal:
        sns.get(f"{refusing()}/?Token=secret")
    assert "secret" not in str(refusal.value)
    assert refusal.value.__suppress_context__
