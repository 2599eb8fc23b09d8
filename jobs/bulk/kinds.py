"""What a bulk operation needs to know of that which it does: a ``Kind`` for each action."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Model

from jobs.models import BulkMember, BulkOperation
from jobs.operations.job_operations import Outcome, Step
from jobs.runs.timeline import Actor
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import OpsConsoleError

# Members of one chunk at the most: a second's work, so that cancelling never waits for longer.
MOST_A_CHUNK = 500


class BulkRefused(OpsConsoleError):
    """A bulk operation can't be begun, cancelled or resumed as asked; the message says why."""


@dataclass(frozen=True)
class Result:
    """What became of one subject."""

    subject: str
    outcome: BulkMember.Outcome
    sentence: str

    @classmethod
    def of(cls, outcome: Outcome) -> Result:
        left = BulkMember.Outcome.FAILED if outcome.failed else BulkMember.Outcome.SKIPPED
        settled = BulkMember.Outcome.DONE if outcome.done else left
        return cls(str(outcome.job_id), settled, outcome.sentence)


@dataclass(frozen=True)
class Order:
    """One chunk of an operation: these of its members."""

    operation: BulkOperation
    members: Sequence[BulkMember]

    @property
    def actor(self) -> Actor:
        return Actor(self.operation.actor, self.operation.user_id)

    @property
    def subjects(self) -> list[str]:
        return [member.subject for member in self.members]

    @property
    def steps(self) -> list[Step]:
        """What was planned for each member, with what was seen of it."""
        return [
            Step(
                job_id=UUID(member.subject),
                action=self.operation.action,
                seen_status=member.seen_status,
                seen_epoch=member.seen_epoch or 0,
                seen_reason=member.seen_reason,
                will=member.will,
                sentence=member.sentence,
            )
            for member in self.members
        ]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How the first ones fare, of which the ids are given: how many failed again, how many came through."""

    came_back: Callable[[Sequence[str]], int]
    came_through: Callable[[Sequence[str]], int]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``plan`` says what would happen to subjects with these ids, leaving out those that are gone. Those skipped
    with the same ``seen_status`` and ``seen_reason`` are counted together in the preview.

    ``carry_out`` does it to each member that is still as it was seen, and answers for each. With ``atomic`` it
    only writes to the database: the chunk and its record are one transaction. Without, it must bear being asked
    again for members of which it already did some, and answer for those as it did. ``describe`` says whose each is;
    ``states`` are words for statuses that are not those of jobs; ``page`` is the name of the admin's pages of
    the model, such as ``jobs_job``.
    """

    action: str
    model: type[Model]
    page: str
    one: str
    many: str
    verb: str
    done_word: str
    permission: str
    order: tuple[str, ...]
    plan: Callable[[Sequence[UUID]], Sequence[Step]]
    carry_out: Callable[[Order], list[Result]]
    describe: Callable[[Sequence[str]], Mapping[str, str]]
    states: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None
    atomic: bool = True
    most_a_chunk: int = MOST_A_CHUNK

    def count(self, number: int) -> str:
        """How many of them, in words: '1 job', '4,812 jobs'."""
        return exactly(number, self.one, self.many)
