"""Tests of the whole API: permissions, error documents, and its own schema."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client
from django.utils.html import escape

from jobs.intake import queue_position
from jobs.models import Job, WorkerHeartbeat
from opsconsole.api.routes import api
from opsconsole_worker.environment import QueueConfig
from ratelimits.engine import store
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey, Policy, RateLimitRequest
from ratelimits.models.api_key import Scope
from ratelimits.policies import policy_cache
from ratelimits.records import recording
from tests import people
from tests.keys import ALL, OPERATORS, key, sent

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


def document(client: Client) -> Any:
    response = client.get("/api/openapi.json")
    assert response.status_code == 200
    return response.json()


def routes(client: Client) -> list[tuple[str, str, Any]]:
    return [
        (method, path, operation)
        for path, methods in document(client)["paths"].items()
        for method, operation in methods.items()
    ]


OPERATOR = "/api/operator/"
CHANGE = {"reason": "for the tests", "version": "0" * 32}
# The bodies of changes that ask for more.
BODIES: dict[str, dict[str, Any]] = {
    "/api/operator/jobs/{job_id}/edit": CHANGE | {"payload": "{}"},
    "/api/operator/letters/{letter_id}/edit": CHANGE | {"body": "{}"},
    "/api/operator/bulk": {"action": "requeue", "all": True},
    "/api/operator/alerts/{alert_id}/snooze": CHANGE | {"minutes": 5},
    "/api/operator/pauses/begin": CHANGE | {"name": "recovery"},
    "/api/operator/pauses/end": CHANGE | {"name": "recovery"},
    "/api/operator/limits/policies/{policy}": CHANGE | {"fields": {"limit": 5}},
    "/api/operator/limits/mode": CHANGE | {"mode": "off"},
}
PARAMETERS = {
    "job_id": uuid4(),
    "letter_id": uuid4(),
    "customer_id": "TEST-001",
    "alert_id": 1,
    "number": 1,
    "policy": "x",
}


def call(client: Client, method: str, path: str, **options: Any) -> Any:
    url = path.format(**PARAMETERS)
    return client.generic(method.upper(), url, "{}", content_type="application/json", **options)


def is_problem(response: Any, status: int) -> bool:
    problem = response.json()
    return bool(
        response.status_code == problem["status"] == status
        and response.headers["Content-Type"] == "application/problem+json"
        and problem["title"]
        and problem["detail"].endswith(".")
    )


def test_document_names_every_route(client: Client) -> None:
    assert {(method, path) for method, path, _ in routes(client) if not path.startswith(OPERATOR)} == {
        ("get", "/api/queue/{customer_id}"),
        ("post", "/api/jobs"),
        ("post", "/api/jobs/{job_id}/claim"),
        ("post", "/api/jobs/{job_id}/beat"),
        ("post", "/api/jobs/{job_id}/progress"),
        ("post", "/api/jobs/{job_id}/percent"),
        ("post", "/api/jobs/{job_id}/complete"),
        ("post", "/api/jobs/{job_id}/fail"),
        ("post", "/api/jobs/{job_id}/put-off"),
        ("post", "/api/jobs/{job_id}/give-back"),
        ("post", "/api/workers/beat"),
        ("post", "/api/workers/leave"),
        ("post", "/api/limits/check"),
        ("post", "/api/limits/free"),
    }
    assert document(client)["info"]["version"] == "1.0"


def test_every_route_except_customer_page_requires_key(client: Client) -> None:
    for method, path, operation in routes(client):
        response = call(client, method, path)
        if path.startswith("/api/queue/"):
            assert response.status_code == 200
            assert "security" not in operation
            continue
        kind = "Operator" if path.startswith(OPERATOR) else ""
        assert operation["security"] == [{f"{kind}KeyInBearer": []}, {f"{kind}KeyHeader": []}]
        assert is_problem(response, 401), path
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_key_without_the_scope_is_refused(client: Client) -> None:
    headers = sent(key("nothing", [])[1])
    for method, path, operation in routes(client):
        if "security" in operation:
            response = call(client, method, path, headers=headers)
            assert is_problem(response, 403), path
            assert response.json()["reason"] == "scope"
    assert not Job.objects.exists()


# The routes of each scope, by the beginning of their path (of the operator's API with their method): a new one fails until it
# stands here.
SCOPES: dict[str, set[str]] = {
    "post /api/jobs": {"jobs:write"},
    "post /api/jobs/": {"worker"},
    "post /api/workers/": {"worker"},
    "post /api/limits/check": {"limits:check"},
    "post /api/limits/free": {"limits:free"},
    "get /api/operator/jobs": {"jobs:read"},
    "post /api/operator/jobs/": {"jobs:operate"},
    "get /api/operator/jobs/{job_id}/payload": {"jobs:read", "jobs:edit"},
    "post /api/operator/jobs/{job_id}/edit": {"jobs:edit"},
    "get /api/operator/letters": {"letters:read"},
    "post /api/operator/letters/": {"letters:operate"},
    "get /api/operator/letters/{letter_id}/body": {"letters:read", "letters:edit"},
    "post /api/operator/letters/{letter_id}/edit": {"letters:edit"},
    "get /api/operator/bulk": {"jobs:read", "jobs:operate", "letters:read", "letters:operate"},
    "post /api/operator/bulk": {"jobs:operate", "letters:operate"},
    "get /api/operator/alerts": {"alerts:read"},
    "post /api/operator/alerts/": {"alerts:operate"},
    "get /api/operator/pauses": {"pauses:read"},
    "post /api/operator/pauses/": {"pauses:operate"},
    "get /api/operator/limits": {"limits:read"},
    "post /api/operator/limits/": {"limits:operate"},
}
OTHER_METHODS = ("put", "delete", "patch")


def scopes_of(method: str, path: str) -> set[str]:
    asked = f"{method} {path}"
    return SCOPES[max((begin for begin in SCOPES if asked.startswith(begin)), key=len)]


def test_answer_to_a_key_that_is_not_valid_differs_from_that_to_none(client: Client) -> None:
    row, text = key("shop", ["jobs:write"])
    api_keys.revoke(row.pk, by="ada", reason="no longer used")
    for headers in (sent(text), sent("mistyped"), {"X-API-Key": text}):
        assert "is not valid" in call(client, "post", "/api/jobs", headers=headers).json()["detail"], headers
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        assert "requires an API key" in call(client, "post", "/api/jobs", headers=headers).json()["detail"]


def test_each_scope_opens_its_routes_and_no_other(client: Client) -> None:
    """Ask every route with a session, with keys that have only its scope, with one of all others, and with other methods."""
    maker, every = people.operator(), [*ALL, *OPERATORS]
    only = {scope: sent(key(scope, [scope], maker=maker)[1]) for scope in every}
    assert set(every) == set(Scope.values)
    client.force_login(maker)
    for method, path, operation in routes(client):
        if "security" not in operation:
            assert path.startswith("/api/queue/"), path
            continue
        opening = scopes_of(method, path)
        assert call(client, method, path).status_code == 401, path
        for scope in opening:
            status = call(client, method, path, headers=only[scope]).status_code
            # The routes that need two scopes.
            read = {403} if path.endswith(("/payload", "/body")) else {200, 404}
            assert status in ({422} if method == "post" else read), (path, scope, status)
        others = key(f"not for {method} {path}", [each for each in every if each not in opening], maker=maker)
        assert call(client, method, path, headers=sent(others[1])).status_code == 403, path
        for other in OTHER_METHODS:
            assert call(client, other, path, headers=only[min(opening)]).status_code == 405, (other, path)
    assert not Job.objects.exists() and not WorkerHeartbeat.objects.exists()


def test_key_of_a_viewer_changes_nothing(client: Client) -> None:
    """A viewer can't make a key that operates. One whose maker became a viewer reads, and is refused all changes."""
    maker = people.operator("otto")
    text = key("deploys", OPERATORS, maker=maker)[1]
    with pytest.raises(api_keys.KeyRefused, match="may not do what the scope 'jobs:operate' allows"):
        key("of a viewer", ["jobs:operate"], maker=people.viewer())
    User.objects.filter(pk=maker.pk).update(is_superuser=False)
    maker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    for method, path, _ in routes(client):
        if not path.startswith(OPERATOR):
            continue
        response = client.generic(
            method.upper(),
            path.format(**PARAMETERS),
            json.dumps(BODIES.get(path, CHANGE)),
            content_type="application/json",
            headers=sent(text),
        )
        if path.startswith("/api/operator/bulk/{"):
            # What it needs depends on the operation: tests/jobs/operator_api/test_bulk.py.
            assert response.status_code in {404, 422}, path
        elif method == "post":
            assert is_problem(response, 403), (path, response.content)
            assert response.json()["reason"] == "permission"
        else:
            assert response.status_code in {200, 404}, path


