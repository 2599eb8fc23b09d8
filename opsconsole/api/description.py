"""The API's OpenAPI document as django-ninja generates it, completed and arranged for the reference page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opsconsole.api import operators, samples, schema_parts
from opsconsole.api.samples import Sample
from opsconsole.kit import job_addresses, operator_api, problems

DESCRIPTION = (
    "Accept jobs, show customers where theirs stand, run them from any language, ask the rate limiter, and operate the "
    "console.\n\n"
    "Calls with an API key carry it as `Authorization: Bearer ock_...` or as `X-API-Key`. Errors are problem "
    "documents (RFC 9457). Below `/api/` this version stays; what would break a caller gets `/api/v2/`."
)

PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457). Some have further members, such as `reason` or `errors`.",
    "required": ["title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Unprocessable Content"]},
        "status": {"type": "integer", "examples": [422]},
        "detail": {"type": "string", "description": "The error as a sentence for a person."},
        "reason": {"type": "string", "description": "The error as a code for a program."},
        "settled": {
            "type": "boolean",
            "description": "True when asking again can never succeed: the job's message may be deleted.",
        },
        "constraint": {
            "type": "string",
            "description": "The constraint of the database that refused the change, with `reason` `refused_by_database`.",
        },
        "column": {"type": "string", "description": "The column whose rule or type refused the change."},
        "outcome": {
            "const": "unknown",
            "description": "Set when the connection broke while the change was being made: it was made or not.",
        },
        "retryAfter": {"type": "integer", "description": "Seconds to wait before trying again."},
        "scope": {"type": "string", "description": "The scope that the API key lacks."},
        "permission": {"type": "string", "description": "The permission that the key or its maker lacks."},
        "current": {
            "type": "object",
            "description": "What is true now, where a change was refused because of it. It has a new `version`.",
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "problem"],
                "properties": {"where": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
    },
}

# The errors that a route may answer with besides its own: status and description.
ALWAYS = {
    429: "Too many requests. `Retry-After` says in how many seconds the next one will be accepted.",
    500: "The console failed. The error was logged.",
    503: "The database does not answer, or can't do this now; `reason` says why. `outcome: unknown`: whether the change was saved "
    "is unknown.",
}
WITH_BODY = {
    400: "The body is not JSON.",
    409: "A unique or exclusion constraint of the database refused the change; `constraint` names it.",
    411: "The length of the body is not stated, and the server does not put chunks together.",
    413: "The body is larger than the console accepts.",
    422: "Part of the request is not as described, or another rule of the database refused it; `errors`, `constraint` or "
    "`detail` says which.",
}
WITH_KEY = {401: "There is no valid API key.", 403: "The API key lacks the scope."}
# An extension of OpenAPI that several programs that show it know.
SAMPLES = "x-codeSamples"
OPERATOR = f"{problems.PREFIX}{operator_api.PREFIX}"
WITH_PRINCIPAL = {
    403: "The API key lacks the scope (`reason` `scope`); the key, or by now the account that made it, lacks the permission "
    "(`permission`); or that account may no longer log in (`maker`).",
    404: "There is no such thing (any more).",
    422: "A parameter is not as described; `errors` or `detail` says which.",
}
OF_CHANGE = {
    409: "Nothing was changed: it is not as you saw it (`reason` `changed`), or its state rules the change out (`refused`). "
    "`current` is what is true now.",
    422: WITH_BODY[422],
}
WITH_JOB = {404: "`unknown_job`: the job is not in the database (yet).", 409: "Refused: `reason` says why."}

# What the parts of an address name.
IN_PATH = {
    "customer_id": "The customer's id, as in `POST /api/jobs`.",
    "job_id": "The id of the job.",
    "letter_id": "The id of the dead letter.",
    "alert_id": "The number of the alert.",
    "number": "The number of the bulk operation.",
    "policy": "The name of the policy.",
}

LIMIT_HEADERS = {
    "RateLimit-Policy": "The limit: a quota of `q` requests per window of `w` seconds.",
    "RateLimit": "What is left: `r` requests now, and more after `t` seconds.",
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the parts that all routes share, so that no response is undocumented."""
    document["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    parameter.setdefault("description", IN_PATH[parameter["name"]])
            if is_change(path, operation):
                operation["parameters"] = [*operation["parameters"], operators.PARAMETER]
            if job_addresses.NEEDED and "{job_id}" in path:
                operation["parameters"] = [*operation["parameters"], job_addresses.PARAMETER]
            if path.startswith(OPERATOR):
                operation[SAMPLES] = [each.as_json for each in _samples(path, operation, document)]
            operation["responses"] = dict(sorted(_responses(path, operation)))
    return document


def _samples(path: str, operation: dict[str, Any], document: dict[str, Any]) -> list[Sample]:
    schemas = document["components"]["schemas"]
    body = _schema(operation.get("requestBody"), schemas)
    return samples.of_route(path, schema_parts.example(body, schemas) if body else None)


def is_change(path: str, operation: dict[str, Any]) -> bool:
    """Tell whether this is a change through the operator's API."""
    return path.startswith(OPERATOR) and "requestBody" in operation


def _responses(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        yield str(status), response | {"headers": _headers(LIMIT_HEADERS)}
    for status, description in _errors(path, operation).items():
        headers = LIMIT_HEADERS | ({"Retry-After": "Seconds."} if status in {429, 503} else {})
        yield (
            str(status),
            {
                "description": description,
                "headers": _headers(headers),
                "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )


def _errors(path: str, operation: dict[str, Any]) -> dict[int, str]:
    errors = dict(ALWAYS)
    if "requestBody" in operation:
        errors |= WITH_BODY
    if "security" in operation:
        errors |= WITH_KEY
    if path.startswith(OPERATOR):
        errors |= WITH_PRINCIPAL | (OF_CHANGE if "requestBody" in operation else {})
    elif "{job_id}" in path:
        errors |= WITH_JOB
    return errors


def _headers(described: dict[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": "string"}, "required": False}
        for name, text in described.items()
    }


@dataclass(frozen=True)
class Field:
    name: str
    kind: str
    required: bool
    description: str


@dataclass(frozen=True)
class Answer:
    status: str
    description: str
    example: str


@dataclass(frozen=True)
class Route:
    """One route as the reference page shows it. ``example`` is a request's body as JSON, or empty."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    needs_key: bool
    parameters: list[Field]
    fields: list[Field]
    example: str
    answers: list[Answer]
    samples: list[Sample]


def groups(document: dict[str, Any]) -> dict[str, list[Route]]:
    """Group the routes by their audience."""
    schemas = document["components"]["schemas"]
    found: dict[str, list[Route]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            group = operation.get("tags", ["Others"])[0]
            found.setdefault(group, []).append(_route(path, method, operation, schemas))
    return found


def _route(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Route:
    body = _schema(operation.get("requestBody"), schemas)
    return Route(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        # A paragraph is one line: where the source breaks it, a page does not.
        description=re.sub(r"(?<!\n)\n(?!\n)", " ", operation.get("description", "")),
        needs_key="security" in operation,
        parameters=[
            Field(
                f"{each['name']} ({each['in']})",
                schema_parts.kind(each["schema"], schemas),
                each["required"],
                each.get("description", ""),
            )
            for each in operation["parameters"]
        ],
        fields=list(_fields(body, schemas)),
        example=schema_parts.as_json(schema_parts.example(body, schemas)) if body else "",
        answers=[
            Answer(status, response["description"], _answer_example(response, schemas, status))
            for status, response in operation["responses"].items()
        ],
        samples=[Sample(each["lang"], each["source"]) for each in operation.get(SAMPLES, ())],
    )


def _answer_example(response: dict[str, Any], schemas: dict[str, Any], status: str) -> str:
    if status >= "4":
        return ""
    schema = _schema(response, schemas)
    return schema_parts.as_json(schema_parts.example(schema, schemas)) if schema else ""


def _schema(holder: dict[str, Any] | None, schemas: dict[str, Any]) -> dict[str, Any]:
    contents = (holder or {}).get("content", {}).values()
    return schema_parts.resolve(next(iter(contents))["schema"], schemas) if contents else {}


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        yield Field(name, schema_parts.kind(each, schemas), name in required, each.get("description", ""))
