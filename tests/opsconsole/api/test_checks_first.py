"""Checks that are answered in front of Django's handler: the same calls, asked with it and without."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import OperationalError, close_old_connections
from django.test import RequestFactory
from psycopg import OperationalError as PgOperationalError

from opsconsole import middleware
from opsconsole.api import checks_first
from opsconsole.kit import schema_version
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey, Policy
from ratelimits.policies import policy_cache
from ratelimits.records import recording
from tests import presets
from tests.keys import key, sent

pytestmark = pytest.mark.django_db

CHECK = "/api/limits/check"
ASKED = {"policy": "standard", "identity": "a"}
# What a second call finds otherwise.
COUNTED = {"remaining": 0, "reset": 0, "headers": {}}
OF_EACH_CALL = {"x-request-id", "ratelimit", "content-length"}


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    # Whether Django's handler was asked.
    by_django: bool


@pytest.fixture(autouse=True)
def _presets() -> Iterator[None]:
    api_keys.clear_cache()
    presets.write()
    # As Django's test client does: the connection of the test is kept.
    signals = request_started, request_finished
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def known() -> dict[str, str]:
    """Return the headers of a key that this process has looked up, with policies that it has read."""
    given = sent(key(scopes=["limits:check"])[1])
    remember(given)
    return given


def remember(given: dict[str, str]) -> None:
    """Let Django answer once: then key, policies and migrations are known."""
    assert ask(json.dumps(ASKED | {"identity": "(first)"}), given).by_django
    assert policy_cache.are_read()


def environ_of(body: str | bytes, given: dict[str, str], path: str = CHECK, **meta: Any) -> dict[str, Any]:
    made = RequestFactory().generic("POST", path, body, content_type="application/json", headers=given)
    return {**made.environ, "HTTP_HOST": "testserver"} | meta


def ask(body: str | bytes, given: dict[str, str], *, in_front: bool = True, **meta: Any) -> Answered:
    """Ask the application that servers run or, unless ``in_front``, Django's handler alone."""
    asked: list[bool] = []
    handler = WSGIHandler()

    def django(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(True)
        return handler(environ, start_response)

    application = checks_first.before(django) if in_front else django
    started: list[Any] = []
    environ = environ_of(body, given, **meta)
    parts = application(environ, lambda status, headers, *_: started.append((status, headers)))
    content = b"".join(parts)
    [(status, headers)] = started
    assert len(dict(headers)) == len(headers)
    return Answered(int(status[:3]), {name.lower(): value for name, value in headers}, content, bool(asked))


def both_ways(body: str | bytes, given: dict[str, str], **meta: Any) -> tuple[Answered, Answered]:
    short, long = ask(body, given, **meta), ask(body, given, in_front=False, **meta)
    assert short.status == long.status
    assert short.headers.keys() == long.headers.keys()
    assert {name: value for name, value in short.headers.items() if name not in OF_EACH_CALL} == {
        name: value for name, value in long.headers.items() if name not in OF_EACH_CALL
    }
    assert int(short.headers["content-length"]) == len(short.body)
    return short, long


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ASKED),
        json.dumps(ASKED | {"cost": 7}),
        json.dumps(ASKED).encode("utf-16"),
        json.dumps(ASKED | {"identity": "Zoë"}, ensure_ascii=False).encode(),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_decision_is_answered_without_django_as_by_it(
    known: dict[str, str], body: str | bytes, scheme: str, settings: Any
) -> None:
    settings.SECURE_HSTS_SECONDS = 60
    checks_first._headers.cache_clear()

    short, long = both_ways(body, known, **{"wsgi.url_scheme": scheme})

    assert not short.by_django
    assert short.status == 200
    assert json.loads(short.body) | COUNTED == json.loads(long.body) | COUNTED
    assert ("strict-transport-security" in short.headers) is (scheme == "https")
    assert {"content-security-policy", "x-frame-options", "x-content-type-options", "api-version"} <= set(
        short.headers
    )
    checks_first._headers.cache_clear()