def test_existing_keys_gain_nothing(client: Client) -> None:
    """A row from before has no maker and no permissions, whatever its scopes say."""
    made, text = key("old", ALL)
    ApiKey.objects.filter(pk=made.pk).update(scopes=[*ALL, *OPERATORS])
    assert (made.maker, made.permissions) == (None, [])
    for method, path, _ in routes(client):
        if path.startswith(OPERATOR):
            response = call(client, method, path, headers=sent(text))
            assert is_problem(response, 403), path
            assert response.json()["reason"] == "maker"


def test_revoked_key_is_refused(client: Client) -> None:
    made, text = key()
    assert call(client, "post", "/api/jobs", headers=sent(text)).status_code == 422

    api_keys.revoke(made.pk, by="olga", reason="leaked")

    assert is_problem(call(client, "post", "/api/jobs", headers=sent(text)), 401)


def test_session_grants_no_api_access(client: Client) -> None:
    client.force_login(people.operator())

    assert is_problem(call(client, "post", "/api/jobs"), 401)


def test_key_needs_no_csrf_token() -> None:
    strict = Client(enforce_csrf_checks=True)

    assert call(strict, "post", "/api/jobs", headers=sent(key()[1])).status_code == 422


def test_responses_are_not_cached_and_have_version(client: Client) -> None:
    for path in ("/api/queue/TEST-001", "/api/nothing", "/api/openapi.json", "/api/docs"):
        response = client.get(path)
        assert response.headers["Cache-Control"] == "no-store", path
        assert response.headers["API-Version"] == "1.0"


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api/queue/", "/api/jobs/not-a-uuid/claim", "/api/v2/jobs"]
)
def test_unknown_url_is_a_problem_document(client: Client, path: str) -> None:
    assert is_problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/jobs", "POST"),
        ("DELETE", "/api/queue/a", "GET, HEAD"),
        ("POST", "/api/docs", "GET, HEAD"),
    ],
)
def test_wrong_method_is_a_problem_document(client: Client, method: str, path: str, allowed: str) -> None:
    response = client.generic(method, path)

    assert is_problem(response, 405)
    assert response.headers["Allow"] == allowed


