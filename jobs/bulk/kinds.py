"""The kinds of bulk operations: what an operation needs to know about its action."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet

from jobs.models import BulkMember, BulkOperation
from jobs.operations.steps import Outcome, Step
from jobs.runs.timeline import Actor
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.one_statement import Reading

# The most members per chunk: about a second's work, so that cancelling never waits longer.
MOST_A_CHUNK = 500
# The most failed members that the page of an operation names.
MOST_NAMED = 25


class BulkRefused(OpsConsoleError):
    """A bulk operation can't be begun, cancelled or resumed as asked; the message says why."""


@dataclass(frozen=True)
class Result:
    """The outcome for one subject."""

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
    """One chunk of an operation."""

    operation: BulkOperation
    members: Sequence[BulkMember]
    kind: Kind

    @property
    def actor(self) -> Actor:
        return Actor(self.operation.actor, self.operation.user_id)

    @property
    def subjects(self) -> list[str]:
        return [member.subject for member in self.members]

    @property
    def steps(self) -> list[Step]:
        """Return what was planned for each member, with what was seen of it."""
        return [self.kind.step_of(member) for member in self.members]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Functions that tell, for given ids, which of the first members failed again and how many completed."""

    came_back: Callable[[Sequence[str]], Sequence[str]]
    came_through: Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class MemberResult:
    """What became of a member that was done.

    ``again``: the id of the subject as which it failed again, if it is another; ``error``: what it failed again with.
    """

    label: str
    tone: str
    again: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Functions that follow what became of members after they were done, each in one query.

    ``totals`` counts the members with these ids per label, with a tone; ``failed`` returns the ids of those that
    failed again; ``of`` reads what became of each, together with what a page asks of other kinds.
    """

    totals: Callable[[QuerySet[Any]], Sequence[tuple[MemberResult, int]]]
    failed: Callable[[QuerySet[Any]], Sequence[str]]
    of: Callable[[Sequence[str]], Reading[Mapping[str, MemberResult]]]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Subjects that are decided alike, because only these columns count; the first one is the status.

    ``apart``: the statuses of subjects that are planned one by one. ``plan`` returns the step for given values, as texts.
    """

    columns: tuple[str, ...]
    apart: tuple[str, ...]
    plan: Callable[[Sequence[str]], Step]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of bulk operation.

    ``plan`` returns what would happen to the subjects with these ids, without those that no longer exist. Skipped
    subjects with the same ``seen_status`` and ``seen_reason`` are counted together in the preview.

    ``carry_out`` acts on each member that is still as it was seen, and returns a result per member. With ``atomic`` it
    only writes to the database, and the chunk and its record share a transaction. Otherwise it may be called again
    for members that it has already done, and must return the same results. ``describe`` names the owner of each
    subject; ``states`` labels statuses that are not those of jobs; ``page`` is the name of the model's admin pages,
    such as ``jobs_job``. ``caveats`` are sentences for the preview about what the choice can't include.
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
    alike: Alike | None = None
    trial: Trial | None = None
    results: Results | None = None
    caveats: Callable[[], Sequence[str]] = tuple
    atomic: bool = True
    most_a_chunk: int = MOST_A_CHUNK

    def subject_id(self, subject: str) -> Any:
        """Return the key of a subject from its text."""
        return self.model._meta.pk.to_python(subject)  # noqa: SLF001 - documented

    def step_of(self, member: BulkMember) -> Step:
        """Return what was planned for a member, with what was seen of it."""
        return Step(
            job_id=self.subject_id(member.subject),
            action=self.action,
            seen_status=member.seen_status,
            seen_epoch=member.seen_epoch or 0,
            seen_reason=member.seen_reason,
            will=member.will,
            sentence=member.sentence,
        )

    @property
    def did(self) -> str:
        """Return what the audit says of this action."""
        return f"{self.done_word.capitalize()}."

    def count(self, number: int) -> str:
        """Return the count in words: '1 job', '4,812 jobs'."""
        return exactly(number, self.one, self.many)
