"""The console's own models. They live in the kit, where every app may use them."""

from opsconsole.kit.audit_models import AuditDetail, AuditSeal, Refusal, SealCheck, UnsealedRange
from opsconsole.kit.models import ClusterProgress, HourlyFigure, Pause, Verification

__all__ = [
    "AuditDetail",
    "AuditSeal",
    "ClusterProgress",
    "HourlyFigure",
    "Pause",
    "Refusal",
    "SealCheck",
    "UnsealedRange",
    "Verification",
]