def test_head_is_answered_like_get(client: Client) -> None:
    """Programs that only ask whether something is there, such as probes and link checkers, send it."""
    for path in ("/api/queue/nobody", "/api/operator/jobs", "/api/nothing", "/api/openapi.json"):
        get, head = client.get(path), client.head(path)
        assert (head.status_code, head["Content-Type"]) == (get.status_code, get["Content-Type"]), path
        assert head.content == b""
    assert is_problem(client.generic("POST", "/api/queue/nobody"), 405)
    assert client.head("/api/jobs").headers["Allow"] == "POST"


def test_server_error_is_a_problem_document_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def fails(_: str) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(queue_position, "of_customer", fails)
    client.raise_request_exception = False

    response = client.get("/api/queue/a")

    assert is_problem(response, 500)
    assert "hunter2" not in response.content.decode()


def test_database_outage_is_a_problem_document(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Any) -> Any:
        raise OperationalError("could not connect to 10.0.0.7")

    monkeypatch.setattr(queue_position, "of_customer", away)
    response = client.get("/api/queue/a")

    assert is_problem(response, 503)
    assert response.headers["Retry-After"] == "5"
    assert "10.0.0.7" not in response.content.decode()

    monkeypatch.setattr(api_keys, "_look_up", away)
    assert is_problem(call(client, "post", "/api/jobs", headers=sent(key()[1])), 503)


def test_unknown_host_is_a_problem_document(client: Client) -> None:
    assert is_problem(client.get("/api/queue/a", headers={"Host": "evil.example"}), 400)


def test_pages_outside_of_the_api_keep_their_errors(client: Client) -> None:
    response = client.get("/nothing")

    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")
    assert "API-Version" not in response.headers


