"""Tests that docs/api.md and docs/operators-api.md name every route and status of the OpenAPI document, and no others."""

from __future__ import annotations

import re

from opsconsole.api.routes import api
from tests.repository import REPOSITORY

PAGES = "\n".join((REPOSITORY / "docs" / name).read_text() for name in ("api.md", "operators-api.md"))
PATHS = api.get_openapi_schema()["paths"]
ROUTES = {(method.upper(), path) for path, methods in PATHS.items() for method in methods}
# Real ids in examples, and ``-`` for an id that stands in the query.
PARAMETER = re.compile(r"\{\w+\}|\.\.\.|TEST-001|(?<=/)-(?=/|$)")


def without_parameters(path: str) -> str:
    return PARAMETER.sub("{}", path.partition("?")[0].rstrip("/."))


def test_pages_name_no_route_that_does_not_exist() -> None:
    named = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/api/[\w/{}.-]+)", PAGES)
    known = {(method, without_parameters(path)) for method, path in ROUTES}
    prefixes = {(method, path.removesuffix("/{}")) for method, path in known}
    assert {(method, without_parameters(path)) for method, path in named} - known - prefixes == set()


def test_pages_name_every_route() -> None:
    """By its path, or by the last word of a path whose beginning a sentence has."""
    words = set(re.findall(r"(?:`|\.\.\./)([\w-]+)`", PAGES))
    texts = PARAMETER.sub("{}", PAGES)
    missing = {
        path
        for _, path in ROUTES
        if without_parameters(path) not in texts and path.rpartition("/")[2] not in words
    }
    assert missing == set()


def test_pages_name_every_status() -> None:
    statuses = {
        str(status) for methods in PATHS.values() for each in methods.values() for status in each["responses"]
    }
    assert {status for status in statuses if not re.search(rf"\b{status}\b", PAGES)} == set()
