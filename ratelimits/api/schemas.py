"""What the limiter's route takes and gives, with an example of each."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Field, Schema
from pydantic import ConfigDict, StrictInt, StringConstraints

Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=50)]
# Anything that names somebody for whoever asks; no control characters.
Who = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]


class LimitRequest(Schema):
    model_config = ConfigDict(extra="forbid")

    policy: Name = Field(examples=["standard"])
    identity: Who = Field(
        examples=["address:203.0.113.7"],
        description="Who is counted: an address, a user, a customer. Yours alone: the console's own clients differ.",
    )
    cost: Annotated[StrictInt, Field(ge=1, le=1_000)] = Field(
        default=1, description="As how many requests it counts."
    )


class LimitAnswer(Schema):
    allowed: bool
    status: int = Field(examples=[200], description="200, or 429 to pass on.")
    policy: str = Field(examples=["standard"])
    limit: int = Field(examples=[100])
    window: int = Field(examples=[60], description="Seconds.")
    remaining: int = Field(examples=[99])
    reset: int = Field(examples=[60], description="Seconds until more is left.")
    retry_after: int = Field(examples=[0], description="Seconds until it would pass; 0 when it may.")
    degraded: bool = Field(
        examples=[False], description="Decided without the shared store, within a stated share of the limit."
    )
    headers: dict[str, str] = Field(
        examples=[{"RateLimit-Policy": '"standard";q=100;w=60', "RateLimit": '"standard";r=99;t=60'}],
        description="To be put on your answer as they are.",
    )
    body: dict[str, Any] | None = Field(
        examples=[None], description="The body of a 429 (problem document), when it is refused."
    )
