from jobs.admin.job import JobAdmin
from jobs.admin.machinery import OutboxAdmin, QueueStateAdmin, SweepAdmin, WorkerAdmin
from jobs.admin.recovery import RecoveryAdmin

__all__ = ["JobAdmin", "OutboxAdmin", "QueueStateAdmin", "RecoveryAdmin", "SweepAdmin", "WorkerAdmin"]
