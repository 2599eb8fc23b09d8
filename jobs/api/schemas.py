"""The request and response bodies of the API routes about jobs, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from ninja import Field, Schema
from pydantic import (
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from opsconsole.kit.api_text import FreeText, Identifier
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.storable import LARGEST_INTEGER
from opsconsole_worker.messages import MAX_VISIBILITY_SECONDS
from opsconsole_worker.runs.lifecycle import ERROR_LENGTH
from opsconsole_worker.runs.progress import LONGEST_TEXT

LongText = Annotated[FreeText, StringConstraints(max_length=ERROR_LENGTH)]
ProgressText = Annotated[FreeText, StringConstraints(max_length=LONGEST_TEXT)]
Percent = Annotated[float, Field(ge=0, le=100, strict=True, allow_inf_nan=False)]
Whole = Annotated[StrictInt, Field(ge=1, le=LARGEST_INTEGER)]
Count = Annotated[StrictInt, Field(ge=0, le=LARGEST_INTEGER)]


def _text(value: object) -> object:
    if not isinstance(value, str):
        # Pydantic turns a ValueError into a sentence of the answer.
        raise ValueError("must be a time as text, such as 2026-01-31T12:00:00Z")  # noqa: TRY004
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text)]


class _Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class JobRequest(_Asked):
    customer_id: Identifier = Field(
        examples=["TEST-001"],
        description="Whose job it is: the id by which the customer asks where it stands.",
    )
    package_size: Whole = Field(
        examples=[50], description="How much work the customer paid for, in your own unit."
    )
    priority: Identifier | None = Field(
        None,
        examples=["starter"],
        description="Kept with the job and shown. Left out: as the database sets it.",
    )
    payload: dict[str, Any] = Field(
        default_factory=dict,
        examples=[{"business": "Café Blüte"}],
        description="What the worker needs; the console does not read it.",
    )
    queue: Identifier = Field(
        "default", examples=["default"], description="The name of a queue of `OPSCONSOLE_QUEUES`."
    )
    not_before: Time | None = Field(None, description="The job does not start before this time.")
    deadline_at: Time | None = Field(
        None,
        description="A run that continues beyond this time counts as hung. Lies in the future, and after `not_before`.",
    )


class JobAccepted(Schema):
    id: JobId
    status: str = Field(examples=["pending"])
    run_epoch: int = Field(examples=[1])
    queue: str = Field(examples=["default"])
    created_at: datetime


class QueuePlace(Schema):
    id: JobId
    status: Literal["pending", "in_progress", "completed", "failed", "cancelled", "on_hold", "other"]
    position: int | None = Field(
        examples=[3],
        description="1: of the jobs of its queue that may start, the one that has waited longest. Null: the job is not waiting, or"
        " waits for its time (not_before), or its message is not on its way to a worker, or too many jobs are ahead.",
    )
    position_over: int | None = Field(
        examples=[None],
        description="Set when the position takes too long to count: at least this many jobs are ahead.",
    )
    created_at: datetime
    started_at: datetime | None = Field(examples=[None])
    completed_at: datetime | None = Field(examples=[None])
    not_before: datetime | None = Field(
        examples=[None], description="Set for a waiting job that may not start yet: when it may."
    )


class QueueAnswer(Schema):
    jobs: list[QueuePlace] = Field(description="The customer's newest jobs; empty for an unknown id.")


class WorkerSaid(_Asked):
    worker_id: Identifier = Field(
        examples=["node-7f3a-1732448521"], description="A new id for every start of the worker."
    )
    hostname: Identifier | None = Field(
        None, examples=["host-2"], description="Where the worker runs, for the page *Workers*."
    )
    pid: Whole | None = Field(None, examples=[4411], description="The number of its process there.")
    start: Identifier | None = Field(
        None,
        examples=["b1f0c8a2"],
        description="A text that is new for every start, where the `worker_id` stays the same. Without it, host and pid tell "
        "a restart from a second process.",
    )


class RunSaid(WorkerSaid):
    run_epoch: Whole = Field(examples=[1], description="The epoch of the run, from the answer to the claim.")


class ClaimRequest(WorkerSaid):
    run_epoch: Whole | None = Field(
        None, examples=[1], description="The value in the message, if it has one."
    )
    dead_letter_id: Identifier | None = Field(None, description="The value in the message, if it has one.")
    asked_before: StrictBool = Field(
        default=False,
        description="True when this worker asked before, got no answer and has begun nothing: a run that it claimed then "
        "is its own.",
    )


class LastProgress(Schema):
    percent: float | None = Field(examples=[40.0], description="Null where the worker did not know it.")
    text: str = Field(examples=["12 of 30 directories"])
    run_epoch: int = Field(examples=[1], description="The run that reported it.")
    at: datetime


class ClaimedRun(Schema):
    job_id: JobId
    run_epoch: int = Field(examples=[1], description="Identifies the run in all later calls.")
    customer_id: str | None = Field(examples=["TEST-001"], description="Null where the row has none.")
    package_size: int | str | None = Field(
        examples=[50],
        description="Text only where an existing column holds something else than a whole number; null where the row has none.",
    )
    priority: str | None = Field(examples=["starter"], description="Null where the row has none.")
    payload: dict[str, Any]
    attempts: int = Field(examples=[0], description="The number of earlier runs that reported a failure.")
    last_progress: LastProgress | None = Field(
        description="How far the last earlier run was that reported progress; null if none did."
    )
    beat_every_seconds: int = Field(examples=[15])


class GivenBack(_Asked):
    locked: Count = Field(examples=[0], description="Messages whose rows were locked.")
    refused: Count = Field(examples=[2], description="Messages whose claim a rule of the database refused.")


class IdleRequest(WorkerSaid):
    queue: Identifier | None = Field(
        None, examples=["default"], description="A queue of which the worker waits for messages."
    )
    given_back: GivenBack | None = Field(
        None, description="How many messages this worker has returned to its queue since it started."
    )


class Pause(Schema):
    by: str = Field(examples=["ada"])
    reason: str = Field(examples=["the directory is down"])


class IdleAnswer(Schema):
    paused: Pause | None = Field(
        description="Who paused the work on this queue, and why: receive no message until it is null again."
    )


class PutOffRequest(WorkerSaid):
    run_epoch: Whole | None = Field(
        None, examples=[1], description="The value in the message, if it has one."
    )
    seconds: Annotated[StrictInt, Field(ge=0, le=MAX_VISIBILITY_SECONDS)] = Field(
        examples=[60],
        description="How long the new message waits; `retryAfter` of the refused claim says it.",
    )


class PutOff(Schema):
    posted: bool = Field(
        description="True: the console sends a new message after this time. Delete yours. False: the run does not wait any longer."
    )


class GivenBackRun(Schema):
    given_back: bool = Field(description="False: this worker had claimed no run of the job.")


class Verdict(Schema):
    verdict: Literal["continue", "cancelled", "superseded"] = Field(
        description="`continue`: keep working. Otherwise stop and report nothing, because it would be refused."
    )


class CompleteRequest(RunSaid):
    details: dict[str, Any] = Field(
        default_factory=dict, examples=[{"submitted": 12}], description="Kept on the job's timeline."
    )


class FailRequest(RunSaid):
    error: LongText = Field(
        examples=["directory 7 answers 503"],
        description="What went wrong; its first line is shown first, and names the failure group.",
    )
    retryable: StrictBool = Field(default=True, description="False: another run would fail too.")


class ProgressRequest(RunSaid):
    note: LongText = Field(
        examples=["submitted to maps"],
        description="What the run has done that another run would do again; operators read it before they requeue the job.",
    )
    reference: LongText = Field(
        "", examples=["maps/8812-44"], description="By which name it is known elsewhere; the search finds it."
    )
    once: Identifier | None = Field(
        None, examples=["12"], description="A name of this note that no other note of the run has."
    )
    asked_before: StrictBool = Field(
        default=False,
        description="True when this worker sent the note before and got no answer: with `once`, it is kept once.",
    )


class PercentRequest(RunSaid):
    percent: Percent | None = Field(
        examples=[40], description="From 0 to 100; null where that is unknown. It is kept to one decimal."
    )
    text: ProgressText = Field(
        "", examples=["12 of 30 directories"], description="How far the run is, in words."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.percent is None and not self.text.strip():
            raise ValueError("Progress without percent needs a text.")
        return self


class Ending(Schema):
    outcome: Literal["completed", "retry", "failed"] = Field(
        description="`retry`: the job runs again after a backoff. `failed`: it has failed permanently."
    )