def test_client_at_its_limit_gets_the_same_refusal(known: dict[str, str]) -> None:
    body = json.dumps(ASKED | {"policy": "strict", "identity": "busy"})
    for _ in range(10):
        ask(body, known)

    short, long = both_ways(body, known)

    assert not short.by_django
    answers = [json.loads(each.body) for each in (short, long)]
    assert [each["allowed"] for each in answers] == [False, False]
    assert answers[0]["body"].keys() == answers[1]["body"].keys()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 422),
        ("{", 400),
        (b"\xff\xfe\xfd", 400),
        ('{"policy": "standard", "identity": "a", "cost": NaN}', 400),
        ("{}", 422),
        (json.dumps(ASKED | {"cost": 0}), 422),
        (json.dumps(ASKED | {"costs": 1}), 422),
        (json.dumps(ASKED | {"identity": "a" * 10_000}), 422),
    ],
)
def test_malformed_call_is_left_to_django_with_its_body(
    known: dict[str, str], body: str | bytes, status: int
) -> None:
    short, long = both_ways(body, known)

    assert short.by_django
    assert short.status == status
    assert short.body == long.body


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"policy": "nothing"}, "There is no policy"),
        ({"policy": "limits-check"}, "Name a policy for your clients"),
        ({"policy": "strict", "cost": 11}, "can never be allowed"),
    ],
)
def test_what_the_route_itself_refuses_is_answered_the_same(
    known: dict[str, str], asked: dict[str, Any], sentence: str
) -> None:
    short, long = both_ways(json.dumps(ASKED | asked), known)

    assert not short.by_django
    assert short.status == 422
    assert sentence in short.body.decode()
    assert short.body == long.body


def test_exhausted_quota_is_answered_the_same_and_recorded_once(known: dict[str, str]) -> None:
    Policy.objects.filter(name="limits-check").update(limit=1)
    policy_cache.clear()
    assert ask(json.dumps(ASKED), known).by_django  # It reads the policies.
    recording.discard()

    refused = ask(json.dumps(ASKED), known)

    assert not refused.by_django
    assert refused.status == 503
    assert json.loads(refused.body)["reason"] == "check_quota"
    assert recorded() == {("limits-check", "limited"): 1}
    both_ways(json.dumps(ASKED), known)


def test_denied_address_is_answered_the_same(known: dict[str, str]) -> None:
    Policy.objects.filter(name="limits-check").update(deny_networks=["127.0.0.0/8"])
    policy_cache.clear()
    ask(json.dumps(ASKED), known)

    short, long = both_ways(json.dumps(ASKED), known)

    assert (short.by_django, short.status, short.body) == (False, 403, long.body)


def test_policy_of_the_path_limits_it_too(known: dict[str, str]) -> None:
    Policy.objects.create(name="front", limit=1, path_prefixes=["/api/limits"], key="address")
    policy_cache.clear()
    body = json.dumps(ASKED)
    assert ask(body, known).status == 200

    short, long = both_ways(body, known)

    assert (short.by_django, short.status) == (False, 429)
    assert (
        json.loads(short.body)["violated-policies"] == json.loads(long.body)["violated-policies"] == ["front"]
    )


