"""The models of jobs, workers, messages, sweeps and dead letters, with their QuerySets."""

from jobs.models.bulk import BulkEvent, BulkMember, BulkOperation
from jobs.models.control import Attachment, RecoveryControl
from jobs.models.dead_letter import DeadLetter
from jobs.models.dead_letter_queue import DeadLetterQueue
from jobs.models.event import JobEvent
from jobs.models.failure_group import FailureGroup
from jobs.models.idempotency import IdempotencyKey
from jobs.models.job import Job, Status
from jobs.models.outbox import Outbox
from jobs.models.queue import QueueState
from jobs.models.replay_attempt import ReplayAttempt
from jobs.models.restore import Restore, ServerMark
from jobs.models.run_progress import RunProgress
from jobs.models.run_rollup import RunRollup, RunRollupState
from jobs.models.sweep import Sweep
from jobs.models.waiting_message import MessageTrouble
from jobs.models.worker import WorkerHeartbeat
from jobs.models.worker_observation import MeasuredRun, QueueNaming, WorkerObservation

__all__ = [
    "Attachment",
    "BulkEvent",
    "BulkMember",
    "BulkOperation",
    "DeadLetter",
    "DeadLetterQueue",
    "FailureGroup",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "MeasuredRun",
    "MessageTrouble",
    "Outbox",
    "QueueNaming",
    "QueueState",
    "RecoveryControl",
    "ReplayAttempt",
    "Restore",
    "RunProgress",
    "RunRollup",
    "RunRollupState",
    "ServerMark",
    "Status",
    "Sweep",
    "WorkerHeartbeat",
    "WorkerObservation",
]
