"""The table of jobs as this database has it: its status words, its queue words, and what tells that a run is alive."""

# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from types import MappingProxyType

from opsconsole_worker.errors import OpsConsoleError
from opsconsole_worker.mapping.contract_words import (
    CONTRACT_COLUMNS,
    DEFAULT_QUEUE,
    FAILED,
    JOB_COLUMN,
    STATUSES,
    TIMES,
    UPDATED_AT,
    WITH_ZONE,
    WITHOUT_ZONE,
    WRITTEN_AS_FAILED,
)
from opsconsole_worker.mapping.mapped_tables import Table, Time, literal, quoted

# What follows a word of theirs that is a status of ours and means something else.
_THEIRS = " (theirs)"


class NoWord(OpsConsoleError):
    """A status can't be written, because the database has no word for it. The message says which."""


@dataclass(frozen=True)
class Life:
    """What tells that a run is alive. ``column``: of the job's row, for ``job_column`` only.

    ``time``: how that column holds a time; None: as ``created_at``. ``worker``: their column of the job's row that names the
    worker; None: the console's own ``worker_id`` alone.
    """

    told_by: str = "beats"
    column: str | None = None
    time: Time | None = None
    worker: str | None = None


@dataclass(frozen=True)
class Jobs(Table):
    """The table of jobs. ``statuses``: ours -> the words that are read, the first of which is written.

    ``queues``: the same for a column ``queue`` of their own, in which every other word means the default queue; None: the
    column is the console's.
    """

    id_type: str = "uuid"
    statuses: Dictionary[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    life: Life = Life()
    queues: Dictionary[str, tuple[str, ...]] | None = None

    @property
    def reads_otherwise(self) -> bool:
        """Tell the same as for every table; the sign of life and the queue are columns of theirs too."""
        return (
            super().reads_otherwise
            or self.queues is not None
            or self.life.worker is not None
            or self.life.told_by == JOB_COLUMN
        )

    @property
    def further_columns(self) -> list[str]:
        """Return the time on the row that tells of life, as ``life_at``."""
        return [f"{self.life_at()} AS life_at"] if self.life.told_by == JOB_COLUMN else []

    def read(self, name: str, of: str = "") -> str:
        """Return what a column holds; see ``Table.read``. Their worker counts where no worker of our protocol is named."""
        if name == "worker_id" and self.life.worker is not None:
            theirs = f"{of}.{quoted(self.life.worker)}" if of else quoted(self.life.worker)
            return f"coalesce({super().read(name, of)}::text, {theirs}::text)"
        if name == "queue" and self.queues is not None:
            return self._our_queue(super().read(name, of))
        return super().read(name, of)

    def _our_queue(self, column: str) -> str:
        """Return the queue that a word of theirs means: immutable, so that an index can hold it."""
        cases = [
            f"WHEN {column} IN ({', '.join(map(literal, words))}) THEN {literal(queue)}"
            for queue, words in (self.queues or {}).items()
            if words
        ] or [f"WHEN {column} IS NULL THEN {literal(DEFAULT_QUEUE)}"]
        return f"(CASE {' '.join(cases)} ELSE {literal(DEFAULT_QUEUE)} END)"

    def queue_written(self, queue: str) -> str:
        """Return the word to write for a queue of ours."""
        words = (self.queues or {}).get(queue)
        return words[0] if words else queue

    def life_at(self, of: str = "") -> str | None:
        """Return the time on the row that tells of life, as a timestamptz; None where no such time does."""
        if self.life.told_by == UPDATED_AT:
            return self.read("updated_at", of)
        if self.life.told_by != JOB_COLUMN or self.life.column is None:
            return None
        column = f"{of}.{quoted(self.life.column)}" if of else quoted(self.life.column)
        time = self.life_time
        return time.read(column) if time else column

    @property
    def life_time(self) -> Time | None:
        """Return how the column of ``job_column`` holds a time; None: as a timestamptz."""
        known = {self.column(name): self.times.get(name) for name in TIMES["jobs"] if self.has(name)}
        if self.life.column in known:
            return known[self.life.column]
        if self.life.time is None:
            return self.times.get("created_at")
        return None if self.life.time.kind == WITH_ZONE else self.life.time

    @property
    def cleared_of_theirs(self) -> dict[str, str]:
        """Return the columns of theirs that belong to one run, and what a restart writes there.

        Their programs may refuse a waiting job that looks locked.
        """
        contract = {self.column(name) for name in CONTRACT_COLUMNS["jobs"] if self.has(name)}
        cleared: dict[str, str] = {}
        if self.life.column is not None and self.life.column not in contract:
            time = self.life_time
            cleared[quoted(self.life.column)] = "NULL" if time is None or time.kind == WITHOUT_ZONE else "0"
        if self.life.worker is not None and self.life.worker not in contract:
            cleared[quoted(self.life.worker)] = "NULL"
        return cleared

    @property
    def no_error(self) -> str:
        """Return what a statement writes where no error is left: NULL, or an empty text into a column of theirs that refuses it."""
        if not self.differs:
            return "NULL"
        return (
            f"(SELECT '' FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass({literal(self.sql)})"
            f" AND attname = {literal(self.column('error_message'))} AND attnotnull)"
        )

    @property
    def has_own_words(self) -> bool:
        """Tell whether any status has other words than ours."""
        return any(words != (status,) for status, words in self.statuses.items())

    def times_of_new_row(self) -> dict[str, str]:
        """Return what a statement writes into the times of a new row that are no timestamptz; others have defaults."""
        return {
            name: self.to_write(name, "statement_timestamp()")
            for name in ("created_at", "updated_at")
            if name in self.times
        }

    def words(self, status: str) -> tuple[str, ...]:
        """Return their words that mean this status of ours; none where they have no such status.

        Any other text is a word of theirs itself.
        """
        if status.endswith(_THEIRS):
            return (status.removesuffix(_THEIRS),)
        return self.statuses.get(status, (status,))

    def written(self, status: str) -> str | None:
        """Return the word to write for a status of ours; None where there is none, and the change is refused."""
        words = self.words(status)
        if not words and status in WRITTEN_AS_FAILED:
            words = self.words(FAILED)
        return words[0] if words else None

    def word_for(self, status: str) -> str:
        """Return the word to write. Raise ``NoWord`` where there is none."""
        word = self.written(status)
        if word is None:
            raise NoWord(f"{self.no_word(status)} Nothing was changed.")
        return word

    def no_word(self, status: str) -> str:
        """Say why a status can't be written: the caller knows that there is no word."""
        column = f"{self.sql}.{self.sql_column('status')}"
        other = f" and none for '{FAILED}'" if status in WRITTEN_AS_FAILED else ""
        return f"This database has no word for '{status}'{other} in {column}."

    def status_of(self, word: str) -> str:
        """Return the status of ours that a word of theirs means, or the word itself if none is known."""
        found = next((status for status in STATUSES if word in self.words(status)), None)
        return found or (f"{word}{_THEIRS}" if word in STATUSES else word)

    def is_status(self, *statuses: str, of: str = "") -> str:
        """Return the condition, for a statement, that a row has one of these statuses of ours."""
        words = [word for status in statuses for word in self.words(status)]
        column = self.sql_column("status", of)
        if not words:
            return "false"
        literals = ", ".join(map(literal, words))
        return f"{column} = {literals}" if len(words) == 1 else f"{column} IN ({literals})"

    def our_status(self, of: str = "") -> str:
        """Return the status of a row in our words, for a statement that finds the row by its id: no index has it."""
        word = f"{self.sql_column('status', of)}::text"
        return self.in_our_words(word) if self.has_own_words else word

    def in_our_words(self, word: str) -> str:
        """Return, as SQL, the status that a text of theirs means, as ``status_of`` does."""
        cases = {each: status for status in STATUSES for each in self.words(status)}
        cases |= {status: f"{status}{_THEIRS}" for status in STATUSES if status not in cases}
        changed = [
            f"WHEN {literal(each)} THEN {literal(status)}" for each, status in cases.items() if each != status
        ]
        return f"(CASE {word} {' '.join(changed)} ELSE {word} END)"

    def status_written(self, status: str) -> str:
        """Return what a statement writes for a status of ours; NULL, which fails the statement, where there is no word."""
        word = self.written(status)
        return "NULL" if word is None else literal(word)
