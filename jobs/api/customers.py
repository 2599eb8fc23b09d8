"""The route for customers: where their jobs stand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from django.urls import register_converter
from ninja import Router

from jobs.api import schemas
from jobs.intake import queue_position
from opsconsole.kit.problems import Problem

public = Router(tags=["For customers"])

NO_SUCH_SLASH = "No customer whose id ends with a slash has jobs under this id. If the slash is not part of the id, leave it out."


class AnythingConverter:
    """A path component that accepts anything given as an id, including slashes and line feeds."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(AnythingConverter, "anything")


@public.get(
    "queue/{anything:customer_id}",
    response=schemas.QueueAnswer,
    operation_id="show_queue",
    summary="Where a customer's jobs stand",
)
def show_queue(request: HttpRequest, customer_id: str) -> Any:
    """Return the states, queue positions and times of the customer's newest jobs, and nothing else about them.

    An unknown id returns an empty list. A slash at the end is taken for a part of the id: where no job of such a customer exists,
    the answer is 404, because the caller may mean the customer without it.
    """
    places = queue_position.of_customer(customer_id)
    if not places and customer_id.endswith("/"):
        raise Problem(404, NO_SUCH_SLASH, reason="unknown_customer")
    return {"jobs": [asdict(place) for place in places]}
