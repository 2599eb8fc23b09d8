"""Schemas of the route's request and response, with examples."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Field, Schema
from pydantic import BaseModel, ConfigDict, StrictInt, StringConstraints

from opsconsole.kit.api_text import Identifier

PolicyName = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=50)]


# Not a schema of django-ninja, which reads every document twice, as if it were an object of Django.
class LimitRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    policy: PolicyName = Field(
        examples=["standard"], description="The name of a policy of the page *Policies*."
    )
    identity: Identifier = Field(
        examples=["address:203.0.113.7"],
        description=(
            "The client to count: an address, a user or a customer. Clients of your service are counted apart from the "
            "console's own."
        ),
    )
    cost: Annotated[StrictInt, Field(ge=1, le=1_000)] = Field(
        default=1, description="The number of requests that this one counts as."
    )


class LimitResponse(Schema):
    allowed: bool
    status: int = Field(
        examples=[200], description="The status to send: 200, or 429 if the request is refused."
    )
    policy: str = Field(examples=["standard"])
    limit: int = Field(examples=[100])
    window: int = Field(examples=[60], description="The length of the window in seconds.")
    remaining: int = Field(examples=[99])
    reset: int = Field(
        examples=[60], description="Seconds until the oldest counted request leaves the window."
    )
    retry_after: int = Field(
        examples=[0], description="Seconds until the request would be allowed; 0 if it is allowed now."
    )
    degraded: bool = Field(
        examples=[False],
        description="Whether the decision was made without the shared store, within a share of the limit.",
    )
    headers: dict[str, str] = Field(
        examples=[{"RateLimit-Policy": '"standard";q=100;w=60', "RateLimit": '"standard";r=99;t=60'}],
        description="Headers to add to your response unchanged.",
    )
    body: dict[str, Any] | None = Field(
        examples=[None],
        description="The body of the 429 response (a problem document) if the request is refused.",
    )
