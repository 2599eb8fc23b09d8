"""The API's answers to errors: problem documents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja.errors import AuthenticationError, HttpError, ValidationError

from opsconsole import unavailable
from opsconsole.api import unanswered
from opsconsole.database_failures import kept_by
from opsconsole.kit import problems
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.problems import Problem
from opsconsole_worker import refusals
from ratelimits.keys import api_keys

logger = logging.getLogger(__name__)
NO_KEY = "This route requires an API key: Authorization: Bearer ock_..."
# It does not say which: whoever guesses keys learns nothing.
NOT_VALID = "The API key that was sent is not valid: it is mistyped, revoked or expired."


def _refused(request: HttpRequest, error: OpsConsoleError) -> HttpResponse:
    return (error if isinstance(error, Problem) else Problem(422, str(error))).response()


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    found = list(_found(error))
    return Problem(422, f"{found[0]['where']}: {found[0]['problem']}.", errors=found).response()


def _found(error: ValidationError) -> Iterator[dict[str, str]]:
    """Yield what is wrong and where, without repeating the submitted values."""
    for each in error.errors:
        where, *inner = [str(part) for part in each["loc"]]
        # Callers don't know the name of the function's argument.
        yield {"where": ".".join([where, *(inner[1:] if where == "body" else inner)]), "problem": each["msg"]}


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


def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    """Let Django log the error; ``ApiMiddleware`` answers with a problem document."""
    raise error


def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return Problem(404, problems.SENTENCES[404]).response()


def _gone(request: HttpRequest, error: ObjectDoesNotExist) -> HttpResponse:
    """Answer for a row that was deleted between two statements: retention does so, and so does whoever owns the jobs."""
    logger.warning("%s %s: %s", request.method, request.path, error)
    kept = "" if request.method in problems.SAFE_METHODS else f" {kept_by(request, error).sentence}"
    return Problem(
        404, f"What the request is about was deleted a moment ago.{kept}", reason="gone"
    ).response()


def _too_large(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return Problem(413, problems.SENTENCES[413]).response()


def _unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    return Problem(400, problems.SENTENCES[400]).response()


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


def _database_away(request: HttpRequest, error: Exception) -> HttpResponse:
    if refusals.of(error):
        return _refused_by_database(request, error)
    trouble = trouble_behind(error)
    if trouble not in {None, Trouble.AWAY}:
        logger.warning("%s %s: %s", request.method, request.path, trouble.value)
        return unavailable.answer(request, trouble, error)
    if trouble is None:
        # The database answered, and nothing is known to help.
        raise error
    logger.error("The database does not answer: %s", error)
    return unanswered.problem(request, error).response()


# What ninja calls for an error of each class; the nearest base counts.
HANDLERS: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
    OpsConsoleError: _refused,
    ValidationError: _invalid,
    HttpError: _http_error,
    Exception: _failed,
    Http404: _not_found,
    ObjectDoesNotExist: _gone,
    RequestDataTooBig: _too_large,
    SuspiciousOperation: _unreadable,
    UnreadablePostError: _unreadable,
    DatabaseError: _refused_by_database,
    OperationalError: _database_away,
    InterfaceError: _database_away,
}
