"""The checking route answers by its short way as django-ninja would: the same calls, asked both ways."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.http import UnreadablePostError
from django.test import Client
from ninja.operation import Operation
from psycopg import OperationalError as PgOperationalError
from psycopg.errors import UndefinedTable

from ratelimits.api import short_way
from ratelimits.keys import api_keys
from ratelimits.models import Policy
from ratelimits.policies import policy_cache
from tests import presets
from tests.keys import key, sent

pytestmark = pytest.mark.django_db

CHECK = "/api/limits/check"
ASKED = {"policy": "standard", "identity": "a"}
# What a second call finds otherwise.
COUNTED = {"remaining": 0, "reset": 0, "headers": {}}


@pytest.fixture(autouse=True)
def _presets() -> None:
    api_keys.clear_cache()
    presets.write()


def ask(client: Client, body: str | bytes, headers: dict[str, str]) -> Any:
    return client.generic("POST", CHECK, body, content_type="application/json", headers=headers)


def by_django_ninja(client: Client, body: str | bytes, headers: dict[str, str]) -> Any:
    """Ask as if the short way found something wrong with every call."""
    with patch.object(short_way, "well_formed", return_value=None):
        return ask(client, body, headers)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps(ASKED), 200),
        (json.dumps(ASKED | {"cost": 7}), 200),
        (json.dumps(ASKED).encode("utf-16"), 200),
        (json.dumps(ASKED | {"identity": "Zoë"}, ensure_ascii=False).encode(), 200),
        ("", 422),
        ("{", 400),
        (b"\xff\xfe\xfd", 400),
        ("[]", 422),
        ("null", 422),
        ('"standard"', 422),
        ('{"policy": "standard", "identity": "a", "cost": NaN}', 400),
        (f'{{"policy": "standard", "identity": {"[" * 101}{"]" * 101}}}', 422),
        ("{}", 422),
        (json.dumps(ASKED | {"policy": ""}), 422),
        (json.dumps(ASKED | {"policy": 7}), 422),
        (json.dumps(ASKED | {"policy": "x" * 51}), 422),
        (json.dumps(ASKED | {"identity": "a\0b"}), 422),
        (json.dumps(ASKED | {"identity": "\ud800"}), 422),
        (json.dumps(ASKED | {"cost": "1"}), 422),
        (json.dumps(ASKED | {"cost": 1.0}), 422),
        (json.dumps(ASKED | {"cost": 0}), 422),
        (json.dumps(ASKED | {"cost": 1_001}), 422),
        (json.dumps(ASKED | {"costs": 1}), 422),
        # What the route itself refuses.
        (json.dumps(ASKED | {"policy": "nothing"}), 422),
        (json.dumps(ASKED | {"policy": "limits-check"}), 422),
        (json.dumps(ASKED | {"policy": "strict", "cost": 11}), 422),
    ],
)
def test_call_is_answered_as_by_django_ninja(client: Client, body: str | bytes, status: int) -> None:
    given = sent(key(scopes=["limits:check"])[1])

    short, long = ask(client, body, given), by_django_ninja(client, body, given)

    assert short.status_code == long.status_code == status
    if status == 200:
        assert json.loads(short.content) | COUNTED == json.loads(long.content) | COUNTED
    else:
        assert short.content == long.content
    own = {"X-Request-ID", "RateLimit", "Content-Length"}
    assert {name: value for name, value in short.headers.items() if name not in own} == {
        name: value for name, value in long.headers.items() if name not in own
    }
    assert short.headers.keys() == long.headers.keys()


@pytest.mark.parametrize("scopes", [None, [], ["worker"]])
def test_key_is_asked_as_by_django_ninja(client: Client, scopes: list[str] | None) -> None:
    given = {} if scopes is None else sent(key(scopes=scopes)[1])

    short, long = (way(client, json.dumps(ASKED), given) for way in (ask, by_django_ninja))

    assert short.status_code == long.status_code == (401 if scopes is None else 403)
    assert short.content == long.content


def test_exhausted_quota_is_answered_as_by_django_ninja(client: Client) -> None:
    Policy.objects.filter(name="limits-check").update(limit=1)
    policy_cache.clear()
    given = sent(key(scopes=["limits:check"])[1])
    ask(client, json.dumps(ASKED), given)

    short, long = (way(client, json.dumps(ASKED), given) for way in (ask, by_django_ninja))

    assert short.status_code == long.status_code == 503
    same = {"retryAfter": 0, "detail": ""}
    assert json.loads(short.content) | same == json.loads(long.content) | same
    assert short.headers.keys() == long.headers.keys()


def test_body_that_ends_too_early_is_answered_as_by_django_ninja(client: Client) -> None:
    given = sent(key(scopes=["limits:check"])[1])
    gone = UnreadablePostError("the client has gone")

    with patch("django.http.request.HttpRequest.read", side_effect=gone):
        short = ask(client, json.dumps(ASKED), given)
        long = by_django_ninja(client, json.dumps(ASKED), given)

    assert short.status_code == long.status_code == 400
    assert short.content == long.content


def test_body_that_is_too_large_is_answered_as_by_django_ninja(client: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    given = sent(key(scopes=["limits:check"])[1])
    body = json.dumps(ASKED | {"identity": "a" * 100})

    short, long = ask(client, body, given), by_django_ninja(client, body, given)

    assert short.status_code == long.status_code == 413
    assert short.content == long.content


def test_well_formed_call_needs_no_django_ninja(client: Client) -> None:
    given = sent(key(scopes=["limits:check"])[1])

    with patch.object(Operation, "_run_checks", side_effect=AssertionError("asked")):
        assert ask(client, json.dumps(ASKED), given).status_code == 200


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ProgrammingError])
def test_failure_of_the_database_is_answered_as_by_django_ninja(
    client: Client, error: type[Exception]
) -> None:
    given = sent(key(scopes=["limits:check"])[1])
    cause = UndefinedTable("it was dropped") if error is ProgrammingError else PgOperationalError("away")
    failed = error("no")
    failed.__cause__ = cause
    client.raise_request_exception = False

    with patch("ratelimits.api.check_quota.decide", side_effect=failed):
        short, long = (way(client, json.dumps(ASKED), given) for way in (ask, by_django_ninja))

    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert short.headers.keys() == long.headers.keys()
