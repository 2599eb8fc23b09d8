"""The execution of one claimed run: the handler works while the run sends heartbeats, then the result is reported."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from opsconsole_worker import log_lines
from opsconsole_worker.errors import first_line
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Failure, Run
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.storable import json_problem
from opsconsole_worker.working.handlers import Handler, PermanentError, RunContext, RunStopped
from opsconsole_worker.working.heartbeat_thread import Pulse
from opsconsole_worker.working.outages import insist

logger = logging.getLogger("opsconsole.worker")


def carry_out(
    job: RunningJob,
    worker: Worker,
    handler: Handler,
    told_to_stop: threading.Event | None = None,
    traceparent: str = "",
) -> bool:
    """Run a job that this worker has claimed, and report the result, however long the database or the console is away.

    Return False when the report is refused, or was not taken in time after the order to stop: the row still
    says that the run is in progress. A handler that ends the program (``sys.exit``) has its run reported first.
    """
    run = Run(job.id, job.epoch, worker)
    with log_lines.about(job=job.id, run=job.epoch, worker=worker.id):
        with Pulse(run) as pulse:
            report, ending = _work(run, handler, RunContext(job, pulse, told_to_stop, traceparent))
        if ending and told_to_stop:
            told_to_stop.set()
        is_reported = _report(run, partial(_after_progress, pulse, report), told_to_stop)
    if ending:
        raise ending
    return is_reported


def _after_progress(pulse: Pulse, report: Callable[[], None]) -> None:
    """Send the last progress, as far as that succeeds, and then the report: a run that has ended can't say how far it is."""
    pulse.progress.send_last()
    report()


def _report(run: Run, report: Callable[[], None], told_to_stop: threading.Event | None) -> bool:
    try:
        # The thread with the heartbeats has ended: none of them may arrive after the report.
        insist(
            report,
            meanwhile=partial(reporting.current().beat, run),
            told_to_stop=told_to_stop,
        )
        return True
    except reporting.current().away as error:
        logger.warning(
            "%s run %d: told to stop, and the result could not be recorded in time. The run will be found stale: %s",
            run.job_id,
            run.epoch,
            first_line(error),
        )
        reporting.current().close()
        return False
    except reporting.current().errors:
        # A retry would not help, for example with a CHECK constraint. Recovery finds the run and shows it.
        logger.exception("%s run %d: the result can't be recorded", run.job_id, run.epoch)
        reporting.current().close()
        return False


def _work(
    run: Run, handler: Handler, context: RunContext
) -> tuple[Callable[[], None], SystemExit | KeyboardInterrupt | None]:
    """Call the handler; return what is to be reported, and what ends the program afterwards."""
    process, result = os.getpid(), None
    error: BaseException | None = None
    try:
        result = handler(context)
    except BaseException as raised:  # noqa: BLE001 - a handler is other people's code; whatever it raises fails only its run
        error = raised
    if os.getpid() != process:
        _end_fork(error)
    if isinstance(error, RunStopped):
        return partial(_tell, run, f"left: {error}"), None
    if error is not None:
        ending = error if isinstance(error, SystemExit | KeyboardInterrupt) else None
        return partial(_fail, run, error, retryable=not isinstance(error, PermanentError)), ending
    return partial(_complete, run, _details(run, result)), None


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a process that the handler forked and let come back: it is no worker, and the run is not its own to report."""
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    code = error.code if isinstance(error, SystemExit) else error and 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _complete(run: Run, details: Mapping[str, Any]) -> None:
    reporting.current().complete(run, details)


def _fail(run: Run, error: BaseException, *, retryable: bool) -> None:
    description = "".join(traceback.format_exception_only(error)).strip()
    # A worker in TypeScript says the same, so that both fall into one failure group.
    description = description.removeprefix(f"{PermanentError.__module__}.")
    failure = reporting.current().fail(run, description, retryable=retryable)
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
