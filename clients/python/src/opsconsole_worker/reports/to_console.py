"""Reports to the console's HTTP API: the same protocol without a connection to the database (docs/api.md)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from opsconsole_worker import settings
from opsconsole_worker.database.door import Errors
from opsconsole_worker.reports.console_answers import (
    NOTHING,
    OK,
    UNSTORABLE,
    claimed_job,
    error_of,
    failure_of,
    late_outcome,
    refusal_of,
    temporary_error,
    verdict_of,
)
from opsconsole_worker.reports.console_http import (
    Answer,
    ConsoleAway,
    ConsoleError,
    ConsoleFailed,
    ConsoleHttp,
    ConsoleRefused,
)
from opsconsole_worker.reports.protocol import Pause
from opsconsole_worker.runs import run_log
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import ERROR_LENGTH, Failure, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.storable import plain_text

# A report at which the console fails again and again is left to recovery, so that the worker is not lost to it.
MOST_FAILURES = 8
PROGRESS_SECONDS = 5.0


class ConsoleReports:
    """Each report is one request to the console; see ``protocol.Reports``.

    ``idle_every``: how often a worker without work says that it lives, and asks whether its queue is paused. The policy of its
    key counts the requests.
    """

    name = "The console"
    errors: Errors = (ConsoleError,)
    away: Errors = (ConsoleAway,)

    def __init__(self, console: ConsoleHttp, *, idle_every: timedelta | None = None) -> None:
        self._console = console
        self._idle_every = idle_every
        self._told_seconds: float | None = None
        self._said_at: float | None = None
        self._pause: Pause | None = None
        self._failures = 0

    @property
    def beat_seconds(self) -> float:
        """Return the time between two heartbeats: the console's, or a shorter one of the settings."""
        own = settings.current().beat_seconds
        return own if self._told_seconds is None else min(own, self._told_seconds)

    def headline(self, error: BaseException) -> str | None:
        """Return what kind of answer this was."""
        return error.kind if isinstance(error, ConsoleError) else None

    def pause_asked(self, error: BaseException) -> float:
        """Return the seconds of the header Retry-After, but never so many that a run which waits for them becomes stale."""
        longest = settings.current().stale_after.total_seconds() / 2
        return min(error.retry_after, longest) if isinstance(error, ConsoleError) else 0.0

    def refresh(self) -> None:
        """Do nothing: a connection that was closed is replaced when it is needed."""

    def close(self) -> None:
        """Close the connection of this thread, and ask the console before the next message is received."""
        self._said_at = None
        self._console.close()

    def idle(self, worker: Worker, queue: str) -> Pause | None:
        """Say that the worker lives, unless it did so a moment ago; return who paused its queue."""
        every = self.beat_seconds if self._idle_every is None else self._idle_every.total_seconds()
        if self._said_at is None or time.monotonic() - self._said_at >= every:
            answer = self._ask("workers/beat", worker, queue=queue)
            paused = answer.said.get("paused")
            self._pause = (str(paused["by"]), str(paused["reason"])) if isinstance(paused, dict) else None
            self._said_at = time.monotonic()
        return self._pause

    def claim(
        self,
        job_id: UUID,
        run_epoch: int | None,
        worker: Worker,
        *,
        dead_letter_id: str | None,
        asked_before: bool,
    ) -> RunningJob | Refused:
        """Claim a run. An answer that never came leaves a doubt: ask again with ``asked_before``."""
        content = {"run_epoch": run_epoch, "dead_letter_id": dead_letter_id, "asked_before": asked_before}
        answer = self._post(_path(job_id, "claim"), worker, content)
        if refused := refusal_of(answer):
            why = refused.rule.rule if refused.rule else refused.refusal.value
            run_log.refused(job_id, run_epoch, worker.id, why, by_rule=refused.rule is not None)
            return refused
        if answer.status != OK:
            raise error_of(answer)
        self._told_seconds = float(answer.said["beat_every_seconds"])
        job = claimed_job(job_id, answer.said)
        run_log.claimed(job.id, job.epoch, worker.id)
        return job

    def put_off(self, job_id: UUID, run_epoch: int | None, worker: Worker, delay: timedelta) -> bool:
        """Have the message of a waiting run sent again later."""
        seconds = round(delay.total_seconds())
        answer = self._ask(_path(job_id, "put-off"), worker, run_epoch=run_epoch, seconds=seconds)
        return answer.said.get("posted") is True

    def give_back(self, job_id: UUID, worker: Worker) -> bool:
        """Requeue a run that never began."""
        given = self._ask(_path(job_id, "give-back"), worker).said.get("given_back") is True
        if given:
            run_log.given_back(job_id, worker.id)
        return given

    def count_given_back(self, worker: Worker, *, locked: int, refused: int) -> None:
        """Tell how many messages the worker gave back."""
        self._ask("workers/beat", worker, given_back={"locked": locked, "refused": refused})

    def beat(self, run: Run) -> Verdict:
        """Send the heartbeat of a run."""
        return verdict_of(self._post(_path(run.job_id, "beat"), run.worker, {"run_epoch": run.epoch}))

    def verdict(self, run: Run) -> Verdict:
        """Return what the heartbeat says."""
        return self.beat(run)

    def note(self, run: Run, text: str, reference: str, *, once: str, asked_before: bool) -> bool:
        """Record what a run has done outside."""
        named = {"once": once, "asked_before": asked_before}
        content = named | {"note": _text(text), "reference": _text(reference), "run_epoch": run.epoch}
        answer = self._post(_path(run.job_id, "progress"), run.worker, content)
        return verdict_of(answer) is Verdict.GO_ON

    @property
    def progress_seconds(self) -> float:
        """Return as long as a page takes between two looks: each report is a request that the policy of the key counts."""
        return PROGRESS_SECONDS

    def progress(self, run: Run, percent: float | None, text: str) -> Verdict:
        """Store how far a run is."""
        content = {"percent": percent, "text": text, "run_epoch": run.epoch}
        return verdict_of(self._post(_path(run.job_id, "percent"), run.worker, content))

    def complete(self, run: Run, details: Mapping[str, Any]) -> bool:
        """Complete a run: the work counts, also where the console can't keep its result."""
        answer = self._end(run, "complete", details=dict(details))
        if answer.status in UNSTORABLE and details and answer.reason != "refused_by_database":
            answer = self._end(run, "complete", details={"result_not_kept": answer.detail})
        outcome = "completed" if answer.status == OK else late_outcome(answer)
        run_log.ended(outcome, run.job_id, run.epoch, run.worker.id)
        return outcome != "late"

    def fail(self, run: Run, error: str, *, retryable: bool) -> Failure:
        """Record the failure of a run."""
        answer = self._end(run, "fail", error=_text(error), retryable=retryable)
        failure = failure_of(answer)
        outcome = "retry_scheduled" if failure is Failure.RETRY else "failed"
        ended = outcome if answer.status == OK else late_outcome(answer)
        run_log.ended(ended, run.job_id, run.epoch, run.worker.id)
        return failure

    def leave(self, worker: Worker) -> None:
        """Remove the worker's row."""
        self._ask("workers/leave", worker)

    def _end(self, run: Run, kind: str, **content: Any) -> Answer:
        try:
            answer = self._post(_path(run.job_id, kind), run.worker, content | {"run_epoch": run.epoch})
        except ConsoleFailed as error:
            self._failures += 1
            if self._failures < MOST_FAILURES:
                raise
            self._failures = 0
            raise ConsoleRefused(str(error), kind=error.kind) from error
        self._failures = 0
        return answer

    def _ask(self, path: str, worker: Worker, **content: Any) -> Answer:
        """Send what has only one good answer."""
        answer = self._post(path, worker, content)
        if answer.status not in {OK, NOTHING}:
            raise error_of(answer)
        return answer

    def _post(self, path: str, worker: Worker, content: Mapping[str, Any]) -> Answer:
        """Send a request. Raise ``ConsoleAway`` where the answer says nothing about the run, so that it must be repeated."""
        who = {"worker_id": worker.id, "hostname": worker.hostname, "pid": worker.pid, "start": worker.start}
        answer = self._console.post(path, who | dict(content))
        if error := temporary_error(answer):
            raise error
        return answer


# Slashes, control characters, and dots alone, which is what a path calls its folders.
_UNFIT_FOR_A_PATH = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029]|\A\.+\Z")


def _path(job_id: UUID, verb: str) -> str:
    """Return the address of this verb. A text that no path can hold stands in the query."""
    text = str(job_id)
    quoted = quote(text, safe="")
    if _UNFIT_FOR_A_PATH.search(text):
        return f"jobs/-/{verb}?job_id={quoted}"
    return f"jobs/{quoted}/{verb}"


def _text(text: str) -> str:
    return plain_text(text)[:ERROR_LENGTH]
