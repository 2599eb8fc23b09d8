"""The documents of the operator's API about dead letters."""

from __future__ import annotations

from datetime import datetime

from ninja import Field, Schema

from jobs.operator_api.job_schemas import TURNS, Step, Turn
from opsconsole.kit.api_text import Identifier
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.operator_api import ListQuery


class LettersQuery(ListQuery):
    """The filters of the page *Dead letters*. Without `state`, letters undecided or being replayed are listed, as there."""

    state: Identifier | None = Field(None, description="`in_queue`, `kept`, `replayed`, ..., or `all`.")
    group: Identifier | None = Field(None, description="The number of a failure group.")
    left: Identifier | None = Field(None, description="`hour` or `day`: SQS deletes it within that time.")
    queue: Identifier | None = Field(None, description="The source queue.")
    dlq: Identifier | None = Field(None, description="The number of a dead letter queue.")
    q: Identifier | None = Field(
        None, description="Words of the redacted body, or the id of a letter, a message or a job."
    )


class LetterItem(Schema):
    """A dead letter as lists show it."""

    id: str = Field(examples=["0c9f1b6e-52ad-4f0b-9d59-0c2d8c7f6a10"])
    state: str = Field(examples=["in_queue"])
    queue: str = Field(examples=["default"], description="The source queue; empty when unknown.")
    group: int = Field(examples=[4], description="The number of its failure group.")
    failure: str = Field(examples=["ConnectionError: the directory did not answer"])
    job_id: JobId | None = Field(description="Null unless the key may see jobs, too.")
    job_status: str | None = Field(examples=["failed"])
    result: str | None = Field(examples=[None], description="What became of a replay, such as `completed`.")
    came_back: int = Field(examples=[0], description="How often it was replayed and came back.")
    size: int = Field(examples=[312], description="The size of the body in bytes.")
    receives: int = Field(examples=[3])
    first_seen_at: datetime
    sent_at: datetime | None
    expires_at: datetime | None = Field(description="When SQS deletes it.")
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Send it back with a change of what you saw.",
    )


class LetterList(Schema):
    letters: list[LetterItem]
    next: str | None = Field(
        examples=[None], description="Send it as `after` for the next letters; null at the end."
    )


class LedgerItem(Schema):
    action: str = Field(examples=["replay"])
    state: str = Field(examples=["done"])
    actor: str = Field(examples=["operator:olga"])
    reason: str = Field(examples=["the address service is back"])
    wanted_at: datetime
    ended_at: datetime | None


class ShownLetter(Schema):
    letter: LetterItem
    body: str | None = Field(
        examples=[None],
        description="Redacted, and cut as on the page. Null unless the key has the scope `payloads:read`.",
    )
    body_hidden: bool = Field(examples=[True])
    actions: list[Step] = Field(description="What this key may do, and what would happen: the preview.")
    turns: list[Turn] = Field(description=TURNS)
    ledger: list[LedgerItem] = Field(description="What was done to it, oldest first.")


class LetterChanged(Schema):
    sentence: str = Field(examples=["Waits to be sent to the queue default."])
    letter: LetterItem = Field(description="The letter as it is now. The cluster carries the change out.")