def test_every_answer_is_documented_as_a_problem(client: Client) -> None:
    for _, path, operation in routes(client):
        statuses = set(operation["responses"])
        assert {"429", "500", "503"} <= statuses, path
        assert ("401" in statuses) == ("403" in statuses) == ("security" in operation)
        assert ("413" in statuses) == ("requestBody" in operation)
        assert ("422" in statuses) == ("requestBody" in operation or path.startswith(OPERATOR))
        for status, response in operation["responses"].items():
            assert {"RateLimit", "RateLimit-Policy"} <= set(response["headers"])
            if status >= "4":
                assert list(response["content"]) == ["application/problem+json"]
        assert operation["summary"]


def test_whatever_a_caller_sends_has_a_meaning_in_the_reference(client: Client) -> None:
    """For each parameter and each field of a body, nested ones too."""
    described = document(client)
    bodies = [
        schema
        for name, schema in described["components"]["schemas"].items()
        if name.endswith("Request")
        or any(f"/{name}" in json.dumps(each.get("requestBody", {})) for _, _, each in routes(client))
    ]
    fields = [field for body in bodies for field in body.get("properties", {}).items()]
    parameters = [
        (each["name"], each) for _, _, operation in routes(client) for each in operation["parameters"]
    ]

    assert len(bodies) > 15
    assert [name for name, each in [*fields, *parameters] if not each.get("description")] == []


def test_reference_lists_the_values_that_a_field_may_have(client: Client) -> None:
    page = client.get("/api/docs").content.decode()

    assert "&quot;enforce&quot;, &quot;shadow&quot; or &quot;off&quot;" in page


@pytest.mark.parametrize("who", ["stranger", "operator"])
def test_reference_page_shows_every_route(client: Client, who: str) -> None:
    if who == "operator":
        client.force_login(people.operator())
    assert client.get("/api/").headers["Location"] == "/api/docs"

    page = client.get("/api/docs").content.decode()

    folded = {
        (method, path): summary
        for method, path, summary in re.findall(
            r'<summary><h3><span class="method">(\w+)</span> <code>([^<]+)</code></h3> <span>([^<]+)</span></summary>',
            page,
        )
    }
    for method, path, operation in routes(client):
        assert folded[method.upper(), path] == escape(operation["summary"])
    assert ("Change password" in page) == (who == "operator")
    assert "`Retry-After`" not in page and "<code>Retry-After</code> says" in page
    # A sample is a job that can be: one that waits has a position, and has not begun.
    assert escape('"position": 3,\n      "position_over": null') in page
    assert json.dumps("5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901").strip('"') in page
    for inline in ("<style", " style=", "<script>", " onclick="):
        assert inline not in page


# --- limits ---


def limit(name: str, most: int, **fields: Any) -> None:
    """Set a policy of this name and limit, effective now."""
    Policy.objects.update_or_create(name=name, defaults={"limit": most, "window_seconds": 60} | fields)
    policy_cache.clear()


def statuses(times: int, method: str, path: str, **options: Any) -> list[int]:
    return [call(Client(), method, path, **options).status_code for _ in range(times)]


def test_customers_page_is_limited_by_address() -> None:
    limit("standard", 3)

    assert statuses(5, "get", "/api/queue/a") == [200, 200, 200, 429, 429]
    assert statuses(1, "get", "/api/queue/other", REMOTE_ADDR="203.0.113.7") == [200]


def test_invented_keys_do_not_raise_the_limit() -> None:
    limit("standard", 3)
    made_up = [sent(f"ock_{number:040}") for number in range(5)]

    assert [statuses(1, "post", "/api/jobs", headers=each)[0] for each in made_up] == [401] * 3 + [429] * 2


def test_key_counts_under_its_own_policy(client: Client) -> None:
    limit("standard", 1)
    limit("partners", 3, key="api_key")
    text = key("partner", policy="partners")[1]

    assert statuses(4, "post", "/api/jobs", headers=sent(text)) == [422, 422, 422, 429]
    assert statuses(1, "post", "/api/jobs", headers=sent(key("other", policy="partners")[1])) == [422]
    # A request from another address counts for the same key.
    refused = call(client, "post", "/api/jobs", headers=sent(text), REMOTE_ADDR="203.0.113.7")
    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["partners"]


