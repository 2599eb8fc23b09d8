"""How the API's addresses name a job whose id no path can hold.

A text may end like the address of another route ("4711/payload"), consist of dots, which clients take for a folder, or
have a line feed; and some proxies refuse an encoded slash. Such an id stands in the query:
``/api/operator/jobs/-?job_id=4711%2Fpayload``. UUIDs and numbers need none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse

from opsconsole.kit import job_ids

IN_QUERY, NAME = "-", "job_id"
# What the OpenAPI document says of it, for every route whose path has an id.
PARAMETER = {
    "in": "query",
    "name": NAME,
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": job_ids.LONGEST_TEXT},
    "description": f"The id, with `{IN_QUERY}` in its place in the path: `jobs/{IN_QUERY}?{NAME}=4711%2Fpayload`. "
    "Needed for ids with a slash, and for those of dots alone.",
}
NEEDED = job_ids.TYPE == "text"

Run = Callable[..., HttpResponse]


def from_query(run: Run) -> Run:
    """Give a route the id of the query where the path says so."""
    if not NEEDED:
        return run

    @wraps(run)
    def named(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if kwargs.get(NAME) == IN_QUERY and NAME in request.GET:
            kwargs[NAME] = request.GET[NAME]
        return run(request, *args, **kwargs)

    return named
