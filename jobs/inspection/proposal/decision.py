"""The proposal of a mapping: decided from a snapshot alone, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jobs.inspection.contract import AS_TEXT, TEXT
from jobs.inspection.proposal import queue_table, synonyms, words
from jobs.inspection.proposal.queue_table import Candidate
from jobs.inspection.proposal.snapshot import VIEWS, ColumnFacts, TableFacts
from jobs.inspection.proposal.words import StatusWords
from jobs.models.absent_columns import LOST
from jobs.runs import life_wording
from opsconsole.kit.mapping import (
    CONTRACT_COLUMNS,
    EPOCH_MILLISECONDS,
    EPOCH_SECONDS,
    LONGEST_WORD,
    OWN_COLUMNS,
    WITH_ZONE,
    WITHOUT_ZONE,
    Life,
)

ZONELESS, WHOLE_TIMES = "timestamp without time zone", ("bigint", "integer")
# A number of seconds reaches this in the year 5138.
LEAST_MILLISECONDS = 100_000_000_000
# Any other word means the default queue, too.
MOST_QUEUE_WORDS = 20
ID_TYPES = {"uuid": "uuid", "bigint": "bigint", "integer": "integer"} | dict.fromkeys(TEXT, "text")


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
    """The whole mapping. ``refused``: why there is none; then the rest only tells what was looked at."""

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
    lost: list[str] = field(default_factory=list)
    considered: list[str] = field(default_factory=list)

    @property
    def doubts(self) -> list[str]:
        return [*self.jobs.doubts, *self.heartbeats.doubts, *self.statuses.doubts]

    @property
    def promise(self) -> str:
        return life_wording.promise(Life(self.told_by, self.life_column))


def propose(tables: Iterable[TableFacts]) -> Proposal:
    """Return the proposal for the tables of a database, or why there is none."""
    tables = list(tables)
    found = queue_table.candidates(tables)
    if not found:
        return _none(tables)
    chosen = found[0]
    jobs = TableProposal(chosen.table)
    proposal = Proposal(jobs, TableProposal(None), TableProposal(None))
    proposal.considered = [
        f"{other.table.sql} looks like a queue too: check which one is meant" for other in found[1:]
    ]
    proposal.statuses = words.divide(
        chosen.words, free=chosen.status.type in TEXT and not chosen.status.words
    )
    _columns(jobs, chosen, proposal)
    _refuse(proposal, chosen)
    _life(proposal, tables)
    _queue(proposal, chosen.table)
    _limits(proposal, tables)
    _lost(proposal)
    return proposal


def _none(tables: Sequence[TableFacts]) -> Proposal:
    nothing = Proposal(TableProposal(None), TableProposal(None), TableProposal(None))
    numbers = queue_table.of_numbers(tables)
    times = queue_table.without_status(tables)
    nothing.refused = [queue_table.NONE_IS_A_QUEUE]
    nothing.considered = [
        f'{each.table.sql}."{each.status.name}" is a number: no schema tells what 3 means, and a mapping consists of words'
        for each in numbers
    ] + [
        f"{table.sql} looks like a queue, but has no status: which of its jobs run is told by times only"
        for table in times
    ]
    return nothing


def _refuse(proposal: Proposal, chosen: Candidate) -> None:
    table, status = chosen.table, chosen.status
    place = f'{table.sql}."{status.name}"'
    if table.kind in VIEWS:
        proposal.refused.append(
            f"{table.sql} is {VIEWS[table.kind]}: rows can't be locked there. Name its table"
        )
    if status.generated:
        proposal.refused.append(f"{place} is generated from other columns: it can't be written")
    if len(table.key) != 1:
        key = ", ".join(table.key)
        proposal.refused.append(
            f"the key of {table.sql} is composite ({key}): a message and a heartbeat name a job by one value"
            if key
            else f"{table.sql} has no primary key: nothing names one job"
        )
    elif proposal.jobs.columns["id"] is None:
        proposal.refused.append(
            f'the key {table.sql}."{table.key[0]}" is {table.columns[table.key[0]].type}: ids are uuid, bigint, integer or text'
        )
    wanting = {
        "pending": "for a job that waits",
        "in_progress": "for a job that runs",
        "completed": "for a completed job",
    }
    for ours, meant in wanting.items():
        if not proposal.statuses.by_status.get(ours):
            proposal.refused.append(f"{place} has no word {meant} among {', '.join(map(repr, chosen.words))}")
    if proposal.jobs.columns["created_at"] is None:
        proposal.refused.append(f"{table.sql} has no time at which a job was created")
    if {proposal.jobs.columns["started_at"], proposal.jobs.columns["updated_at"]} == {None}:
        proposal.refused.append(
            f"{table.sql} has neither a start time nor a time of change: nothing tells when a run began"
        )


def _columns(jobs: TableProposal, chosen: Candidate, proposal: Proposal) -> None:
    table = chosen.table
    jobs.columns["id"], jobs.columns["status"] = None, chosen.status.name
    jobs.reasons["status"] = _reason_of_status(chosen)
    if len(table.key) == 1 and table.columns[table.key[0]].type in ID_TYPES:
        jobs.columns["id"] = table.key[0]
        proposal.id_type = ID_TYPES[table.columns[table.key[0]].type]
        jobs.reasons["id"] = f"the primary key, {table.columns[table.key[0]].type}"
    for name in synonyms.JOB_COLUMNS:
        taken = [each for each in jobs.columns.values() if each]
        column = synonyms.find(table, synonyms.JOB_COLUMNS[name], synonyms.TYPES[name], taken)
        usable = column is not None and not column.generated and column.name not in OWN_COLUMNS["jobs"]
        jobs.columns[name] = column.name if column is not None and usable else None
        jobs.reasons[name] = f"{column.type}" if column is not None and usable else "no such column was found"
        if column is not None and usable and name.endswith("_at"):
            _time(jobs, name, column)
    _doubt_columns(jobs, chosen, proposal.statuses)


def _reason_of_status(chosen: Candidate) -> str:
    source = {"enum": "its enum", "check": "its check", "lookup": f"the table {chosen.status.refers_to}"}.get(
        chosen.status.words_from, "the rows that were sampled"
    )
    running = [word for word in chosen.words if words.meaning(word) == "in_progress"]
    return f"{chosen.status.type}; {source} has {', '.join(map(repr, running))} for a job that runs"


def _time(part: TableProposal, name: str, column: ColumnFacts) -> None:
    """Note how a column holds its times, and what can't be known of that."""
    if part.facts is None or column.type == "timestamp with time zone":
        return
    seen = part.facts.seen(column.name)
    if column.type == ZONELESS:
        part.times[name] = WITHOUT_ZONE
        part.reasons[f"times.{name}"] = "a timestamp without a zone"
        if not any(ZONELESS in doubt for doubt in part.doubts):
            part.doubts.append(
                f'"{column.name}" and its like are {ZONELESS}: read as UTC. For local times write "without_zone:Europe/Berlin"'
            )
        return
    numbers = [int(value) for value in seen if value.lstrip("-").isdigit() and int(value) > 0]
    milliseconds = bool(numbers) and max(numbers) >= LEAST_MILLISECONDS
    part.times[name] = (
        EPOCH_MILLISECONDS if milliseconds or (not numbers and column.type == "bigint") else EPOCH_SECONDS
    )
    example = f"such as {numbers[0]}" if numbers else "no row shows which"
    part.reasons[f"times.{name}"] = f"{column.type}, {example}"
    if not numbers:
        part.doubts.append(f'"{column.name}" is a number without an example: check {part.times[name]}')