def test_key_whose_policy_was_deleted_counts_under_the_preset(client: Client) -> None:
    text = key("partner", policy="gone")[1]

    response = call(client, "post", "/api/jobs", headers=sent(text))

    assert response.headers["RateLimit-Policy"] == '"api-key";q=10000;w=3600'


def test_limited_response_matches_contract(client: Client) -> None:
    limit("standard", 1)
    statuses(1, "get", "/api/queue/a")

    refused = client.get("/api/queue/a")

    seconds = int(refused.headers["Retry-After"])
    assert 1 <= seconds <= 61
    assert refused.headers["RateLimit"] == f'"standard";r=0;t={seconds}'
    assert refused.headers["RateLimit-Policy"] == '"standard";q=1;w=60'
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.headers["Content-Type"] == "application/problem+json"
    told = refused.json()
    assert told["error"] == "Too many requests"
    assert told["message"] == "Rate limit exceeded. Max 1 requests per 60s"
    assert told["retryAfter"] == seconds
    assert told["status"] == 429


def test_every_limited_answer_states_the_remaining_requests(client: Client) -> None:
    assert client.get("/api/queue/a").headers["RateLimit"].startswith('"standard";r=99;t=')
    assert call(client, "post", "/api/jobs").headers["RateLimit"].startswith('"standard";r=98;t=')
    assert client.get("/api/docs").headers["RateLimit"].startswith('"standard";r=97;t=')
    assert client.get("/api/openapi.json").headers["RateLimit"].startswith('"standard";r=96;t=')


def test_unknown_address_and_wrong_method_count_like_other_requests() -> None:
    limit("standard", 4)

    asked = [
        ("get", "/api/nothing"),
        ("delete", "/api/queue/a"),
        ("post", "/api/docs"),
        ("put", "/api/openapi.json"),
    ]
    assert [statuses(1, method, path)[0] for method, path in asked] == [404, 405, 405, 405]
    assert [statuses(1, method, path)[0] for method, path in asked] == [429] * 4
    assert statuses(1, "get", "/api/queue/a") == [429]
    # A valid key counts as itself.
    assert statuses(5, "get", "/api/nothing", headers=sent(key()[1])) == [404] * 4 + [429]


def test_description_is_made_once_and_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    limit("standard", 4)
    first = [client.get(path).content for path in ("/api/openapi.json", "/api/docs")]

    def fail(**_: Any) -> None:
        raise AssertionError("the description was made again")

    monkeypatch.setattr(api, "get_openapi_schema", fail)
    assert [client.get(path).content for path in ("/api/openapi.json", "/api/docs")] == first
    assert client.get("/api/docs").status_code == 429


def check(client: Client, text: str, **asked: Any) -> Any:
    body = json.dumps({"policy": "standard", "identity": "address:203.0.113.7"} | asked)
    return client.post("/api/limits/check", body, content_type="application/json", headers=sent(text))


def test_another_service_gets_the_decision_the_headers_and_the_body(client: Client) -> None:
    limit("standard", 2)
    text = key()[1]

    first, second, third = (check(client, text).json() for _ in range(3))

    assert (first["allowed"], first["status"], first["remaining"], first["body"]) == (True, 200, 1, None)
    assert first["headers"]["RateLimit-Policy"] == '"standard";q=2;w=60'
    assert (second["allowed"], second["remaining"]) == (True, 0)
    assert (third["allowed"], third["status"]) == (False, 429)
    assert third["retry_after"] == third["body"]["retryAfter"] == int(third["headers"]["Retry-After"])
    assert third["body"]["error"] == "Too many requests"


def test_external_clients_are_separate_from_console_clients(client: Client) -> None:
    limit("standard", 1)
    text = key()[1]
    for _ in range(3):
        check(client, text, identity="address:127.0.0.1")

    assert statuses(2, "get", "/api/queue/a") == [200, 429]
    # Two services share the limit of one client.
    assert not check(client, key("crm")[1], identity="address:127.0.0.1").json()["allowed"]


