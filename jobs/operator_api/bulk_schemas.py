"""The documents of the operator's API about bulk operations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from ninja import Field, Schema
from pydantic import StrictBool, StrictInt

from opsconsole.kit.api_text import Identifier
from opsconsole.kit.operator_api import Asked, Change, CursorText, ListQuery
from opsconsole.kit.storable import LARGEST_INTEGER

# As many as a page selects at once; a filter may choose more.
MOST_IDS = 500
MOST_FILTERS = 10


Action: TypeAlias = Literal["requeue", "cancel", "release", "replay", "discard", "restore"]


class BulkRequest(Asked):
    """What to do, and with what: exactly one of `ids`, `filters` and `all`."""

    action: Action = Field(
        examples=["requeue"], description="The first three are about jobs, the others about dead letters."
    )
    ids: Annotated[list[Identifier | StrictInt], Field(min_length=1, max_length=MOST_IDS)] | None = Field(
        None,
        examples=[["5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901"]],
        description="As the list gave them: ids of jobs are numbers where the database numbers them.",
    )
    filters: Annotated[dict[Identifier, Identifier], Field(min_length=1, max_length=MOST_FILTERS)] | None = (
        Field(
            None,
            examples=[None],
            description='As the parameters of the list, `q` included: `{"status": "failed"}`.',
        )
    )
    all: StrictBool = Field(default=False, description="All rows of the list.")


class BulkGroup(Schema):
    """Members of which the same was seen."""

    count: int = Field(examples=[40])
    status: str = Field(examples=["failed"])
    reason: str = Field(examples=[""], description="A job's diagnosis, or the status of a letter's job.")
    sentence: str = Field(examples=["Will wait for run 2, and its message will be sent."])


class BulkMemberResult(Schema):
    """What became of a member after it was done."""

    text: str = Field(
        examples=["Failed again"], description="As in `results`, which counts the members with each."
    )
    again: str | None = Field(
        examples=[None], description="The id of the dead letter as which a replayed one failed again."
    )
    error: str | None = Field(
        examples=["ValueError: the business has no address"],
        description="What it failed again with, cut after about 120 characters.",
    )


class BulkMemberItem(Schema):
    id: str = Field(examples=["5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901"])
    about: str = Field(examples=["TEST-001"], description="Its customer or queue.")
    outcome: str = Field(examples=["waiting"])
    sentence: str = Field(examples=["Will wait for run 2, and its message will be sent."])
    result: BulkMemberResult | None = Field(
        examples=[None],
        description="What became of it by now. Null where it was not done, or where nothing is sent again, as by a cancel.",
    )


class BulkItem(Schema):
    """A bulk operation: its preview, then its progress."""

    number: int = Field(examples=[7])
    action: str = Field(examples=["requeue"])
    state: str = Field(
        examples=["preview"],
        description="`freezing` (the preview is being prepared), `preview`, `running`, `ended`, `cancelled` (stopped by somebody) or "
        "`stopped` (by itself).",
    )
    scope: str = Field(examples=["status: Failed"], description="What was chosen, in words.")
    total: int = Field(
        examples=[40], description="The members, which are frozen: what matches later is not among them."
    )
    will: int = Field(
        examples=[40], description="Those that it does not skip. Send this number with `confirm`."
    )
    capped: bool = Field(examples=[False], description="More matched than one operation may have.")
    done: int = Field(examples=[0])
    skipped: int = Field(examples=[0])
    failed: int = Field(examples=[0])
    remaining: int = Field(examples=[40])
    sentence: str = Field(examples=[""], description="Why it is in this state.")
    actor: str = Field(examples=["api:deploys (…x1Yz), made by olga"])
    reason: str = Field(examples=[""])
    created_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Send it back with a change of what you saw.",
    )


class BulkListQuery(ListQuery):
    """Without parameters, all that were confirmed are listed."""

    state: Literal["running", "ended", "cancelled", "stopped"] | None = Field(
        None, description="`stopped`: by itself, because the first of a replay failed again."
    )
    action: Action | None = Field(None, description="What is done to each member.")


class BulkList(Schema):
    operations: list[BulkItem]
    next: str | None = Field(
        examples=[None], description="Send it as `after` for the next operations; null at the end."
    )


class BulkPreview(Schema):
    operation: BulkItem
    confirm_until: datetime
    will: list[BulkGroup] = Field(description="What would be done.")
    skipped: list[BulkGroup] = Field(description="What would be refused, and why.")
    sample: list[BulkMemberItem] = Field(description="The first members that would be changed.")
    caveats: list[str] = Field(examples=[[]], description="What the choice can't include.")


class BulkBeingPrepared(Schema):
    """A preview that the cluster prepares: `total` tells how many members are frozen by now."""

    operation: BulkItem


class Confirm(Change):
    will: Annotated[StrictInt, Field(ge=0, le=LARGEST_INTEGER)] = Field(
        examples=[40], description="The number of the preview, so that you mean as many."
    )


class BulkQuery(Schema):
    outcome: Literal["waiting", "done", "skipped", "failed"] | None = Field(
        None, description="Only members with this outcome."
    )
    after: CursorText | None = Field(None, description="The `next` of the answer before this one.")


class CountOf(Schema):
    text: str = Field(examples=["Completed"])
    count: int = Field(examples=[12])


class BulkEventItem(Schema):
    at: datetime
    kind: str = Field(examples=["begun"])
    actor: str = Field(examples=["api:deploys (…x1Yz), made by olga"])
    reason: str = Field(examples=["the address service is back"])


class ShownBulk(Schema):
    operation: BulkItem
    results: list[CountOf] = Field(
        description="What became of the members that were done: of all, or of a sample of about 1,000 of more."
    )
    not_done: list[CountOf] = Field(description="Why members were skipped or failed.")
    members: list[BulkMemberItem] = Field(description="25 members; see `next`.")
    next: str | None = Field(examples=[None])
    events: list[BulkEventItem] = Field(
        description="Decisions of people and of the console, such as a failed trial."
    )
