"""Proposals for the job tables of thirty public repositories, as data: what each is taken for, or why it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.inspection.proposal import Proposal, propose, render
from jobs.inspection.proposal.snapshot import ColumnFacts, TableFacts, columns
from opsconsole_worker.mapping import mapping_file

TZ, NZ, UUID, BIG, INT, TEXT, BOOL = (
    "timestamp with time zone", "timestamp without time zone", "uuid", "bigint", "integer", "text", "boolean",
)  # fmt: skip


def table(name: str, status: str, words: str, given: str = "", key: str = "id", **more: Any) -> TableFacts:
    """Return a table: ``given`` is like "id uuid, created_at tz"; the status has the words, split at |."""
    types = {
        "tz": TZ,
        "nz": NZ,
        "uuid": UUID,
        "big": BIG,
        "int": INT,
        "text": TEXT,
        "bool": BOOL,
        "jsonb": "jsonb",
    }
    facts = [
        ColumnFacts(column, types[kind])
        for column, kind in (each.split() for each in given.split(", ") if each)
    ]
    type_, source = more.pop("type", TEXT), more.pop("source", "")
    if status:
        accepted = tuple(words.split("|")) if source else ()
        facts.append(
            ColumnFacts(
                status, type_, more.pop("generated", False), accepted, source, more.pop("refers_to", "")
            )
        )
    rows = () if source or not status else tuple({status: word} for word in words.split("|"))
    return TableFacts(name, columns(*facts), key=tuple(key.split(",")), sample=rows, **more)


TIMES = "created_at tz, updated_at tz, started_at tz, completed_at tz"
NZ_TIMES = "created_at nz, updated_at nz, started_at nz, completed_at nz"

# name: table, pending, in_progress, completed, failed words; id type; how life is told; a word of a doubt or loss
PROPOSED = {
    "A": (table("jobs", "status", "queued|processing|completed|failed", f"id uuid, last_error text, attempts int, {TIMES}",
                source="check"), "queued", "processing", "completed", "failed", "uuid", "visibility", "exists already"),
    "C": (table("jobs", "status", "pending|processing|completed|failed", "id uuid, error text, created_at tz, started_at tz"),
          "pending", "processing", "completed", "failed", "uuid", "visibility", "updated_at: a change"),
    "D": (table("jobs", "status", "queued|running|done|error", f"job_id big, tenant_id big, error text, {TIMES}", key="job_id"),
          "queued", "running", "done", "error", "bigint", "visibility", "tried again"),
    "E": (table("BackgroundJob", "status", "PENDING|PROCESSING|COMPLETED|FAILED",
                "id text, jobId text, retried int, submittedAt nz, updatedAt nz, completedAt nz", type="enum", source="enum"),
          "PENDING", "PROCESSING", "COMPLETED", "FAILED", "text", "visibility", "count attempts"),
    "F": (table("Job", "status", "PENDING|PROCESSING|DONE|FAILED", "id text, lockedAt nz, lastError text, createdAt nz, updatedAt nz",
                type="enum", source="enum"), "PENDING", "PROCESSING", "DONE", "FAILED", "text", "job_column", "renew it"),
    "G": (table("jobs", "status", "pending|running|completed|failed", f"id text, priority text, error text, retries int, {NZ_TIMES}"),
          "pending", "running", "completed", "failed", "text", "visibility", "high number"),
    "H": (table("scan_task", "status", "created|queued|requested|started|finished|failed", "id uuid, createdAt nz, startedAt nz"),
          "queued", "started", "finished", "failed", "uuid", "visibility", "held back"),
    "I": (table("Job", "status", "Pending|In-Progress|Completed|Failed|Expired|Aborted|Suspended",
                "id uuid, creationTime tz, updateTime tz, priority int, reason text", type="enum", source="enum",
                schema="JobManager", on_path=False),
          "Pending", "In-Progress", "Completed", "Failed", "uuid", "visibility", "'Suspended'"),
    "J": (table("jobs", "state", "available|running|completed|failed|paused|canceled",
                "id uuid, last_heartbeat tz, created tz, last_transition tz, priority int", type="enum", source="enum"),
          "available", "running", "completed", "failed", "uuid", "job_column", "'paused'"),
    "K": (table("jobs", "state", "queued|processing|completed|errored|failed",
                "id int, last_heartbeat_at tz, failure_message text, created_at tz, started_at tz, finished_at tz"),
          "queued", "processing", "completed", "failed", "integer", "job_column", "'errored'"),
    "M": (table("jobs", "status", "pending|in_progress|success|error|warning|cancel_requested|canceled",
                "id text, type text, priority big, createat big, startat big, lastactivityat big"),
          "pending", "in_progress", "success", "error", "text", "job_column", "'warning'"),
    "N": (table("jobs", "status", "accepted|running|successful|complete_with_errors|failed|canceled|paused|previewing",
                "id int, jobID uuid, message text, createdAt tz, updatedAt tz", source="check"),
          "accepted", "running", "successful", "failed", "integer", "visibility", "'complete_with_errors'"),
    "P": (table("jobs", "job_status", "pending|in progress|finished|ready to send|sending limits exceeded|scheduled|cancelled|error",
                "id uuid, service_id uuid, created_at nz, processing_started nz", source="lookup"),
          "pending", "in progress", "finished", "error", "uuid", "visibility", "'ready to send'"),
    "S": (table("jobs", "state", "scheduled|assigned|setup|running|uploading|done|cancelled",
                "id big, reason text, t_created nz, t_updated nz, t_started nz, t_finished nz, priority int"),
          "scheduled", "running", "done", None, "bigint", "visibility", "'assigned'"),
    "U": (table("core_task", "state", "waiting|running|completed|failed|canceled|canceling|skipped",
                "pulp_id uuid, pulp_created tz, created_at tz, started_at tz, finished_at tz", key="pulp_id"),
          "waiting", "running", "completed", "failed", "uuid", "visibility", "'canceling'"),
    "V": (table("transitions", "state", "waiting|locked|started|succeeded|failed",
                "id big, locked_at nz, last_error text, created_at nz, updated_at nz, priority int"),
          "waiting", "started", "succeeded", "failed", "bigint", "job_column", "'locked'"),
    "W": (table("syncs", "status", "pending|syncing|completed|failed", "id uuid, error text, created_at nz, updated_at nz"),
          "pending", "syncing", "completed", "failed", "uuid", "visibility", "step of a run"),
    "X": (table("deployments", "status", "queued|in_progress|finished|failed|cancelled-by-user",
                "id big, created_at nz, updated_at nz"),
          "queued", "in_progress", "finished", "failed", "bigint", "visibility", "without_zone:Europe/Berlin"),
    "Z": (table("jobs", "state", "pending|running|done|failed", "id uuid, inserted_at nz, updated_at nz"),
          "pending", "running", "done", "failed", "uuid", "visibility", "error_message: why"),
    "AC": (table("jobs", "status", "waiting|inprogress|complete|error", "id text, error text, created_at tz, start_time tz",
                 type="enum", source="enum"), "waiting", "inprogress", "complete", "error", "text", "visibility", "must not be sent"),
}  # fmt: skip

REFUSED = {
    "B": (table("jobs", "status", "pending|processing|complete", "id uuid, created_at tz, run_at nz"), "neither a start time"),
    "L": (table("provisioner_jobs", "job_status", "pending|running|succeeded|failed", f"id uuid, {TIMES}", type="enum",
                source="enum", generated=True), "is generated"),
    "O": (table("executions", "status", "running|completed|failed|unknown", "cumulus_id big, created_at tz, updated_at tz",
                source="check", kind="p", key="cumulus_id,created_at"), "composite (cumulus_id, created_at)"),
    "Q": (table("job", "job_status_id", "1|2", f"job_id int, {NZ_TIMES}", type=INT, key="job_id"), "is a number"),
    "R": (table("job_queue_batch", "status", "0|1", "batch_id uuid, start_time tz", type=INT, key="batch_id"), "is a number"),
    "T": (table("task", "state", "0|1", "id int, create_time nz, start_time nz, priority int", type=INT), "is a number"),
    "Y": (table("executions", "state", "CREATED|RUNNING|SUCCESS|FAILED", "key text, created_at nz, started_at nz", type="enum",
                source="enum", generated=True, key="key"), "is generated"),
    "AA": (table("job", "status", "Waiting|Active|Completed|Failed", "partition_id text, job_id text, created_at nz, updated_at nz",
                 key="partition_id,job_id", source="enum", type="enum"), "composite (partition_id, job_id)"),
    "AB": (table("queue_jobs", "", "", "queue text, id text, in_flight bool, expires_at nz", key="queue,id"), "no status"),
    "AD": (table("scheduled_job", "", "", "id uuid, claimed_at tz, started_at tz, completed_at tz"), "no status"),
    "vacancies": (table("jobs", "status", "draft|published|expired|filled", "id int, created_at tz"), "none of these is a queue"),
    "sales leads": (table("jobs", "status", "new|open house|closed", f"id int, {TIMES}"), "none of these is a queue"),
    "a view": (table("jobs", "status", "pending|running|done", f"id uuid, {TIMES}", kind="v"), "is a view"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROPOSED)
def test_queue_is_proposed_with_its_words_and_doubts(name: str) -> None:
    facts, pending, running, completed, failed, id_type, life, told = PROPOSED[name]
    found = propose([facts])

    assert not found.refused
    mapped = mapping_file.parse(render(found)).jobs
    assert [mapped.written(status) for status in ("pending", "in_progress", "completed", "failed")] == [
        pending, running, completed, failed,
    ]  # fmt: skip
    assert (mapped.id_type, mapped.life.told_by) == (id_type, life)
    assert told in " ".join([*found.doubts, *found.lost])
    assert told in render(found)


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_mapped_is_refused_with_the_reason(name: str) -> None:
    facts, reason = REFUSED[name]
    found = propose([facts])

    assert found.refused
    assert reason in render(found)
    assert "told_by" not in render(found)


def test_no_ambiguous_word_is_ever_written() -> None:
    for facts, *_ in PROPOSED.values():
        mapped = mapping_file.parse(render(propose([facts]))).jobs
        written = {mapped.written(status) for status in ("pending", "in_progress", "failed")}
        assert not written & {
            "errored",
            "locked",
            "assigned",
            "requested",
            "paused",
            "Suspended",
            "canceling",
            "warning",
        }


def test_start_that_is_filled_while_jobs_wait_is_doubted() -> None:
    facts = table("jobs", "status", "", f"id uuid, {TIMES}")
    rows = [
        {"status": word, "started_at": "2026-01-01 00:00:00+00"} for word in ("pending", "running", "done")
    ]
    found: Proposal = propose([TableFacts(facts.name, facts.columns, sample=tuple(rows))])

    assert any('"started_at" is filled while jobs wait' in doubt for doubt in found.doubts)


@pytest.mark.parametrize(
    ("columns_of_beats", "told_by"),
    [
        ("worker_id text, job_id uuid, last_seen tz", "beats"),
        ("worker_id text, last_seen tz", "worker_beats"),
    ],
)
def test_beats_tell_of_life_whether_or_not_they_name_jobs(columns_of_beats: str, told_by: str) -> None:
    queue = table("jobs", "status", "pending|running|done", f"id uuid, {TIMES}")
    found = propose([queue, table("workers", "", "", columns_of_beats, key="worker_id")])

    assert found.told_by == told_by
    assert found.promise in render(found)


def test_people_who_were_last_seen_are_no_workers() -> None:
    queue = table("jobs", "status", "pending|running|done", f"id uuid, {TIMES}")
    found = propose([queue, table("users", "", "", "id uuid, name text, last_seen tz")])

    assert found.heartbeats.facts is None
