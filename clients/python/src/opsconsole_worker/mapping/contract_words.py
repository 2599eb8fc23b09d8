"""The words of the contract: the columns of its tables, the statuses, and the kinds of what may differ in a database."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from types import MappingProxyType

PENDING, IN_PROGRESS, COMPLETED, FAILED = "pending", "in_progress", "completed", "failed"
CANCELLED, QUARANTINED = "cancelled", "quarantined"
STATUSES = (PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, QUARANTINED)
# A database that lacks a word for these ends such jobs with its word for a failed one.
WRITTEN_AS_FAILED = frozenset({CANCELLED, QUARANTINED})
ID_TYPES = ("uuid", "bigint", "integer", "text")
WITHOUT_ZONE, EPOCH_SECONDS, EPOCH_MILLISECONDS = "without_zone", "epoch_seconds", "epoch_milliseconds"
TIME_KINDS = (WITHOUT_ZONE, EPOCH_SECONDS, EPOCH_MILLISECONDS)
LONGEST_WORD = 200
# What tells that a run is alive: heartbeats that name jobs, those of the worker that the row names, a time on the row, its
# updated_at, or nothing but SQS.
BEATS, WORKER_BEATS = "beats", "worker_beats"
JOB_COLUMN, UPDATED_AT, VISIBILITY = "job_column", "updated_at", "visibility"
LIVES = (BEATS, WORKER_BEATS, JOB_COLUMN, UPDATED_AT, VISIBILITY)
# Of the column of job_column alone: other columns are timestamptz unless the mapping says otherwise.
WITH_ZONE = "with_zone"
DEFAULT_QUEUE = "default"

# The columns that are others'.
CONTRACT_COLUMNS: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": (
            "id",
            "customer_id",
            "package_size",
            "priority_level",
            "status",
            "error_message",
            "created_at",
            "updated_at",
            "started_at",
            "completed_at",
        ),
        "worker_heartbeats": ("worker_id", "current_job_id", "last_heartbeat"),
        "rate_limit_requests": ("id", "key", "endpoint", "method", "created_at"),
    }
)
# What the console adds to them, under these names.
OWN_COLUMNS: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": (
            "queue",
            "run_epoch",
            "claimed_epoch",
            "recovery_count",
            "attempts",
            "not_before",
            "deadline_at",
            "worker_id",
            "claimed_by_key",
            "payload",
        ),
        "worker_heartbeats": ("current_run_epoch", "started_at", "hostname", "pid", "metadata"),
        "rate_limit_requests": ("hits", "outcome", "policy"),
    }
)
# Columns of the contract that the console adds where they have none: their own workers leave it empty.
ADDED_WHEN_ABSENT: Dictionary[str, frozenset[str]] = MappingProxyType(
    {"worker_heartbeats": frozenset({"current_job_id"})}
)
TIMES: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": ("created_at", "updated_at", "started_at", "completed_at"),
        "worker_heartbeats": ("last_heartbeat",),
        "rate_limit_requests": ("created_at",),
    }
)
