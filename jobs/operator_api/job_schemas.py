"""The documents of the operator's API about jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from jobs.bulk import turns
from opsconsole.kit.api_text import Identifier
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.operator_api import ListQuery

FILTER = "As the filter of the page."


class JobsQuery(ListQuery):
    """The filters of the page *Jobs*."""

    status: Identifier | None = Field(
        None, description="`pending`, `failed`, ..., or `other`: none that the console knows."
    )
    stale: Identifier | None = Field(None, description="`any`, or a diagnosis such as `dead_worker`.")
    message: Identifier | None = Field(
        None, description="What is wrong with the message of a waiting job, such as `lost`."
    )
    priority: Identifier | None = Field(None, description="The priority. Without an index: see `next`.")
    age: Identifier | None = Field(None, description="`hour`, `day`, `week` or `older`.")
    lost: Identifier | None = Field(
        None, description="`day`: its run lost its worker within 24 hours; `recovered`: and was recovered."
    )
    queue: Identifier | None = Field(None, description="The queue. Without an index: see `next`.")
    q: Identifier | None = Field(None, description="A job's id, its first 8 characters, or a customer's id.")


class JobItem(Schema):
    """A job as lists show it."""

    id: JobId
    status: str | None = Field(
        examples=["failed"], description="A status that the console does not know is shown as it is."
    )
    customer_id: str | None = Field(examples=["TEST-001"])
    priority: str | None = Field(examples=["starter"])
    queue: str = Field(examples=["default"])
    run: int = Field(examples=[1], description="The number of the run (its epoch).")
    recoveries: int = Field(examples=[0])
    attempts: int = Field(examples=[1], description="The runs that reported a failure.")
    worker_id: str | None = Field(examples=["node-7f3a-1732448521"])
    error_message: str | None = Field(examples=["directory 7 answers 503"])
    trouble: str | None = Field(
        examples=[None], description="Why a run is stale or hung, such as `dead_worker`."
    )
    message_trouble: str | None = Field(
        examples=[None], description="What is wrong with a waiting job's message."
    )
    created_at: datetime | None
    updated_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    last_beat_at: datetime | None
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Send it back with a change of what you saw.",
    )


class JobList(Schema):
    jobs: list[JobItem]
    next: str | None = Field(
        examples=[None],
        description="Send it as `after` for the next jobs; null at the end. With a filter without an index there may be fewer "
        "jobs than asked for, or none, before the end.",
    )


class Step(Schema):
    """What an action would do now."""

    action: str = Field(examples=["requeue"])
    will: bool = Field(description="False: it would be refused.")
    sentence: str = Field(examples=["Will wait for run 2, and its message will be sent."])


class Turn(Schema):
    """A bulk operation under way that has not come to it yet, and what it will do to it then."""

    operation: int = Field(examples=[7], description="The number of the bulk operation.")
    action: str = Field(examples=["requeue"])
    will: bool = Field(description="False: it will leave it alone, as things are now.")
    sentence: str = Field(
        examples=[
            "Bulk operation 7 will requeue it, unless it changes or the operation stops before its turn."
        ]
    )

    @classmethod
    def of(cls, turn: turns.Turn) -> Turn:
        sentence = f"Bulk operation {turn.operation} {turn.sentence}"
        return cls(operation=turn.operation, action=turn.action, will=turn.will, sentence=sentence)


TURNS = "The bulk operations under way that have not come to it yet, as its page names them; empty for a key that may not see them."


class JobEventItem(Schema):
    at: datetime
    kind: str = Field(examples=["failed"])
    run: int | None = Field(examples=[1])
    actor: str = Field(examples=["worker:node-7f3a-1732448521"])
    reason: str = Field(examples=["directory 7 answers 503"])
    note: str = Field(examples=[""], description="What a run noted that it had done.")
    reference: str = Field(examples=[""])


class ShownJob(Schema):
    job: JobItem
    diagnosis: str = Field(examples=["It is not running."])
    why: str | None = Field(
        examples=[None], description="Why it is stale or waits, where something is wrong."
    )
    actions: list[Step] = Field(description="What this key may do, and what would happen: the preview.")
    turns: list[Turn] = Field(description=TURNS)
    payload: dict[str, Any] | list[Any] | str | bool | int | float | None = Field(
        examples=[None], description="Null unless the key has the scope `payloads:read`."
    )
    payload_hidden: bool = Field(examples=[True])
    events: list[JobEventItem] = Field(description="The newest events of the timeline, newest first.")


class JobChanged(Schema):
    sentence: str = Field(examples=["Queued for run 2."])
    job: JobItem = Field(description="The job as it is now.")
