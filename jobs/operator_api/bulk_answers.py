"""Bulk operations as the operator's API shows them: the operation, its preview, its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ninja import Status

from jobs.admin.bulk import member_lines, operation_page
from jobs.admin.bulk.member_lines import CountedGroup, MemberLine
from jobs.bulk import decisions
from jobs.bulk.kinds import MemberResult
from jobs.bulk.registry import kind_of
from jobs.models import BulkOperation
from jobs.models.bulk import DatedOperation
from jobs.operations import previews
from jobs.operator_api import bulk_schemas
from opsconsole.kit import operator_api
from opsconsole.kit.operator_api import OperatorRequest
from opsconsole.kit.page_permissions import may_see


def item(request: OperatorRequest, operation: BulkOperation) -> bulk_schemas.BulkItem:
    """Return an operation with its figures, as far as the key may see it."""
    # What was chosen quotes the list that it was chosen from.
    sees = may_see(request.auth, kind_of(operation.action).page)
    return bulk_schemas.BulkItem(
        number=operation.pk,
        action=operation.action,
        state=operation.state,
        scope=operation.scope if sees else "",
        total=operation.total,
        will=operation.will,
        capped=operation.capped,
        done=operation.done,
        skipped=operation.skipped,
        failed=operation.failed,
        remaining=operation.remaining,
        sentence=operation.sentence,
        actor=operation.actor,
        reason=operation.reason,
        created_at=operation.created_at,
        begun_at=operation.begun_at,
        ended_at=operation.ended_at,
        version=operator_api.version_of(operation, operation.state, decisions.made(operation)),
    )


def as_json(request: OperatorRequest, operation: BulkOperation) -> dict[str, Any]:
    """Return the same as JSON, for a refusal that shows what was found."""
    return item(request, operation).model_dump(mode="json")


def preview(request: OperatorRequest, operation: DatedOperation) -> Any:
    """Return the preview, or with 202 that the cluster still prepares it."""
    shown = item(request, operation)
    if operation.state == BulkOperation.State.FREEZING:
        return Status(202, bulk_schemas.BulkBeingPrepared(operation=shown))
    kind = kind_of(operation.action)
    seen = member_lines.as_far_as_seen(operation_page.preview_context(operation, kind), kind, request.auth)
    preview = bulk_schemas.BulkPreview(
        operation=shown,
        confirm_until=operation.created_at + previews.PREVIEW_LASTS,
        will=[_group(each, seen) for each in seen["will"]],
        skipped=[_group(each, seen) for each in seen["skipped"]],
        sample=members(seen["sample"]),
        caveats=list(seen["caveats"]),
    )
    return Status(200, preview)


def _group(counted: CountedGroup, seen: Mapping[str, Any]) -> bulk_schemas.BulkGroup:
    group = counted.group
    # Of a letter, this is the status of its job.
    reason = group.seen_reason if seen["sees_jobs"] else ""
    return bulk_schemas.BulkGroup(
        count=group.count, status=group.seen_status, reason=reason, sentence=counted.example
    )


def members(lines: Sequence[MemberLine]) -> list[bulk_schemas.BulkMemberItem]:
    """Return lines of members, each with its outcome and what became of it."""
    return [
        bulk_schemas.BulkMemberItem(
            id=line.member.subject,
            about=line.about,
            outcome=line.member.outcome,
            sentence=line.sentence,
            result=_result(line.result) if line.result else None,
        )
        for line in lines
    ]


def _result(result: MemberResult) -> bulk_schemas.BulkMemberResult:
    return bulk_schemas.BulkMemberResult(
        text=result.label, again=result.again or None, error=result.error or None
    )
