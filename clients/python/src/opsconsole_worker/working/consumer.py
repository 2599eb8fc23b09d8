"""The worker's loop: receive a message, claim its run, delete the message, work."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from opsconsole_worker import settings, sqs, trace_parent
from opsconsole_worker.doubling import doubled
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.messages import JobMessage, MalformedMessage, parse_body
from opsconsole_worker.quoted_values import unread_reason
from opsconsole_worker.reports import reporting
from opsconsole_worker.reports.protocol import Pause
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import LONGEST_REFUSED, LONGEST_RELEASE, Refusal, Refused
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.sqs import QueueError, Received
from opsconsole_worker.working import execution
from opsconsole_worker.working.handlers import Handler
from opsconsole_worker.working.outages import Patience
from opsconsole_worker.working.poison import with_reason

logger = logging.getLogger("opsconsole.worker")

# Short enough to notice signals and to beat between two polls; SQS would allow 20 seconds.
POLL_SECONDS = 5
FIRST_RELEASE = timedelta(seconds=10)
PUT_OFF_AFTER = 2
# A FIFO queue drops a message that resembles one sent in the last five minutes. One more, for clocks that differ.
FIFO_PUT_OFF = timedelta(minutes=6)
# A database that answers everything except one claim must not keep a worker from all other messages.
MOST_TRIES = 4


@dataclass(frozen=True)
class _Doubt:
    """A claim without an answer: whether the run is ours is unknown."""

    received: Received
    message: JobMessage
    tries: int


class Consumer:
    """A worker of one queue, one run at a time.

    The row is claimed before the message is deleted. From then on the database owns the run, and a crash at any point
    leaves either the message or a run that recovery finds. ``max_jobs`` stops the worker after that many runs.
    """

    def __init__(
        self,
        queue: QueueConfig,
        handler: Handler,
        *,
        max_jobs: int | None = None,
        poll_seconds: int = POLL_SECONDS,
    ) -> None:
        self.queue = queue
        self.handler = handler
        self.max_jobs = max_jobs
        self.poll_seconds = int(min(poll_seconds, settings.current().beat_seconds))
        self.worker = Worker(new_worker_id())
        self.finished_runs = 0
        self.locked_messages = 0
        self.refused_messages = 0
        self._doubt: _Doubt | None = None
        self._unreported: set[tuple[UUID, int]] = set()
        self._held = False
        self._told_to_stop = threading.Event()
        self._reports = Patience(reporting.current().name)
        self._sqs = Patience(f"The queue '{queue.name}'")

    @property
    def stopping(self) -> bool:
        return self._told_to_stop.is_set() or self.finished_runs == self.max_jobs

    def stop(self) -> None:
        """Receive nothing more; ``run`` returns when the current run has ended. Safe in a signal handler."""
        self._told_to_stop.set()

    def run(self) -> None:
        """Work until told to stop, whatever happens to the database, the console or the queue."""
        logger.info("Worker %s listens to the queue '%s'.", self.worker.id, self.queue.name)
        try:
            while not self.stopping:
                self.poll()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.error("A handler ended this worker: %r", error)  # noqa: TRY400 - the run has its traceback
            self._leave()
            raise
        self._give_back()
        self._leave()
        logger.info(
            "Worker %s left after %d runs. It gave back %d messages because their rows were locked, and %d because the "
            "database refused the claim.",
            self.worker.id,
            self.finished_runs,
            self.locked_messages,
            self.refused_messages,
        )
        if left := _threads_of_handlers():
            logger.warning(
                "The process ends when the threads that handlers left have ended: %s. A second signal ends it at once.",
                left,
            )

    def poll(self) -> None:
        """Take one turn: send a heartbeat, wait for a message, and handle it."""
        reports = reporting.current()
        reports.refresh()
        try:
            # Before receiving: if nobody takes reports, we could only return the message, and SQS counts each receive.
            pause = reports.idle(self.worker, self.queue.name)
            self._reports.succeeded()
            if self._doubt:
                self._claim(self._doubt.received, self._doubt.message)
                return
            if self._is_held_by(pause):
                self._told_to_stop.wait(self.poll_seconds)
                return
            received = sqs.receive(self.queue.url, max_messages=1, wait_seconds=self.poll_seconds)
            self._sqs.succeeded()
            for message in received:
                self._take(message)
        except QueueError as error:
            self._told_to_stop.wait(self._sqs.failed(error))
        except reports.errors as error:
            reports.close()
            self._told_to_stop.wait(self._reports.failed(error))

    def _is_held_by(self, pause: Pause | None) -> bool:
        """Tell whether an operator paused this queue, and log changes."""
        if pause and not self._held:
            logger.info("The queue '%s' is paused by %s: %s", self.queue.name, *pause)
        if self._held and not pause:
            logger.info("The queue '%s' is no longer paused.", self.queue.name)
        self._held = pause is not None
        return self._held

    def _take(self, received: Received) -> None:
        if self.stopping:
            sqs.release(received)
            return
        try:
            message = parse_body(received.body, settings.current().body_limit)
        except MalformedMessage as error:
            self._bury(received, str(error))
            return
        self._claim(received, message)

    def _claim(self, received: Received, message: JobMessage) -> None:
        """Claim the run and carry it out. Without an answer, ask again in the next turn, because the claim may have succeeded."""
        before = self._doubt.tries if self._doubt else 0
        self._doubt = None
        try:
            claimed = reporting.current().claim(
                message.job_id,
                message.run_epoch,
                self.worker,
                dead_letter_id=message.dead_letter_id,
                asked_before=before > 0,
            )
        except reporting.current().away:
            if before + 1 < MOST_TRIES:
                self._doubt = _Doubt(received, message, before + 1)
            raise
        if not isinstance(claimed, Refused) and (claimed.id, claimed.epoch) in self._unreported:
            claimed = Refused(Refusal.ALREADY_CLAIMED)
        if isinstance(claimed, Refused):
            if claimed.refusal is Refusal.LOCKED and 0 < before < MOST_TRIES - 1:
                # The run may be ours: only its row can tell.
                self._doubt = _Doubt(received, message, before + 1)
            else:
                self._decline(received, message, claimed)
            return
        self._delete(received)
        self._carry_out(claimed, received)

    def _carry_out(self, job: RunningJob, received: Received) -> None:
        attribute = received.attributes.get(trace_parent.ATTRIBUTE)
        parent = trace_parent.checked(attribute and attribute.value)
        if not execution.carry_out(job, self.worker, self.handler, self._told_to_stop, parent):
            self._unreported.add((job.id, job.epoch))
        self.finished_runs += 1

    def _delete(self, received: Received) -> None:
        try:
            sqs.delete(received)
        except QueueError as error:
            # Harmless: the run is already ours, and a second copy will be refused and deleted.
            logger.info("Message %s could not be deleted: %s", received.message_id, error)

    def _decline(self, received: Received, message: JobMessage, refused: Refused) -> None:
        """Handle a refused claim: delete a settled message, and return any other with a growing delay."""
        if refused.refusal.settled:
            sqs.delete(received)
        elif refused.refusal is Refusal.TOO_EARLY:
            _release(received, refused.retry_in)
        elif refused.refusal in {Refusal.LOCKED, Refusal.REFUSED_BY_DATABASE}:
            self._put_off(received, message, refused)
        else:
            _release(received, release_delay(received.receive_count))

    def _put_off(self, received: Received, message: JobMessage, refused: Refused) -> None:
        """Return a message whose row is locked or whose claim the database refuses, and count it. This worker goes on with others.

        SQS would make a dead letter of a message that is received too often, so after the second receive the outbox sends
        a new one: to a FIFO queue so late that it is not taken for a copy of the first. After a day of refusals it shall.
        """
        # The delay after a refusal by a rule grows with the refusals of the run.
        receives = 0 if refused.rule else received.receive_count - 1
        delay = doubled(refused.retry_in, receives, LONGEST_RELEASE)
        later = max(delay, FIFO_PUT_OFF) if sqs.is_fifo(self.queue.url) else delay
        again = received.receive_count >= PUT_OFF_AFTER and refused.since < LONGEST_REFUSED
        if again and reporting.current().put_off(message.job_id, message.run_epoch, self.worker, later):
            self._delete(received)
        else:
            _release(received, delay)
        if refused.refusal is Refusal.LOCKED:
            self.locked_messages += 1
        else:
            self.refused_messages += 1
        reporting.current().count_given_back(
            self.worker, locked=self.locked_messages, refused=self.refused_messages
        )

    def _bury(self, received: Received, reason: str) -> None:
        """Move an unreadable message to the dead letter queue, unchanged, with the reason."""
        problem, shown = self._send_to_dlq(received, reason), unread_reason(reason)
        if problem:
            logger.error("Message %s is malformed: %s %s", received.message_id, shown, problem)
            _release(received, release_delay(received.receive_count))
        else:
            logger.error("Message %s is malformed, now a dead letter: %s", received.message_id, shown)
            sqs.delete(received)

    def _send_to_dlq(self, received: Received, reason: str) -> str | None:
        """Send a copy with the reason; return a sentence when that failed."""
        if self.queue.dlq_url is None:
            return f"It stays, because the queue '{self.queue.name}' has no dead letter queue."
        try:
            sqs.send_raw(
                self.queue.dlq_url, received.body, with_reason(received, reason), received.trace_header
            )
        except QueueError as error:
            return f"It stays: {error}"
        return None

    def _give_back(self) -> None:
        """Give back a run that we may have claimed while being told to stop, instead of leaving it to become stale."""
        doubt = self._doubt
        if doubt is None or any(job_id == doubt.message.job_id for job_id, _ in self._unreported):
            return
        try:
            if reporting.current().give_back(doubt.message.job_id, self.worker):
                logger.info("%s: given back, never begun", doubt.message.job_id)
        except reporting.current().errors as error:
            logger.warning(
                "%s may belong to this worker and can't be given back: %s", doubt.message.job_id, error
            )
            reporting.current().close()

    def _leave(self) -> None:
        try:
            reporting.current().leave(self.worker)
        except reporting.current().errors as error:
            logger.warning("Worker %s could not remove its row: %s", self.worker.id, error)
        finally:
            reporting.current().close()


def _threads_of_handlers() -> str:
    """Name the threads for which Python waits at the end of the process."""
    mine = {threading.main_thread(), threading.current_thread()}
    return ", ".join(each.name for each in threading.enumerate() if not each.daemon and each not in mine)


def new_worker_id() -> str:
    """Return an id that is new for every start: a worker that reused its old id would hide the run that died with it."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def release_delay(receive_count: int) -> timedelta:
    """Return how long a refused message stays hidden: doubled per receive, until SQS moves it to the dead letters."""
    return doubled(FIRST_RELEASE, receive_count - 1, LONGEST_RELEASE)


def _release(received: Received, delay: timedelta) -> None:
    sqs.release(received, delay_seconds=round(delay.total_seconds()))