def test_checks_have_a_quota_of_their_own(client: Client) -> None:
    """Before, refused checks used up the key's ordinary quota, and one client could make everybody pass."""
    limit("standard", 2)
    limit("partners", 1, key="api_key")
    limit("limits-check", 3, key="api_key")
    text = key(policy="partners")[1]

    answers = [check(client, text) for _ in range(5)]

    assert [answer.json()["allowed"] for answer in answers] == [True, True, False, False, False]
    assert answers[0].headers["RateLimit"].startswith('"limits-check";r=2;')
    # Refused clients cost nothing, so one more client is decided.
    assert check(client, text, identity="b").json()["allowed"]
    assert check(client, text).json()["allowed"] is False
    assert statuses(2, "post", "/api/jobs", headers=sent(text)) == [422, 429]


def test_key_without_quota_gets_an_answer_that_is_no_refusal_of_the_client(client: Client) -> None:
    limit("standard", 5)
    limit("limits-check", 3, key="api_key")
    text = key()[1]
    for _ in range(2):
        check(client, text)
    check(client, text, identity="b")

    for _ in range(2):
        answer = check(client, text)
        seconds = int(answer.headers["Retry-After"])
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert "RateLimit" not in answer.headers and "RateLimit-Policy" not in answer.headers
        told = answer.json()
        assert (told["type"], told["reason"]) == ("urn:opsconsole:check-quota-exceeded", "check_quota")
        assert told["retryAfter"] == seconds and 1 <= seconds <= 61
        assert told["client"] == {"policy": "standard", "limit": 5, "window": 60, "remaining": 3}
    # Nothing was counted for the client. Other keys have a quota of their own.
    other = key("crm")[1]
    assert check(client, other).json()["remaining"] == 2
    assert check(client, text).json()["client"]["remaining"] == 2
    # What is known about a client is told, whatever the key's quota.
    assert [check(client, other).json()["allowed"] for _ in range(2)] == [True, True]
    assert check(client, text).json()["client"]["remaining"] == 0


def test_networks_of_the_quota_hold(client: Client) -> None:
    limit("limits-check", 1, key="api_key", allow_networks=["127.0.0.0/8"])
    text = key()[1]
    assert [check(client, text).status_code for _ in range(3)] == [200] * 3
    limit("limits-check", 1, key="api_key", allow_networks=[], deny_networks=["127.0.0.0/8"])
    assert check(client, text).json()["reason"] == "denied_address"


def test_quota_of_keys_is_no_policy_for_clients(client: Client) -> None:
    assert is_problem(check(client, key()[1], policy="limits-check"), 422)


def test_key_without_the_scope_counts_under_its_own_policy(client: Client) -> None:
    limit("partners", 1, key="api_key")
    text = key(scopes=["worker"], policy="partners")[1]

    assert [check(client, text).status_code for _ in range(2)] == [403, 429]


def test_request_with_a_cost_counts_as_several(client: Client) -> None:
    limit("standard", 10)
    text = key()[1]

    assert check(client, text, cost=8).json()["remaining"] == 2
    assert not check(client, text, cost=3).json()["allowed"]
    assert check(client, text, cost=2).json()["allowed"]


def test_cost_above_the_limit_is_a_mistake_and_not_a_refusal(client: Client) -> None:
    limit("standard", 10)

    refusal = check(client, key()[1], cost=11)

    assert is_problem(refusal, 422)
    assert refusal.json()["detail"] == (
        "A request with a cost of 11 can never be allowed: the limit of the policy 'standard' is 10."
    )


@pytest.mark.parametrize(
    "asked",
    [{"policy": "fast"}, {"policy": ""}, {"identity": ""}, {"identity": "a\0b"}, {"cost": 0}, {"cost": 1.5}],
)
def test_uncheckable_request_is_refused(client: Client, asked: dict[str, Any]) -> None:
    assert is_problem(check(client, key()[1], **asked), 422)


def test_checks_by_other_services_are_recorded(client: Client) -> None:
    recording.discard()
    limit("standard", 1)
    text = key()[1]
    for _ in range(3):
        check(client, text)
    recording.flush()

    found = RateLimitRequest.objects.filter(key="check:address:203.0.113.7")
    assert dict(found.values_list("outcome", "hits")) == {"allowed": 1, "limited": 2}


def test_store_outage_is_reported(client: Client, settings: Any) -> None:
    settings.OPSCONSOLE_RATE_LIMIT_STORE = "redis://127.0.0.1:1/0"
    store.reset()

    answer = check(client, key()[1])

    assert answer.status_code == 200
    assert answer.json()["degraded"]
