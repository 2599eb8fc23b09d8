"""The pages about jobs, dead letters, bulk operations, recovery, queues and attaching."""

from jobs.admin.attach_page import AttachmentAdmin
from jobs.admin.bulk.operation_list import BulkOperationAdmin
from jobs.admin.dead_letters.failure_groups import FailureGroupAdmin
from jobs.admin.dead_letters.letter_list import DeadLetterAdmin
from jobs.admin.jobs.job_list import JobAdmin
from jobs.admin.queues.outgoing_messages import OutboxAdmin
from jobs.admin.queues.queue_list import QueueStateAdmin
from jobs.admin.queues.workers import WorkerAdmin
from jobs.admin.recovery.recovery_page import RecoveryAdmin
from jobs.admin.recovery.sweeps import SweepAdmin

__all__ = [
    "AttachmentAdmin",
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
