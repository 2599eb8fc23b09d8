"""The route for customers: where their jobs stand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from django.urls import register_converter
from ninja import Router

from jobs.api import schemas
from jobs.intake import queue_position

public = Router(tags=["For customers"])


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

    An unknown id returns an empty list.
    """
    return {"jobs": [asdict(place) for place in queue_position.of_customer(customer_id)]}