def _doubt_columns(jobs: TableProposal, chosen: Candidate, statuses: StatusWords) -> None:
    rows = chosen.table.sample

    def filled(name: str, status: str) -> bool:
        column = jobs.columns.get(name)
        return column is not None and any(
            row.get(column) not in (None, "", "0")
            and statuses.status_of(row.get(chosen.status.name)) == status
            for row in rows
        )

    if filled("started_at", "pending"):
        jobs.doubts.append(
            f'"{jobs.columns["started_at"]}" is filled while jobs wait: it may not be the start of a run'
        )
    if filled("error_message", "completed"):
        jobs.doubts.append(
            f'"{jobs.columns["error_message"]}" has a text on completed jobs: it may not be an error'
        )
    if jobs.columns["priority_level"] is not None:
        jobs.doubts.append(
            f'"{jobs.columns["priority_level"]}": whether a high number comes first is in no schema'
        )
    attempts = synonyms.find(chosen.table, synonyms.ATTEMPTS)
    if attempts is not None and attempts.name not in OWN_COLUMNS["jobs"]:
        jobs.doubts.append(f'"{attempts.name}" seems to count attempts: it is neither read nor written')
    for name in OWN_COLUMNS["jobs"]:
        if name in chosen.table.columns and name != "queue":
            jobs.doubts.append(
                f'"{name}" exists already: the console uses a column of this name in its own way'
            )


def _life(proposal: Proposal, tables: Sequence[TableFacts]) -> None:
    jobs = proposal.jobs.facts
    assert jobs is not None  # noqa: S101 - the caller has chosen one
    beats = [(each, beat) for each in tables if each is not jobs and (beat := _beat(each)) is not None]
    naming = [pair for pair in beats if _job_of(pair[0], jobs) is not None]
    own = synonyms.find(jobs, synonyms.BEAT, synonyms.TIMES) or synonyms.find(
        jobs, synonyms.LOCK, synonyms.TIMES
    )
    if naming or (beats and own is None):
        table, beat = (naming or beats)[0]
        proposal.told_by = "beats" if naming else "worker_beats"
        _heartbeats(proposal, table, beat, _job_of(table, jobs))
        if not naming:
            _worker_of_job(proposal, jobs)
    elif own is not None:
        proposal.told_by, proposal.life_column = "job_column", own.name
        proposal.life_time = _life_time(proposal, own)
        if synonyms.spelled(own.name) in synonyms.LOCK:
            proposal.jobs.doubts.append(f'"{own.name}" tells of life only if workers renew it during a run')
    elif _moves(proposal):
        proposal.told_by = "updated_at"
        proposal.jobs.doubts.append(
            f'"{proposal.jobs.columns["updated_at"]}" moves after the start of runs: only if each worker touches it during a run'
        )
    else:
        proposal.jobs.doubts.append(
            "nothing seems to tell that a run is alive: only the queue's visibility timeout is left"
        )


