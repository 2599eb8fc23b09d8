"""What the API's routes about jobs take and give, with an example of each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Schema
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, StrictBool, StrictInt, StringConstraints

from jobs.intake.enqueue import LARGEST_INTEGER
from jobs.runs.lifecycle import ERROR_LENGTH

# What names something: no control characters. That it is not blank is for the duties to say.
Words = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")
]
LongText = Annotated[str, StringConstraints(strict=True, max_length=ERROR_LENGTH)]
Whole = Annotated[StrictInt, Field(ge=1, le=LARGEST_INTEGER)]


def _text(value: object) -> object:
    if not isinstance(value, str):
        # A ValueError is what makes it a sentence of the answer.
        raise ValueError("must be a time as text, such as 2030-01-31T12:00:00Z")  # noqa: TRY004
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text)]


class _Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class JobRequest(_Asked):
    customer_id: Words = Field(examples=["TEST-001"])
    package_size: Whole = Field(examples=[50])
    priority: Words | None = Field(None, examples=["starter"])
    payload: dict[str, Any] = Field(default_factory=dict, examples=[{"business": "Café Blüte"}])
    queue: Words = Field("default", examples=["default"])
    not_before: Time | None = Field(None, description="No run starts before this time.")
    deadline_at: Time | None = Field(None, description="A run that goes on beyond it counts as hung.")


class JobAccepted(Schema):
    id: UUID
    status: str = Field(examples=["pending"])
    run_epoch: int = Field(examples=[1])
    queue: str = Field(examples=["default"])
    created_at: datetime


class QueuePlace(Schema):
    id: UUID
    status: Literal["pending", "in_progress", "completed", "failed", "cancelled", "on_hold", "other"]
    position: int | None = Field(
        description="1: the job that waits longest. Null: it does not wait, or its message is not on its way to a worker."
    )
    position_over: int | None = Field(
        description="When the place is too far to be counted: so many jobs, at the least, are before it."
    )
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    not_before: datetime | None = Field(description="A waiting job that does not start before this time.")


class QueueAnswer(Schema):
    jobs: list[QueuePlace] = Field(description="The customer's newest jobs; empty for an unknown id.")


class WorkerSaid(_Asked):
    worker_id: Words = Field(examples=["node-7f3a-1732448521"], description="New with every start.")
    hostname: Words | None = Field(None, examples=["host-2"])
    pid: Whole | None = Field(None, examples=[4411])


class RunSaid(WorkerSaid):
    run_epoch: Whole = Field(examples=[1], description="Of the run, as the claim answered it.")


class ClaimRequest(WorkerSaid):
    run_epoch: Whole | None = Field(None, examples=[1], description="The message's, if it has one.")
    dead_letter_id: Words | None = Field(None, description="The message's, if it has one.")


class ClaimedRun(Schema):
    job_id: UUID
    run_epoch: int = Field(examples=[1], description="Names the run in everything below.")
    customer_id: str = Field(examples=["TEST-001"])
    package_size: int = Field(examples=[50])
    priority: str = Field(examples=["starter"])
    payload: dict[str, Any]
    attempts: int = Field(examples=[0], description="Earlier runs that reported a failure.")
    beat_every_seconds: int = Field(examples=[15])


class Verdict(Schema):
    verdict: Literal["continue", "cancelled", "superseded"] = Field(
        description="`continue`: go on. Otherwise stop, and report nothing: it would be refused."
    )


class CompleteRequest(RunSaid):
    details: dict[str, Any] = Field(default_factory=dict, examples=[{"submitted": 12}])


class FailRequest(RunSaid):
    error: LongText = Field(examples=["directory 7 answers 503"])
    retryable: StrictBool = Field(default=True, description="False: another run would fail as well.")


class ProgressRequest(RunSaid):
    note: LongText = Field(examples=["submitted to maps"])
    reference: LongText = Field("", examples=["maps/8812-44"])


class Ending(Schema):
    outcome: Literal["completed", "retry", "failed"] = Field(
        description="`retry`: it is run again after a backoff. `failed`: for good."
    )
