"""Generated requests checked against the API's schema: no failure, and no undocumented response."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from jobs.models import Job
from opsconsole.api.routes import api
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from ratelimits.models import Policy
from ratelimits.policies import policy_cache
from tests import people
from tests.factories import job
from tests.keys import ALL, OPERATORS, key, sent

pytestmark = pytest.mark.django_db

PROMISES = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
REFUSALS = [negative_data_rejection, missing_required_header, allow_header_conformance, unsupported_method]
EXAMPLES = 30
# Of each route for operators: there are many, and each has tests of its own for requests without a key or a scope.
EXAMPLES_FOR_OPERATORS = 6

# The schema as clients read it, from JSON.
schema = schemathesis.openapi.from_dict(json.loads(json.dumps(api.get_openapi_schema())))
schema.app = get_wsgi_application()
ROUTES = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
OTHERS = [route for route in ROUTES if not route.path.startswith("/api/operator/")]
each_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.label)
each_other_route = pytest.mark.parametrize("route", OTHERS, ids=lambda route: route.label)


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> Iterator[None]:
    """Set limits that the generator does not reach, and keep the connection open between requests."""
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    Policy.objects.update(limit=20_000)
    policy_cache.clear()
    api_keys.clear_cache()
    # Do as Django's test client does: the end of a request would close the connection of the test.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def generate(route: Any, judge: Callable[[Any], None]) -> None:
    """Send the same valid and invalid examples in each run."""
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    cases = st.one_of([route.as_strategy(generation_mode=mode) for mode in modes])
    chosen = settings(
        max_examples=EXAMPLES if route in OTHERS else EXAMPLES_FOR_OPERATORS,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    chosen(given(cases)(judge))()


@each_route
def test_key_with_all_scopes(route: Any) -> None:
    headers = sent(key(scopes=[*ALL, *OPERATORS], maker=people.operator())[1])
    # The generator does not know which rows exist.
    waiting = job()

    def judge(case: Any) -> None:
        if case.meta.generation.mode is GenerationMode.POSITIVE:
            if "job_id" in (case.path_parameters or {}):
                case.path_parameters["job_id"] = str(waiting.pk)
            if route.path == "/api/limits/check":
                case.body["policy"] = "standard"
            if route.path == "/api/limits/free":
                case.body |= {
                    "client": "check:customer-1",
                    "policy": "standard",
                    "reason": "their import is done",
                }
        case.call_and_validate(headers=headers, checks=[*PROMISES, *REFUSALS])

    generate(route, judge)


@each_other_route
def test_without_key(route: Any) -> None:
    def judge(case: Any) -> None:
        response = case.call_and_validate(checks=[*PROMISES, ignored_auth])
        assert is_public(route) or response.status_code >= 400

    generate(route, judge)
    assert not Job.objects.exists()


@each_other_route
def test_key_without_scopes(route: Any) -> None:
    headers = sent(key("nothing", [])[1])

    def judge(case: Any) -> None:
        response = case.call_and_validate(headers=headers, checks=PROMISES)
        assert is_public(route) or response.status_code >= 400

    generate(route, judge)
    assert not Job.objects.exists()


def is_public(route: Any) -> bool:
    return bool(route.path == "/api/queue/{customer_id}")


def test_every_route_is_covered() -> None:
    paths = api.get_openapi_schema()["paths"]
    assert len(ROUTES) == sum(len(methods) for methods in paths.values())
