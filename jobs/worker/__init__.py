"""The worker library under the name that handlers for ``manage.py run_worker`` know; all of it is in opsconsole_worker.

See docs/workers.md.
"""

from opsconsole_worker.runs.progress import InvalidProgress, Progress
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working.consumer import Consumer
from opsconsole_worker.working.handlers import Handler, PermanentError, RunContext, RunStopped

__all__ = [
    "Consumer",
    "Handler",
    "InvalidProgress",
    "PermanentError",
    "Progress",
    "RunContext",
    "RunStopped",
    "RunningJob",
]
