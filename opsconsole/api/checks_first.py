"""Checks of the limiter in front of Django's handler: ``POST /api/limits/check``, where only Valkey has to be asked.

What Django's handler and all middleware do for a request takes longer than the decision (decision 0113). A call that is as the
document says, with a key and policies that this process read a moment ago, needs little of it. Everything else goes on to Django
unchanged: the same route answers it, with the same key, schema and function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from http import HTTPStatus
from io import BytesIO
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.request import split_domain_port, validate_host
from django.urls import ResolverMatch, resolve
from django.utils.module_loading import import_string

from opsconsole import body_length
from opsconsole.api import calls
from opsconsole.api.routes import api
from opsconsole.kit import schema_version
from opsconsole.middleware import AROUND_CHECKS, HEADERS_OF_CHECKS, LIMITS_OF_CHECKS
from opsconsole.script_name import Application
from ratelimits.api import short_way
from ratelimits.api.check_quota import ROUTE
from ratelimits.api.routes import SCOPE
from ratelimits.api.schemas import LimitRequest
from ratelimits.keys import api_keys
from ratelimits.policies import policy_cache

# Of the length of a body: no check is longer than 9,999 bytes, a policy and an identity with each character escaped.
MOST_DIGITS = 4
# Each answer's own.
BODY_HEADERS = {"Content-Type", "Content-Length"}
Headers = Sequence[tuple[str, str]]


class Check(WSGIRequest):
    """A call of the route, whose ``body`` was read. ``asked``: what it asks, once that was found well-formed."""

    body = b""
    asked: LimitRequest


Answer = Callable[[Check], HttpResponse]


def before(application: Application) -> Application:
    """Return the WSGI application that answers checks by itself, and leaves everything else to this one."""

    def answered(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        check = _well_formed(environ) if _may_be_answered(environ) else None
        if check is None:
            return application(environ, start_response)
        response = _chain()(check)
        headers, content = list(response.headers.items()), response.content
        if response.status_code == HTTPStatus.OK:
            headers += [*_headers(check.is_secure()), ("Content-Length", str(len(content)))]
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        return [content]

    return answered


def _may_be_answered(environ: dict[str, Any]) -> bool:
    """Tell whether this is a call of the route, for which the database need not be asked."""
    return (
        environ.get("PATH_INFO") == ROUTE
        and environ["REQUEST_METHOD"] == "POST"
        and (length := environ.get("CONTENT_LENGTH", "")).isdecimal()
        and len(length) <= MOST_DIGITS
        and not environ.get("QUERY_STRING")
        and body_length.HEADER not in environ
        and schema_version.is_seen_current()
        and policy_cache.are_read()
    )


def _well_formed(environ: dict[str, Any]) -> Check | None:
    """Return the call if nothing is wrong with it; None leaves it to Django, which then reads the body from memory."""
    # A copy, because a request decodes the paths in what it is given.
    check = Check({**environ})
    key = api_keys.authenticate_as_known(check) if calls.is_call(check) else None
    if key is None or SCOPE not in key.scopes:
        return None
    try:
        if not _is_usual_host(environ):
            check.get_host()
        check.body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    except (DisallowedHost, OSError):
        return None
    environ["wsgi.input"] = BytesIO(check.body)
    asked = short_way.well_formed(check, api)
    if asked is None:
        return None
    check.asked, check.resolver_match, check.user = asked, _match(), AnonymousUser()
    return check


def _is_usual_host(environ: dict[str, Any]) -> bool:
    """Tell whether Django is known to answer for this host. ``get_host`` decides of all others, and where a proxy names one."""
    host: str = environ.get("HTTP_HOST", "")
    return "HTTP_X_FORWARDED_HOST" not in environ and _is_allowed(host, tuple(settings.ALLOWED_HOSTS))


@lru_cache(maxsize=100)
def _is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)


@cache
def _match() -> ResolverMatch:
    """Return what the log, the records and the refusals name the route by."""
    return resolve(ROUTE)


@cache
def _chain() -> Answer:
    decide = _behind(LIMITS_OF_CHECKS, lambda check: short_way.answer(check, check.asked, api))

    def answer(check: Check) -> HttpResponse:
        response = decide(check)
        # The headers of a decision are known beforehand.
        return response if response.status_code == HTTPStatus.OK else _with_headers(check, lambda _: response)

    return _behind(AROUND_CHECKS, answer)


@cache
def _headers(secure: bool) -> Headers:  # noqa: FBT001 - the key of the cache
    """Return the headers that every decision has, as the middleware gives them: they depend on the scheme alone."""
    blank = Check({"REQUEST_METHOD": "POST", "PATH_INFO": ROUTE, "wsgi.input": BytesIO()})
    blank.META["wsgi.url_scheme"] = "https" if secure else "http"
    answer = _with_headers(blank, lambda _: HttpResponse())
    return [(name, value) for name, value in answer.headers.items() if name not in BODY_HEADERS]


def _with_headers(check: Check, answer: Answer) -> HttpResponse:
    response = _behind(HEADERS_OF_CHECKS, answer)(check)
    for name, value in calls.HEADERS.items():
        response.headers[name] = value
    return response


def _behind(names: Sequence[str], answer: Answer) -> Answer:
    """Put an answer behind this middleware. Each turns what fails within it into a response, as in Django's handler."""
    # Django says that what is behind middleware takes any request.
    chain: Any = convert_exception_to_response(cast(Any, answer))
    for name in reversed(names):
        chain = convert_exception_to_response(import_string(name)(chain))
    return cast(Answer, chain)
