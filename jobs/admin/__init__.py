from jobs.admin.bulk import BulkOperationAdmin
from jobs.admin.dead_letters import DeadLetterAdmin
from jobs.admin.failure_groups import FailureGroupAdmin
from jobs.admin.job import JobAdmin
from jobs.admin.messages import OutboxAdmin
from jobs.admin.queues import QueueStateAdmin
from jobs.admin.recovery import RecoveryAdmin
from jobs.admin.sweeps import SweepAdmin
from jobs.admin.workers import WorkerAdmin

__all__ = [
    "BulkOperationAdmin",
    "DeadLetterAdmin",
    "FailureGroupAdmin",
    "JobAdmin",
    "OutboxAdmin",
    "QueueStateAdmin",
    "RecoveryAdmin",
    "SweepAdmin",
    "WorkerAdmin",
]
