"""What an answer of the console's HTTP API means to a worker: a verdict, a job, a refusal, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from opsconsole_worker import refusals
from opsconsole_worker.reports.console_http import (
    Answer,
    ConsoleAway,
    ConsoleFailed,
    ConsoleRefused,
    RowLocked,
)
from opsconsole_worker.runs.heartbeats import Verdict
from opsconsole_worker.runs.lifecycle import Failure, Refusal, Refused
from opsconsole_worker.runs.progress import Progress
from opsconsole_worker.runs.running_job import RunningJob

OK, NOTHING = 200, 204
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, TOO_LARGE, TOO_MANY, FAILED = 401, 403, 404, 409, 413, 429, 500
# Those that say, from whomever they come, that there is no console.
ELSEWHERE = {OK, NOTHING, NOT_FOUND}
# The console takes the work without a result that it can't store.
UNSTORABLE = {400, TOO_LARGE, 422}
_VERDICTS = {"continue": Verdict.GO_ON, "cancelled": Verdict.CANCELLED, "superseded": Verdict.SUPERSEDED}
_REFUSALS = {refusal.name.lower(): refusal for refusal in Refusal}
_FAILURES = {"retry": Failure.RETRY, "failed": Failure.FAILED}


def temporary_error(answer: Answer) -> ConsoleAway | None:
    """Return the error of an answer after which the same request may succeed; None for any other answer."""
    if answer.reason == "locked" and answer.status >= 500:
        return RowLocked(answer.detail, retry_after=answer.retry_after)
    kind = None
    if answer.status in {UNAUTHORIZED, FORBIDDEN}:
        # A key that is being replaced: no result of paid work may get lost meanwhile.
        kind = "The console refuses the key of this worker"
    elif answer.status == TOO_MANY:
        kind = "The console limits the requests of this worker's key"
    elif answer.status >= 500:
        kind = "The console can't do this now"
    elif 300 <= answer.status < 400 or (not answer.of_console and answer.status in ELSEWHERE):
        # A page for people to log in, say: nothing was reported, whatever the status says.
        kind = "The console is not at this address"
    elif not answer.of_console and answer.status != TOO_LARGE:
        # As 408. The console knows nothing of this request, so it has not refused it either.
        kind = "Something before the console refuses the requests of this worker"
    elif answer.status == OK and not answer.said:
        kind = "The console's answer can't be read"
    error = ConsoleFailed if answer.status == FAILED and answer.of_console else ConsoleAway
    return error(answer.detail, kind=kind, retry_after=answer.retry_after) if kind else None


def error_of(answer: Answer) -> ConsoleRefused:
    """Return the error of an answer that no report has use for."""
    return ConsoleRefused(answer.detail, kind="The console refused a report")


def late_outcome(answer: Answer) -> str:
    """Return the outcome of a report that came too late. Raise ``ConsoleRefused`` if something else is the reason."""
    if _is_of_unknown_job(answer) or (answer.status == CONFLICT and answer.reason in _VERDICTS):
        return "late"
    raise error_of(answer)


def verdict_of(answer: Answer) -> Verdict:
    """Return what a heartbeat, a note or a progress was answered."""
    if _is_of_unknown_job(answer):
        return Verdict.SUPERSEDED
    if answer.status != OK:
        raise error_of(answer)
    return _VERDICTS.get(str(answer.said.get("verdict")), Verdict.GO_ON)


def _is_of_unknown_job(answer: Answer) -> bool:
    return answer.status == NOT_FOUND and answer.reason == Refusal.UNKNOWN_JOB.name.lower()


def failure_of(answer: Answer) -> Failure:
    """Return what becomes of a run whose failure was reported."""
    return _FAILURES[str(answer.said["outcome"])] if answer.status == OK else Failure.REJECTED


def refusal_of(answer: Answer) -> Refused | None:
    """Return why a claim was refused, None where it was not."""
    refusal = _REFUSALS.get(answer.reason)
    return _refused(refusal, answer) if refusal and answer.status in {NOT_FOUND, CONFLICT} else None


def _refused(refusal: Refusal, answer: Answer) -> Refused:
    content = answer.said
    rule = None
    if refusal is Refusal.REFUSED_BY_DATABASE:
        constraint = str(content.get("constraint", ""))
        rule = refusals.Refusal(constraint, table="", column="", said=answer.detail, conflicts=True)
    return Refused(
        refusal, _interval(content.get("retryAfter")), rule, _interval(content.get("refusedForSeconds"))
    )


def _interval(seconds: object) -> timedelta:
    return timedelta(seconds=seconds) if isinstance(seconds, int | float) and seconds > 0 else timedelta(0)


def claimed_job(job_id: UUID, content: Mapping[str, Any]) -> RunningJob:
    """Return the job of an answer. Its id is the one that was asked for, in the type that the message had."""
    return RunningJob(
        id=job_id,
        customer_id=content["customer_id"],
        package_size=content["package_size"],
        priority=content["priority"],
        payload=content["payload"],
        epoch=int(content["run_epoch"]),
        attempts=int(content["attempts"]),
        last_progress=_progress(content.get("last_progress")),
    )


def _progress(content: object) -> Progress | None:
    """Return the last progress of an answer to a claim. A console of an earlier version says none."""
    if not isinstance(content, dict):
        return None
    at = datetime.fromisoformat(content["at"])
    return Progress(content["percent"], content["text"], content["run_epoch"], at)
