"""The short way of the checking route: a call that is as the document says is answered before django-ninja looks at it.

django-ninja documents the route and answers every other call, in its own words: it reads the same schema, and asks the same key.
Under WSGI, most calls are answered even before Django's handler (``opsconsole.api.checks_first``), by the same two functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import Error
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI

from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.problems import Problem
from ratelimits.api.routes import SCOPE, check_limit
from ratelimits.api.schemas import LimitRequest
from ratelimits.keys import api_keys

Run = Callable[..., HttpResponse]
# What the handlers of the API answer.
REFUSED = (OpsConsoleError, SuspiciousOperation, UnreadablePostError, Error)


def before(run: Run, api: NinjaAPI) -> Run:
    """Answer what is as the document says, and leave everything else to ``run``."""

    @wraps(run)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        key = api_keys.authenticate(request)
        try:
            check = well_formed(request, api) if key and SCOPE in key.scopes else None
            return check_limit(request, check) if check else run(request, *args, **kwargs)
        except REFUSED as error:
            return api.on_exception(request, error)

    return answered


def well_formed(request: HttpRequest, api: NinjaAPI) -> LimitRequest | None:
    """Return what is asked, or None if something is wrong with it, which django-ninja says."""
    if not request.body:
        return None
    try:
        return LimitRequest.model_validate(api.parser.parse_body(request))
    except (ValueError, Problem):
        return None


def answer(request: HttpRequest, check: LimitRequest, api: NinjaAPI) -> HttpResponse:
    """Return the answer to what is asked, or what the handlers of the API say of it."""
    try:
        return check_limit(request, check)
    except REFUSED as error:
        return api.on_exception(request, error)
