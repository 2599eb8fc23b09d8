"""How the operator's API is mounted: a key with the scope, acting for its maker, and each change at most once per Idempotency-Key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeAlias

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Status
from pydantic import BaseModel

from jobs.intake import idempotency
from opsconsole.kit.problems import SAFE_METHODS, Problem
from ratelimits.keys import api_keys

HEADER = "Idempotency-Key"
LONGEST_KEY = 255
STATUS, BODY = "http status", "http body"
_KEY = re.compile(rf"[!-~]{{1,{LONGEST_KEY}}}")
# What the OpenAPI document says of the header; ``opsconsole.api.description`` adds it to each change.
PARAMETER = {
    "in": "header",
    "name": HEADER,
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"},
    "description": "A repeated request with the same key changes nothing and gets the first answer again, for "
    f"{idempotency.KEPT_FOR}.",
}

View: TypeAlias = Callable[..., Any]
Run: TypeAlias = Callable[..., HttpResponse]


def once(view: View) -> View:
    """Carry out a change and its line of the audit together, and once per Idempotency-Key."""

    @wraps(view)
    def run(request: HttpRequest, *args: Any, **arguments: Any) -> Any:
        if request.method in SAFE_METHODS:
            return view(request, *args, **arguments)
        key = request.headers.get(HEADER)
        if key is None:
            with transaction.atomic():
                return view(request, *args, **arguments)
        if not _KEY.fullmatch(key):
            raise Problem(422, f"{HEADER}: send from 1 to {LONGEST_KEY} visible ASCII characters.")
        asked = {"route": request.path, "said": {name: _plain(value) for name, value in arguments.items()}}
        answer = idempotency.once(
            _caller(request), key, asked, lambda: _plain(view(request, *args, **arguments))
        )
        request.idempotent_replayed = answer.replayed  # type: ignore[attr-defined]  # our own attribute
        return _unpacked(answer.fields)

    return run


def say_replayed(run: Run) -> Run:
    """Say in a header that an answer is the first one again."""

    @wraps(run)
    def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = run(request, *args, **kwargs)
        if getattr(request, "idempotent_replayed", False):
            response["Idempotent-Replayed"] = "true"
        return response

    return respond


def _caller(request: HttpRequest) -> str:
    key = api_keys.authenticate(request)
    return f"api-key:{key.pk if key else None}"


def _unpacked(kept: Any) -> Any:
    """Return the answer that ``_plain`` made storable."""
    return (
        Status(kept[STATUS], kept[BODY]) if isinstance(kept, dict) and kept.keys() == {STATUS, BODY} else kept
    )


def _plain(value: Any) -> Any:
    """Return the value as JSON has it. An answer with another status than 200 is kept with it."""
    if isinstance(value, Status):
        body = _plain(value.value)
        return body if value.status_code == HTTPStatus.OK else {STATUS: value.status_code, BODY: body}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
