"""A proposal of a mapping: what is proposed for each table, why, and what is doubted, lost or refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.inspection.proposal.snapshot import TableFacts
from jobs.inspection.proposal.words import StatusWords
from jobs.runs import life_wording
from opsconsole.kit.mapping import Life


@dataclass
class TableProposal:
    """The part of one contract table: what to write, why, and about what a person should think."""

    facts: TableFacts | None
    columns: dict[str, str | None] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


@dataclass
class Proposal:
    """The whole mapping. ``refused``: why there is none; then the rest only tells what was looked at.

    ``taken``: what must be renamed before ``migrate``.
    """

    jobs: TableProposal
    heartbeats: TableProposal
    limits: TableProposal
    id_type: str = "uuid"
    statuses: StatusWords = field(default_factory=lambda: StatusWords({}))
    told_by: str = "visibility"
    life_column: str | None = None
    # Only where it is another kind than that of created_at.
    life_time: str | None = None
    # Their column of the job that names its worker, where heartbeats name no jobs.
    worker_column: str | None = None
    # The words of a column queue of their own.
    queue_words: list[str] | None = None
    refused: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    considered: list[str] = field(default_factory=list)

    @property
    def doubts(self) -> list[str]:
        return [*self.jobs.doubts, *self.heartbeats.doubts, *self.statuses.doubts]

    @property
    def promise(self) -> str:
        return life_wording.promise(Life(self.told_by, self.life_column))