def _life_time(proposal: Proposal, own: ColumnFacts) -> str | None:
    """Return how the column of life holds its time, where that is not as of ``created_at``."""
    part = TableProposal(proposal.jobs.facts)
    _time(part, "life", own)
    kind = part.times.get("life", WITH_ZONE)
    return None if kind == proposal.jobs.times.get("created_at", WITH_ZONE) else kind


def _queue(proposal: Proposal, table: TableFacts) -> None:
    """Let the words of their own column queue mean the default queue, until a person divides them."""
    if "queue" not in table.columns:
        return
    usable = [
        word for word in table.seen("queue") if 0 < len(word) <= LONGEST_WORD and not set(word) & set("%\0{}")
    ]
    proposal.queue_words = sorted(usable[:MOST_QUEUE_WORDS])
    proposal.jobs.doubts.append(
        '"queue" exists already: its words are read as the default queue, unless [jobs.queues] says otherwise'
    )


def _beat(table: TableFacts) -> ColumnFacts | None:
    beat = synonyms.find(table, synonyms.BEAT, synonyms.TIMES)
    worker = synonyms.find(table, synonyms.WORKER)
    return beat if worker is not None and table.kind not in VIEWS and "work" in _told(table) else None


def _told(table: TableFacts) -> str:
    """Return what tells that beats of a table are those of workers: people are "last seen" too."""
    named = [table.name, *table.columns]
    return (
        " ".join(named).lower().replace("heartbeat", "work").replace("beat", "work").replace("ping", "work")
    )


def _job_of(table: TableFacts, jobs: TableFacts) -> ColumnFacts | None:
    refers = next((each for each in table.columns.values() if each.refers_to == jobs.sql), None)
    return refers or synonyms.find(table, synonyms.JOB_OF_BEAT)


def _heartbeats(proposal: Proposal, table: TableFacts, beat: ColumnFacts, job: ColumnFacts | None) -> None:
    part = TableProposal(table)
    proposal.heartbeats = part
    worker = synonyms.find(table, synonyms.WORKER)
    part.columns = {
        "worker_id": worker.name if worker is not None else None,
        "current_job_id": job.name if job is not None else None,
        "last_heartbeat": beat.name,
    }
    part.reasons = {
        "worker_id": worker.type if worker is not None else "",
        "current_job_id": f"{job.type}" if job is not None else "no column names a job",
        "last_heartbeat": beat.type,
    }
    if worker is not None and worker.type not in TEXT:
        part.doubts.append(f'"{worker.name}" is {worker.type}: the console reads a worker\'s name as text')
    _time(part, "last_heartbeat", beat)


def _worker_of_job(proposal: Proposal, jobs: TableFacts) -> None:
    """Find the column that names the worker of a run, because heartbeats name no run."""
    worker = synonyms.find(jobs, synonyms.WORKER_OF_JOB, AS_TEXT)
    if worker is None:
        proposal.jobs.doubts.append(
            "no column names the worker of a job: whether a run is alive is unknown, and only the rule for unknown runs takes it"
        )
    elif worker.name != "worker_id":
        proposal.worker_column = worker.name


def _moves(proposal: Proposal) -> bool:
    """Tell whether the row of a run changed after its start, in the sample."""
    columns, facts = proposal.jobs.columns, proposal.jobs.facts
    updated, status = columns["updated_at"], columns["status"]
    began = columns["started_at"] or columns["created_at"]
    if facts is None or updated is None or began is None or status is None:
        return False
    running = [row for row in facts.sample if proposal.statuses.status_of(row.get(status)) == "in_progress"]
    return any((row.get(updated) or "") > (row.get(began) or "") for row in running if row.get(began))


def _limits(proposal: Proposal, tables: Sequence[TableFacts]) -> None:
    wanted = set(CONTRACT_COLUMNS["rate_limit_requests"])
    for table in tables:
        if table.name == "rate_limit_requests" and wanted <= set(table.columns):
            proposal.limits = TableProposal(
                table, {name: name for name in CONTRACT_COLUMNS["rate_limit_requests"]}
            )


def _lost(proposal: Proposal) -> None:
    for name, column in proposal.jobs.columns.items():
        if column is None and name in LOST:
            proposal.lost.append(f"{name}: {LOST[name]}")
    by_status = proposal.statuses.by_status
    for status in ("cancelled", "quarantined"):
        if not by_status.get(status):
            written = next(iter(by_status.get("failed", ())), None)
            proposal.lost.append(
                f"{status}: there is no word for it; {written!r} is written"
                if written
                else f"{status}: there is no word for it and none for a failed job; the action is refused"
            )
