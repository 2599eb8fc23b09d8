"""The execution of one claimed run: the handler works while the run sends heartbeats, then the result is reported."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from django.db import Error, connection

from jobs.models import Job
from jobs.runs import heartbeats, lifecycle
from jobs.runs.heartbeats import Worker
from jobs.runs.lifecycle import Failure, Run
from jobs.worker.handlers import Handler, PermanentError, RunContext, RunningJob, RunStopped
from jobs.worker.heartbeat_thread import Pulse
from jobs.worker.outages import DATABASE_AWAY, insist
from opsconsole.kit.errors import first_line
from opsconsole.kit.storable import json_problem

logger = logging.getLogger("jobs.worker")


def carry_out(
    job: Job, worker: Worker, handler: Handler, told_to_stop: threading.Event | None = None
) -> bool:
    """Run a job that this worker has claimed, and report the result, however long the database is away.

    Return False when the database refuses the report, or did not take it in time after the order to stop: the row still
    says that the run is in progress.
    """
    run = Run(job.pk, job.run_epoch, worker)
    with Pulse(run) as pulse:
        report = _work(run, handler, RunContext(RunningJob.of(job), pulse, told_to_stop))
    try:
        # The thread with the heartbeats has ended: none of them may arrive after the report.
        insist(
            report,
            meanwhile=partial(heartbeats.say, worker, run.job_id, run.epoch),
            told_to_stop=told_to_stop,
        )
        return True
    except DATABASE_AWAY as error:
        logger.warning(
            "%s run %d: told to stop, and the result could not be recorded in time. The run will be found stale: %s",
            run.job_id,
            run.epoch,
            first_line(error),
        )
        connection.close()
        return False
    except Error:
        # A retry would not help, for example with a CHECK constraint. Recovery finds the run and shows it.
        logger.exception("%s run %d: the result can't be recorded", run.job_id, run.epoch)
        connection.close()
        return False


def _work(run: Run, handler: Handler, context: RunContext) -> Callable[[], None]:
    """Call the handler; return what is to be reported."""
    try:
        result = handler(context)
    except RunStopped as stopped:
        return partial(_tell, run, f"left: {stopped}")
    except PermanentError as error:
        return partial(_fail, run, error, retryable=False)
    except Exception as error:  # noqa: BLE001 - a handler is other people's code; whatever it raises fails only its run
        return partial(_fail, run, error, retryable=True)
    return partial(_complete, run, _details(run, result))


def _complete(run: Run, details: Mapping[str, Any]) -> None:
    lifecycle.complete(run, details)


def _fail(run: Run, error: Exception, *, retryable: bool) -> None:
    description = "".join(traceback.format_exception_only(error)).strip()
    failure = lifecycle.fail(run, description, retryable=retryable)
    logger.warning("%s run %d: %s", run.job_id, run.epoch, _FAILED[failure], exc_info=error)


_FAILED = {
    Failure.RETRY: "failed, will run again",
    Failure.FAILED: "failed permanently",
    Failure.REJECTED: "failed too late, the report was refused",
}


def _details(run: Run, result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the handler's result, or the reason why it can't be stored; the work counts either way."""
    if result is None:
        return {}
    problem = _problem(result)
    if problem is None:
        return result
    logger.warning("%s run %d: the result was not stored: %s", run.job_id, run.epoch, problem)
    return {"result_not_kept": problem}


def _problem(result: object) -> str | None:
    if not isinstance(result, Mapping):
        return f"a handler returns a dict or None, not {type(result).__name__}"
    return json_problem(dict(result))


def _tell(run: Run, sentence: str) -> None:
    logger.info("%s run %d: %s", run.job_id, run.epoch, sentence)
