"""Calls of programs pass fewer middleware, and get the same answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string

from opsconsole.api import calls
from opsconsole.api.routes import api
from opsconsole.middleware import OF_CALLS
from ratelimits.api.schemas import LimitResponse
from ratelimits.keys import api_keys
from tests import people
from tests.keys import key, sent

CHECK = "/api/limits/check"
ASKED = {"policy": "standard", "identity": "a", "cost": 1}
HEADERS = calls.HEADERS.keys() | {"X-Request-ID", "Vary", "RateLimit", "X-Frame-Options"}


@pytest.fixture(autouse=True)
def _forgotten_keys() -> None:
    api_keys.clear_cache()


def asked(path: str = CHECK, **meta: Any) -> bool:
    return calls.is_call(RequestFactory().post(path, **meta))


def test_only_what_brings_no_session_and_is_for_no_page_is_a_call(settings: Any) -> None:
    assert asked()
    assert asked("/api/nothing")
    assert not asked(HTTP_COOKIE="sessionid=1")
    assert not any(map(asked, ["/", "/admin/", "/apis/x", "/hooks/sns", *calls.PAGES]))

    settings.OPSCONSOLE_SIGN_IN_HEADER = "X-Forwarded-User"
    assert asked()
    assert not asked(HTTP_X_FORWARDED_USER="olga")


def test_every_page_below_the_api_is_named() -> None:
    assert {f"/{path}" for path in pages_below_the_api()} == calls.PAGES


def pages_below_the_api() -> Iterator[str]:
    for each in get_resolver().url_patterns:
        if isinstance(each, URLPattern) and str(each.pattern).startswith("api/"):
            yield str(each.pattern)
        elif isinstance(each, URLResolver) and str(each.pattern).startswith("api/"):
            # Below this, everything is django-ninja's.
            assert each.namespace == api.urls_namespace


def test_the_shorter_list_is_a_part_of_the_whole_one() -> None:
    follow = settings.MIDDLEWARE[settings.MIDDLEWARE.index("opsconsole.api.calls.CallsMiddleware") + 1 :]

    assert [name for name in follow if name in OF_CALLS] == OF_CALLS
    # The handler of calls does not know this hook.
    assert not [name for name in OF_CALLS if hasattr(import_string(name), "process_template_response")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", CHECK, ASKED, {}, 200),
        ("POST", CHECK, ASKED | {"cost": 0}, {}, 422),
        ("POST", CHECK, "{", {}, 400),
        ("POST", CHECK, ASKED, {"Authorization": "Bearer ock_x"}, 401),
        ("POST", CHECK, ASKED, {"Transfer-Encoding": "chunked"}, 411),
        ("POST", CHECK, ASKED, {"Host": "evil.example"}, 400),
        ("GET", CHECK, "", {}, 405),
        ("GET", "/api/nothing", "", {}, 404),
        ("GET", "/api/queue/a%00", "", {}, 400),
        ("POST", "/api/operator/limits/mode", {"mode": "off"}, {}, 403),
        ("GET", "/api/queue/a", "", {}, 200),
    ],
)
def test_both_ways_give_the_same_answer(
    client: Client, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    given = sent(key(scopes=["limits:check"])[1]) | headers
    text = body if isinstance(body, str) else json.dumps(body)
    ask: dict[str, Any] = {"data": text, "content_type": "application/json"}

    short = client.generic(method, path, headers=given, **ask)
    whole = client.generic(method, path, headers=given | {"Cookie": "theme=dark"}, **ask)

    assert short.status_code == whole.status_code == status
    if status == 200 and path == CHECK:
        # The second request finds one less left, and on a slow machine fewer seconds.
        counted = {"remaining": 0, "reset": 0, "headers": {}}
        assert short.json() | counted == whole.json() | counted
    else:
        assert short.content == whole.content
    differing = {name for name, value in whole.headers.items() if short.headers.get(name) != value}
    assert differing <= HEADERS
    assert short.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert short.headers["X-Frame-Options"] == "DENY"
    assert {"X-Request-ID", "API-Version", "X-Content-Type-Options"} <= set(short.headers)


@pytest.mark.django_db
def test_check_answers_as_described(client: Client) -> None:
    given = sent(key()[1])
    body = json.dumps(ASKED | {"policy": "strict"})
    for _ in range(10):
        client.post(CHECK, body, content_type="application/json", headers=given)
    answer = client.post(CHECK, body, content_type="application/json", headers=given)

    assert answer.json()["allowed"] is False
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert LimitResponse.model_validate_json(answer.content, strict=True).model_dump() == answer.json()


@pytest.mark.django_db
def test_pages_open_for_programs_with_a_key(client: Client) -> None:
    given = sent(key()[1])

    assert client.get("/api/docs", headers=given).status_code == 200
    assert client.get("/api/openapi.json", headers=given).status_code == 200


@pytest.mark.django_db
def test_browser_with_a_session_stays_signed_in(client: Client) -> None:
    client.force_login(people.operator())

    response = client.get("/api/queue/a")

    assert response.wsgi_request.user.is_authenticated
