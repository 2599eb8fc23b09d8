"""The console's own models. They live in the kit, where every app may use them."""

from opsconsole.kit.audit_models import AuditDetail, AuditSeal, Refusal, SealCheck, UnsealedRange
from opsconsole.kit.models import ClusterProgress, HourlyFigure, Pause, Verification
from opsconsole.kit.retention_models import Removal, TableSize

__all__ = [
    "AuditDetail",
    "AuditSeal",
    "ClusterProgress",
    "HourlyFigure",
    "Pause",
    "Refusal",
    "Removal",
    "SealCheck",
    "TableSize",
    "UnsealedRange",
    "Verification",
]
