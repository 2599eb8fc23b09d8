"""Tests of the access log: a line per request, with the id that all lines about it have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from opsconsole import access_log, health
from opsconsole.access_log import AccessLogMiddleware
from opsconsole.kit import activity


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "opsconsole")
    return caplog


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = record.__dict__["facts"]
    return facts


@pytest.mark.django_db
def test_line_has_status_duration_and_size_but_no_query(log: pytest.LogCaptureFixture) -> None:
    answer = Client().get("/admin/login/?q=ada@example.com", REMOTE_ADDR="203.0.113.9")
    [record] = [each for each in log.records if each.name == "opsconsole.access"]
    assert record.getMessage() == "GET /admin/login/"
    facts = facts_of(record)
    assert (facts["status"], facts["size"], str(facts["client"])) == (200, len(answer.content), "203.0.113.9")
    assert facts["ms"] > 0
    assert facts["request"] == answer["X-Request-ID"]
    assert "ada@" not in repr(record.__dict__)


def test_lines_about_a_request_have_its_id(log: pytest.LogCaptureFixture) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        activity.done("switch changed")
        return HttpResponse()

    answer = AccessLogMiddleware(view)(RequestFactory().get("/"))
    assert [facts_of(record)["request"] for record in log.records] == [answer.headers["X-Request-ID"]] * 2


@pytest.mark.parametrize(
    ("proxies", "sent", "kept"),
    [
        (("127.0.0.1",), "abc-1", True),
        ((), "abc-1", False),
        (("127.0.0.1",), "a\nb", False),
        (("127.0.0.1",), "x" * 65, False),
    ],
)
def test_only_a_trusted_proxy_chooses_the_id(
    settings: Settings, proxies: tuple[str, ...], sent: str, kept: bool
) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", headers={"x-request-id": sent})
    answer = AccessLogMiddleware(lambda _request: HttpResponse())(request)
    assert (answer.headers["X-Request-ID"] == sent) is kept


@pytest.mark.django_db
def test_line_of_a_stream_is_written_at_its_end(log: pytest.LogCaptureFixture) -> None:
    def parts() -> Iterator[bytes]:
        yield b"abc"
        yield b"de"

    answer = AccessLogMiddleware(lambda _request: StreamingHttpResponse(parts()))(RequestFactory().get("/"))
    assert not log.records
    assert b"".join(answer) == b"abcde"
    assert not log.records
    answer.close()
    assert facts_of(log.records[0])["size"] == 5


def test_it_can_be_turned_off(settings: Settings, log: pytest.LogCaptureFixture) -> None:
    settings.OPSCONSOLE_ACCESS_LOG = False
    access_log.write("GET", "/", 200, 0.1)
    assert not log.records


@pytest.mark.django_db
def test_probes_are_quiet_and_changes_of_readiness_are_told(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    health._logged.clear()
    for words in (["ok", "ok"], ["ok", "failing"], ["ok", "failing"], ["ok", "ok"], ["ok", "ok"]):
        checks = dict(zip(["database", "sweep"], words, strict=True))
        monkeypatch.setattr(health, "_checks", lambda checks=checks: checks)
        Client().get("/readyz")
        Client().get("/healthz")
    assert [record.getMessage() for record in log.records] == ["Not ready: sweep failing.", "Ready again."]
