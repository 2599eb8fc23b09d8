"""Which of the tables is a queue of jobs: one whose status has a running word, whatever its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.inspection.contract import STATUS as STATUS_TYPES
from jobs.inspection.contract import WHOLE
from jobs.inspection.proposal import synonyms, words
from jobs.inspection.proposal.snapshot import ColumnFacts, TableFacts

NONE_IS_A_QUEUE = "none of these is a queue: no status of theirs has a word for a job that runs"
DOMAIN_OVER_ENUM = "domain over an enum"
_NAMES = re.compile(r"job|task|queue|run|execution|export|import|batch|work|sync|pipeline", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """A table that may be the queue, the column of its status, and the words which that accepts or has."""

    table: TableFacts
    status: ColumnFacts
    words: tuple[str, ...]

    @property
    def score(self) -> tuple[int, int, int]:
        """Return what makes one of several queues the likelier one: ordinary tables, their names, their columns."""
        columns = sum(synonyms.find(self.table, names) is not None for names in synonyms.JOB_COLUMNS.values())
        is_table = self.table.kind in "rp"
        return is_table, columns + 2 * bool(_NAMES.search(self.table.name)), self.table.estimate


def words_of(table: TableFacts, status: ColumnFacts) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*status.words, *table.seen(status.name)]))


def status_columns(table: TableFacts) -> list[ColumnFacts]:
    found = (synonyms.find(table, [name]) for name in synonyms.STATUS)
    return [column for column in found if column is not None]


def candidates(tables: Iterable[TableFacts]) -> list[Candidate]:
    """Return the tables with a running word beside one for what waits or is done, likeliest first."""
    tables_of_queues = []
    for table in tables:
        for status in status_columns(table):
            candidate = Candidate(table, status, words_of(table, status))
            meanings = {words.meaning(word) for word in candidate.words}
            if (
                status.type in {*STATUS_TYPES, DOMAIN_OVER_ENUM}
                and "in_progress" in meanings
                and meanings & {"pending", "completed"}
            ):
                tables_of_queues.append(candidate)
                break
    return sorted(tables_of_queues, key=lambda candidate: candidate.score, reverse=True)


def of_numbers(tables: Iterable[TableFacts]) -> list[Candidate]:
    """Return tables that look like queues, but hold a number for the status: no schema tells what it means."""
    return [
        Candidate(table, status, ())
        for table in tables
        for status in status_columns(table)
        if status.type in WHOLE
        and _NAMES.search(table.name)
        and any(synonyms.find(table, synonyms.JOB_COLUMNS[name]) for name in ("started_at", "completed_at"))
    ]


def with_unknown_words(tables: Iterable[TableFacts]) -> list[Candidate]:
    """Return tables with the times of a queue, whose status has words, but none that is known for a job that runs."""
    return [
        candidate
        for table in tables
        if table.kind in "rp"
        and any(synonyms.find(table, synonyms.JOB_COLUMNS[name]) for name in ("started_at", "completed_at"))
        for status in status_columns(table)[:1]
        if status.type in STATUS_TYPES
        and (candidate := Candidate(table, status, words_of(table, status))).words
        and "in_progress" not in {words.meaning(word) for word in candidate.words}
    ]


def with_hidden_words(tables: Iterable[TableFacts]) -> list[TableFacts]:
    """Return tables with a status of which this role sees no word, because row-level security hides rows from it."""
    return [
        table
        for table in tables
        if table.hidden and any(not words_of(table, status) for status in status_columns(table))
    ]


def without_status(tables: Iterable[TableFacts]) -> list[TableFacts]:
    """Return tables that look like queues, but have no status at all: claimed, started and completed are times only."""
    return [
        table
        for table in tables
        if _NAMES.search(table.name)
        and not status_columns(table)
        and any(
            (column.type == "boolean" and synonyms.spelled(column.name) in {"inflight", "locked", "running"})
            or synonyms.spelled(column.name) in synonyms.LOCK
            for column in table.columns.values()
        )
    ]