@pytest.mark.parametrize(
    "meta",
    [
        {"HTTP_COOKIE": "theme=dark"},
        {"QUERY_STRING": "a=1"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_HOST": "evil.example"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "9" * 5_000},
        {"REQUEST_METHOD": "PUT"},
        {"PATH_INFO": f"{CHECK}/"},
        {"HTTP_AUTHORIZATION": "Bearer ock_x"},
        {"HTTP_AUTHORIZATION": ""},
    ],
)
def test_other_calls_are_left_to_django(known: dict[str, str], meta: dict[str, str]) -> None:
    short, long = both_ways(json.dumps(ASKED), known, **meta)

    assert short.by_django
    assert short.status == long.status


@pytest.mark.parametrize(
    ("meta", "in_front"),
    [
        ({"HTTP_HOST": "testserver"}, True),
        ({"HTTP_HOST": "TestServer.:8000"}, True),
        ({"HTTP_HOST": "testserver:x"}, False),
        ({"HTTP_HOST": "testserver.evil.example"}, False),
        ({"HTTP_HOST": "evil.example", "HTTP_X_FORWARDED_HOST": "testserver"}, True),
        ({"HTTP_HOST": "testserver", "HTTP_X_FORWARDED_HOST": "evil.example"}, False),
    ],
)
def test_only_allowed_hosts_are_answered(
    known: dict[str, str], meta: dict[str, str], in_front: bool, settings: Any
) -> None:
    settings.USE_X_FORWARDED_HOST = True
    for _ in range(2):
        short, _ = both_ways(json.dumps(ASKED), known, **meta)

        assert (short.by_django, short.status) == (not in_front, 200 if in_front else 400)
    settings.ALLOWED_HOSTS = ["elsewhere.example"]
    assert both_ways(json.dumps(ASKED), known, **meta)[0].status == 400


@pytest.mark.parametrize("unknown", ["key", "policies", "migrations"])
def test_what_the_database_must_be_asked_is_left_to_django(
    known: dict[str, str], unknown: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert not ask(json.dumps(ASKED), known).by_django
    if unknown == "key":
        api_keys.clear_cache()
    elif unknown == "policies":
        policy_cache.clear()
    else:
        monkeypatch.setattr(schema_version._version, "missing", None)

    assert ask(json.dumps(ASKED), known).by_django
    assert not ask(json.dumps(ASKED), known).by_django


def test_revoked_key_is_refused_at_once_by_the_process_that_revoked_it(known: dict[str, str]) -> None:
    row = ApiKey.objects.get()
    api_keys.revoke(row.pk, by="olga", reason="leaked")

    assert ask(json.dumps(ASKED), known).status == 401


@pytest.mark.parametrize("error", [OperationalError("no"), RuntimeError("unforeseen")])
def test_failure_is_answered_as_by_django(
    known: dict[str, str], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    if isinstance(error, OperationalError):
        error.__cause__ = PgOperationalError("away")
    with patch("ratelimits.api.check_quota.decide", side_effect=error):
        short, long = both_ways(json.dumps(ASKED), known)

    assert not short.by_django
    assert short.status == (503 if isinstance(error, OperationalError) else 500)
    assert short.body == long.body
    assert short.headers["content-type"] == "application/problem+json"


def test_call_is_recorded_logged_and_remembered_once(
    known: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    recording.discard()
    api_keys._cache.last_used.clear()

    with caplog.at_level(logging.INFO, "opsconsole.access"):
        answer = ask(json.dumps(ASKED), known)

    assert not answer.by_django
    [line] = [each for each in caplog.records if each.name == "opsconsole.access"]
    assert line.getMessage() == f"POST {CHECK}"
    assert line.facts["status"] == 200  # type: ignore[attr-defined]  # our own
    assert line.facts["request"] == answer.headers["x-request-id"]  # type: ignore[attr-defined]  # our own
    assert line.facts["size"] == len(answer.body)  # type: ignore[attr-defined]  # our own
    assert recorded() == {("standard", "allowed"): 1, ("limits-check", "allowed"): 1}
    assert list(api_keys._cache.last_used) == [ApiKey.objects.get().pk]


def test_path_of_a_mount_stays_as_it_was_for_django(known: dict[str, str]) -> None:
    # As servers pass it on: bytes of UTF-8, each as a character.
    mounted: dict[str, Any] = {"SCRIPT_NAME": "/\xc3\xb6ps"}

    short, long = both_ways("{", known, **mounted)

    assert short.by_django
    assert short.body == long.body
    assert not ask(json.dumps(ASKED), known, **mounted).by_django


def test_body_that_ends_too_early_is_left_to_django(known: dict[str, str]) -> None:
    class Broken(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError("the client has gone")

    answers = [
        ask(json.dumps(ASKED), known, in_front=in_front, **{"wsgi.input": Broken()})
        for in_front in (True, False)
    ]

    assert [each.status for each in answers] == [400, 400]
    assert answers[0].body == answers[1].body


def test_its_middleware_is_a_part_of_all() -> None:
    """What is left out is what a check has asked before, or what concerns pages and other routes only."""
    whole = [name for name in middleware.MIDDLEWARE if not name.startswith("whitenoise")]
    whole[whole.index("opsconsole.api.calls.CallsMiddleware") + 1 :] = middleware.OF_CALLS
    used: list[str] = []
    for names in (middleware.AROUND_CHECKS, middleware.HEADERS_OF_CHECKS, middleware.LIMITS_OF_CHECKS):
        assert [name for name in whole if name in names] == names
        used += names

    assert [name for name in whole if name not in used] == [
        "opsconsole.api.calls.CallsMiddleware",
        "opsconsole.body_length.RequestLengthMiddleware",
        "opsconsole.unavailable.NotMigratedMiddleware",
        "opsconsole.kit.request_text.PlainAddressMiddleware",
        "django.middleware.common.CommonMiddleware",
        "opsconsole.sign_in.audited.RefusalMiddleware",
        "opsconsole.database_failures.DatabaseFailureMiddleware",
    ]


def recorded() -> dict[tuple[str, str], int]:
    return {(each.policy, each.outcome): hits for each, hits in recording._pending.take().items()}
