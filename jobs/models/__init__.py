from jobs.models.control import RecoveryControl
from jobs.models.event import JobEvent
from jobs.models.idempotency import IdempotencyKey
from jobs.models.job import Job, Status
from jobs.models.outbox import Outbox
from jobs.models.queue import QueueState
from jobs.models.sweep import Sweep
from jobs.models.worker import WorkerHeartbeat

__all__ = [
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "Outbox",
    "QueueState",
    "RecoveryControl",
    "Status",
    "Sweep",
    "WorkerHeartbeat",
]
