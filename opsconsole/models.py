"""The console's own models. They live in the kit, where every app may use them."""

from opsconsole.kit.audit_models import AuditDetail, AuditSeal, Refusal, SealCheck, UnsealedRange
from opsconsole.kit.identity_models import CompletedSignIn, SignInIdentity
from opsconsole.kit.models import ClusterProgress, HourlyFigure, Pause, Verification
from opsconsole.kit.retention_models import DroppedRows, Removal, TableSize

__all__ = [
    "AuditDetail",
    "AuditSeal",
    "ClusterProgress",
    "CompletedSignIn",
    "DroppedRows",
    "HourlyFigure",
    "Pause",
    "Refusal",
    "Removal",
    "SealCheck",
    "SignInIdentity",
    "TableSize",
    "UnsealedRange",
    "Verification",
]
