"""What tells that a run is alive: heartbeats that name jobs or workers, a time on the row, or SQS alone."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.inspection.contract import AS_TEXT, TEXT
from jobs.inspection.proposal import synonyms, times
from jobs.inspection.proposal.proposed import Proposal, TableProposal
from jobs.inspection.proposal.snapshot import VIEWS, ColumnFacts, TableFacts
from opsconsole.kit.mapping import OWN_COLUMNS, WITH_ZONE

KINDS = VIEWS | {"p": "a partitioned table"}


def tell(proposal: Proposal, tables: Sequence[TableFacts]) -> None:
    """Note what tells of life, with the table of heartbeats where there is one."""
    jobs = proposal.jobs.facts
    assert jobs is not None  # noqa: S101 - the caller has chosen one
    beating = [(each, beat) for each in tables if each is not jobs and (beat := _beat(each)) is not None]
    beats = [(each, beat) for each, beat in beating if each.kind == "r"]
    proposal.considered += [
        f"{each.sql} seems to hold heartbeats, but is {KINDS[each.kind]}: only an ordinary table can be mapped"
        for each, _ in beating
        if each.kind in KINDS
    ]
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
        holder = synonyms.find(jobs, synonyms.LOCKED_BY, AS_TEXT)
        proposal.worker_column = holder.name if holder is not None else None
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
    times.note(part, "life", own)
    kind = part.times.get("life", WITH_ZONE)
    return None if kind == proposal.jobs.times.get("created_at", WITH_ZONE) else kind


def _beat(table: TableFacts) -> ColumnFacts | None:
    beat = synonyms.find(table, synonyms.BEAT, synonyms.TIMES)
    worker = synonyms.find(table, synonyms.WORKER)
    return beat if worker is not None and "work" in _words_of(table) else None


def _words_of(table: TableFacts) -> str:
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
    times.note(part, "last_heartbeat", beat)
    part.doubts += [
        f'"{name}" exists already: the console uses a column of this name in its own way'
        for name in OWN_COLUMNS["worker_heartbeats"]
        if name in table.columns
    ]


def _worker_of_job(proposal: Proposal, jobs: TableFacts) -> None:
    """Find the column that names the worker of a run, because heartbeats name no run."""
    heartbeats = proposal.heartbeats.columns.get("worker_id") or ""
    # A job that names its host by the word that heartbeats have for it.
    same = [synonyms.spelled(heartbeats)] if synonyms.spelled(heartbeats) not in {"id", "name"} else []
    worker = synonyms.find(jobs, [*same, *synonyms.WORKER_OF_JOB], AS_TEXT)
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
