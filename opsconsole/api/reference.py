"""The reference page of the API and the OpenAPI document that it is made from."""

from __future__ import annotations

import json
import os
from functools import cache

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, set_script_prefix
from django.views.decorators.http import require_safe
from ninja.responses import NinjaJSONEncoder

from opsconsole.api import description
from opsconsole.api.routes import api
from opsconsole.kit import problems
from ratelimits.requests.decorators import rate_limited


@require_safe
@rate_limited("standard")
def reference_page(request: HttpRequest) -> HttpResponse:
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
