"""The worker library: write a handler, and let ``Consumer`` (or ``manage.py run_worker``) feed it.

See docs/workers.md.
"""

from jobs.worker.consumer import Consumer
from jobs.worker.handlers import Handler, PermanentError, RunContext, RunningJob, RunStopped

__all__ = ["Consumer", "Handler", "PermanentError", "RunContext", "RunStopped", "RunningJob"]
