"""The API: its routers, the keys they require, its error responses and its reference page."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any, TypeAlias

from django.contrib import admin
from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, set_script_prefix
from django.views.decorators.http import require_safe
from ninja import NinjaAPI, Router
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.responses import NinjaJSONEncoder

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
from opsconsole import unavailable
from opsconsole.api import description, operators, pauses, unanswered
from opsconsole.database_failures import kept_by
from opsconsole.kit import job_addresses, problems
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.problems import Problem
from opsconsole.kit.storable import DEEPEST, KeyTwice, each_key_once, is_too_deep
from opsconsole_worker import refusals
from ratelimits.api.routes import KeyHeader, KeyInBearer, OperatorKeyHeader, OperatorKeyInBearer
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from ratelimits.policies import policy_cache
from ratelimits.requests import limiting, responses
from ratelimits.requests.decorators import rate_limited

logger = logging.getLogger("opsconsole.api.routes")
NO_KEY = "This route requires an API key: Authorization: Bearer ock_..."
# It does not say which: whoever guesses keys learns nothing.
NOT_VALID = "The API key that was sent is not valid: it is mistyped, revoked or expired."


class StrictParser(Parser):
    """A parser of standard JSON without NaN and Infinity, with each key once and no more levels than any program can follow."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = request.body
        # As json.loads decodes it.
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if is_too_deep(text):
            raise Problem(422, f"The body is nested more than {DEEPEST} levels deep.")
        try:
            return json.loads(text, object_pairs_hook=each_key_once, parse_constant=_refuse_constant)
        except KeyTwice as error:
            raise Problem(422, f"Body: {error}. Nothing was done.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


class ConsoleAPI(NinjaAPI):
    def get_openapi_schema(self, **options: Any) -> Any:
        """Return the document with the parts that all routes share: problem documents, headers, further statuses."""
        return description.complete(super().get_openapi_schema(**options))


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
    router.add_decorator(operators.told, mode="view")
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


@require_safe
@rate_limited("standard")
def reference(request: HttpRequest) -> HttpResponse:
    """Show the reference page, made from the same document that programs read."""
    context = {
        **admin.site.each_context(request),
        "title": "API",
        "groups": _groups(),
        "version": problems.VERSION,
    }
    return TemplateResponse(request, "api/reference.html", context)


@cache
def _groups() -> dict[str, list[description.Route]]:
    return description.groups(api.get_openapi_schema())


@require_safe
@rate_limited("standard")
def document(request: HttpRequest) -> HttpResponse:
    """Return the OpenAPI document."""
    return HttpResponse(document_at(get_script_prefix()), content_type="application/json")


def make_document() -> None:
    """Make the document before processes are forked: each would keep the 8 MB that this takes."""
    before = get_script_prefix()
    # As it will be while requests are answered (opsconsole.script_name).
    set_script_prefix(os.environ.get("SCRIPT_NAME", "") or before)
    try:
        document_at(get_script_prefix())
    finally:
        set_script_prefix(before)


@cache
def document_at(prefix: str) -> bytes:
    """Return the document as it is sent where the console is mounted under this prefix, which is the one in effect."""
    return json.dumps(api.get_openapi_schema(), cls=NinjaJSONEncoder).encode()


@api.exception_handler(OpsConsoleError)
def _refused(request: HttpRequest, error: OpsConsoleError) -> HttpResponse:
    return (error if isinstance(error, Problem) else Problem(422, str(error))).response()


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    found = list(_found(error))
    return Problem(422, f"{found[0]['where']}: {found[0]['problem']}.", errors=found).response()


def _found(error: ValidationError) -> Iterator[dict[str, str]]:
    """Yield what is wrong and where, without repeating the submitted values."""
    for each in error.errors:
        where, *inner = [str(part) for part in each["loc"]]
        # Callers don't know the name of the function's argument.
        yield {"where": ".".join([where, *(inner[1:] if where == "body" else inner)]), "problem": each["msg"]}


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error, AuthenticationError):
        detail = NOT_VALID if api_keys.is_sent(request) else NO_KEY
        return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"}).response()
    if isinstance(error.__cause__, Problem):
        return error.__cause__.response()
    if isinstance(error.__cause__, RequestDataTooBig):
        return Problem(413, problems.SENTENCES[413]).response()
    detail = "The body is not JSON." if error.status_code == 400 else error.message
    return Problem(error.status_code, detail).response()


@api.exception_handler(Exception)
def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    """Let Django log the error; ``ApiMiddleware`` answers with a problem document."""
    raise error


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return Problem(404, problems.SENTENCES[404]).response()


@api.exception_handler(ObjectDoesNotExist)
def _gone(request: HttpRequest, error: ObjectDoesNotExist) -> HttpResponse:
    """Answer for a row that was deleted between two statements: retention does so, and so does whoever owns the jobs."""
    logger.warning("%s %s: %s", request.method, request.path, error)
    kept = "" if request.method in problems.SAFE_METHODS else f" {kept_by(request, error).sentence}"
    return Problem(
        404, f"What the request is about was deleted a moment ago.{kept}", reason="gone"
    ).response()


@api.exception_handler(RequestDataTooBig)
def _too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return Problem(413, problems.SENTENCES[413]).response()


@api.exception_handler(SuspiciousOperation)
@api.exception_handler(UnreadablePostError)
def _unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    return Problem(400, problems.SENTENCES[400]).response()


@api.exception_handler(DatabaseError)
def _refused_by_database(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer what a constraint, a type or a trigger refused; other errors are failures of the console."""
    if (trouble := trouble_behind(error)) in {Trouble.TABLES_CHANGED, Trouble.ROW_MISSING}:
        return unavailable.answer(request, trouble, error)
    refusal = refusals.of(error)
    if refusal is None or request.method in problems.SAFE_METHODS:
        raise error
    logger.warning("%s %s: %s", request.method, request.path, refusal.sentence)
    named: dict[str, Any] = {"constraint": refusal.constraint, "column": refusal.column}
    return Problem(
        refusal.status,
        f"{refusal.sentence} {kept_by(request, error).sentence}",
        reason="refused_by_database",
        **{name: value for name, value in named.items() if value},
    ).response()


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def _database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    trouble = trouble_behind(error)
    if trouble not in {None, Trouble.AWAY}:
        logger.warning("%s %s: %s", request.method, request.path, trouble.value)
        return unavailable.answer(request, trouble, error)
    if trouble is None:
        # The database answered, and nothing is known to help.
        raise error
    logger.error("The database does not answer: %s", error)
    return unanswered.problem(request, error).response()
