"""Statuses of jobs in the words that people read; programs read 'pending' for both a waiting and a scheduled job."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from jobs.models import Status

WAITING, SCHEDULED = "Waiting", "Scheduled"
WAITING_OR_SCHEDULED = f"{WAITING} or {SCHEDULED.lower()}"
_WORDS = {each.value: each.label.capitalize() for each in Status} | {Status.PENDING.value: WAITING}


class Schedulable(Protocol):
    """A job, as far as its status in words needs it."""

    @property
    def status(self) -> str: ...
    def is_scheduled(self, now: datetime) -> bool: ...


def of_status(value: str) -> str:
    """Return a status in words; an unknown status is returned unchanged."""
    return _WORDS.get(value, value)


def of_job(job: Schedulable, now: datetime) -> str:
    """Return a job's status in words: one that may not start yet does not wait for a worker."""
    return SCHEDULED if job.is_scheduled(now) else of_status(job.status)


def within_sentence(status: str) -> str:
    """Return a status as it stands in the middle of a sentence: 'waiting'. An unknown one is quoted unchanged."""
    return of_status(status).lower() if status in _WORDS else f"'{status}'"


def of_job_within_sentence(job: Schedulable, now: datetime) -> str:
    return SCHEDULED.lower() if job.is_scheduled(now) else within_sentence(job.status)
