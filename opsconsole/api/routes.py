"""The API: its routers, the keys they require, and what answers errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

from django.http import HttpRequest, HttpResponse
from ninja import Router

import alerts.api.routes
import jobs.api.customers
import jobs.api.producers
import jobs.api.workers
import jobs.operator_api.bulk
import jobs.operator_api.jobs
import jobs.operator_api.letter_bodies
import jobs.operator_api.letters
import jobs.operator_api.payloads
import ratelimits.api.freeing
import ratelimits.api.policies
import ratelimits.api.routes
import ratelimits.api.short_way
from opsconsole.api import description, error_answers, operators, pauses
from opsconsole.api.console_api import ConsoleAPI, StrictParser
from opsconsole.kit import job_addresses, problems
from ratelimits.api.routes import KeyHeader, KeyInBearer, OperatorKeyHeader, OperatorKeyInBearer
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from ratelimits.policies import policy_cache
from ratelimits.requests import limiting, responses
from ratelimits.requests.decorators import rate_limited

api = ConsoleAPI(
    title="Ops console",
    version=problems.VERSION,
    description=description.DESCRIPTION,
    # Both pages are ours: made once, and limited.
    docs_url=None,
    openapi_url=None,
    urls_namespace="api",
    parser=StrictParser(),
)
for error, answer in error_answers.HANDLERS.items():
    api.add_exception_handler(error, answer)

Run: TypeAlias = Callable[..., HttpResponse]


def _by_key(run: Run, *, own_quota: str = "") -> Run:
    """Count a request first of all under the policy of its key, or without a valid key under its address.

    ``own_quota``: the scope of keys whose requests the view counts itself.
    """

    @wraps(run)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        key = api_keys.counted_as(request)
        counts_itself = own_quota and key and own_quota in key.scopes
        if not counts_itself and (refusal := limiting.check_by_name(request, _policy(key))):
            return responses.refusal(refusal)
        return run(request, *args, **kwargs)

    return limited


def _policy(key: ApiKey | None) -> str:
    """Return the policy's name; a key whose policy was deleted counts under the preset, which can't be deleted."""
    if key is None:
        return "standard"
    return key.policy if key.policy in policy_cache.current().by_name else "api-key"


def _checking(run: Run) -> Run:
    return ratelimits.api.short_way.before(_by_key(run, own_quota=ratelimits.api.routes.SCOPE), api)


def _mount(router: Router, scope: str, limit: Callable[[Run], Run] = _by_key) -> None:
    """Add a router whose routes require a key with this scope, in either of the two headers."""
    router.add_decorator(limit, mode="view")
    router.add_decorator(job_addresses.from_query, mode="view")
    api.add_router("", router, auth=[KeyInBearer(scope), KeyHeader(scope)])


# First, because it is asked before each request of another service.
_mount(ratelimits.api.routes.router, ratelimits.api.routes.SCOPE, _checking)
jobs.api.customers.public.add_decorator(rate_limited("standard"), mode="view")
api.add_router("", jobs.api.customers.public)
_mount(jobs.api.producers.producers, "jobs:write")
_mount(jobs.api.workers.workers, "worker")
_mount(ratelimits.api.freeing.router, "limits:free")


def _mount_for_operators(router: Router, *scopes: str) -> None:
    """Add a router of the operator's API, whose routes require a key with one of these scopes that acts for its maker."""
    router.add_decorator(operators.say_replayed, mode="view")
    router.add_decorator(_by_key, mode="view")
    router.add_decorator(job_addresses.from_query, mode="view")
    router.add_decorator(operators.once, mode="operation")
    api.add_router("", router, auth=[OperatorKeyInBearer(*scopes), OperatorKeyHeader(*scopes)])


_mount_for_operators(jobs.operator_api.payloads.operating, "jobs:edit")
_mount_for_operators(jobs.operator_api.payloads.reading, "jobs:read", "jobs:edit")
_mount_for_operators(jobs.operator_api.jobs.operating, "jobs:operate")
_mount_for_operators(jobs.operator_api.jobs.reading, "jobs:read")
_mount_for_operators(jobs.operator_api.letters.operating, "letters:operate")
_mount_for_operators(jobs.operator_api.letters.reading, "letters:read")
_mount_for_operators(jobs.operator_api.letter_bodies.operating, "letters:edit")
_mount_for_operators(jobs.operator_api.letter_bodies.reading, "letters:read", "letters:edit")
_mount_for_operators(jobs.operator_api.bulk.operating, "jobs:operate", "letters:operate")
_mount_for_operators(
    jobs.operator_api.bulk.reading, "jobs:read", "letters:read", "jobs:operate", "letters:operate"
)
_mount_for_operators(alerts.api.routes.operating, "alerts:operate")
_mount_for_operators(alerts.api.routes.reading, "alerts:read")
_mount_for_operators(pauses.operating, "pauses:operate")
_mount_for_operators(pauses.reading, "pauses:read")
_mount_for_operators(ratelimits.api.policies.operating, "limits:operate")
_mount_for_operators(ratelimits.api.policies.reading, "limits:read")
