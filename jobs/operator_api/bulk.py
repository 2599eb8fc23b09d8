"""Bulk operations: preview, confirm, progress, stop, resume."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import QueryDict
from ninja import Query, Router

from jobs.admin.bulk import member_lines, operation_page, start
from jobs.admin.bulk.operation_list import DECISIONS
from jobs.bulk import background_freezing, decisions
from jobs.bulk.kinds import BulkRefused, Kind
from jobs.bulk.registry import kind_of
from jobs.models import BulkOperation, Job
from jobs.models.bulk import DatedOperation
from jobs.operator_api import bulk_answers, bulk_schemas
from jobs.operator_api.choosing import chosen
from jobs.operator_api.jobs import OPERATE as OPERATE_JOBS
from jobs.operator_api.outcomes import actor_of
from opsconsole.kit import job_ids, keyset, operator_api, reasons
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.problems import Problem

ONE = "operator/bulk/{int:number}"
SEARCH = "q"
# What a list's action on selected rows is called.
SELECTED = "selected rows"
LARGEST = 2**63 - 1

# 202: the cluster prepares it.
PREVIEWS = {200: bulk_schemas.BulkPreview, 202: bulk_schemas.BulkBeingPrepared}

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])


@operating.post(
    "operator/bulk",
    response=PREVIEWS,
    operation_id="preview_bulk",
    summary="Preview a bulk operation",
)
def preview_bulk(request: OperatorRequest, asked: bulk_schemas.BulkRequest) -> Any:
    """Freeze what is chosen, and say what would be done with how many, and what would be refused. Nothing is changed yet.

    Confirm it within an hour, with the same key. 202: more than 20,000 match, so the cluster prepares the preview; its route
    tells when it is whole.
    """
    kind = kind_of(asked.action)
    _require(request, kind)
    rows, scope, query = _chosen(request, kind, asked)
    operation = background_freezing.prepare(kind, rows, actor_of(request), scope=scope, query=query)
    return bulk_answers.preview(request, _load(request, operation.pk))


@reading.get(
    f"{ONE}/preview",
    response=PREVIEWS,
    operation_id="show_bulk_preview",
    summary="The preview of a bulk operation",
)
def show_bulk_preview(request: OperatorRequest, number: int) -> Any:
    """What would be done with how many, and what would be refused. 202: the cluster still prepares it; ask again in some seconds.

    404: nobody with this key made such a preview, or it was confirmed, cancelled or given up: `GET` the operation.
    """
    request.auth.require(start.VIEW)
    operation = _load(request, number)
    if operation.state not in BulkOperation.UNCONFIRMED:
        raise Problem(404, "It is no preview any more. GET the bulk operation.", reason="no_preview")
    return bulk_answers.preview(request, operation)


@operating.post(
    f"{ONE}/confirm",
    response=bulk_schemas.BulkItem,
    operation_id="confirm_bulk",
    summary="Confirm a bulk operation",
)
def confirm_bulk(request: OperatorRequest, number: int, change: bulk_schemas.Confirm) -> Any:
    """The cluster begins: at the pace of the console and, where things are sent again, with a trial of the first ones."""
    operation = _load(request, number)
    if change.will != operation.will:
        raise operator_api.refused(
            f"The preview is about {operation.will:,}, not {change.will:,}",
            bulk_answers.as_json(request, operation),
        )
    return _decide(request, number, "begin", change, typed=str(change.will))


@operating.post(
    f"{ONE}/cancel",
    response=bulk_schemas.BulkItem,
    operation_id="cancel_bulk",
    summary="Stop a bulk operation",
)
def cancel_bulk(request: OperatorRequest, number: int, change: Change) -> Any:
    """It stops after the current chunk, and its state is `cancelled`. What was done stays done."""
    return _decide(request, number, "cancel", change)


@operating.post(
    f"{ONE}/resume",
    response=bulk_schemas.BulkItem,
    operation_id="resume_bulk",
    summary="Resume a bulk operation",
)
def resume_bulk(request: OperatorRequest, number: int, change: Change) -> Any:
    """Continue with the members that are still waiting; the next ones are again a trial for the rest."""
    return _decide(request, number, "resume", change)


@reading.get(
    "operator/bulk/all",
    response=bulk_schemas.BulkList,
    operation_id="list_bulk",
    summary="List bulk operations",
)
def list_bulk(request: OperatorRequest, query: Query[bulk_schemas.BulkListQuery]) -> Any:
    """Return bulk operations newest first, those that somebody confirmed, as the page *Bulk operations* does."""
    request.auth.require(start.VIEW)
    operator_api.refuse_unknown(request, bulk_schemas.BulkListQuery)
    asked = query.model_dump(include={"state", "action"}, exclude_none=True)
    after = operator_api.read_cursor(query, int)
    confirmed = BulkOperation.objects.begun().filter(**asked)
    operations = list(keyset.older(confirmed, "created_at", after)[: query.limit + 1])
    return {
        "operations": [bulk_answers.item(request, operation) for operation in operations[: query.limit]],
        "next": operator_api.next_text(query, keyset.next_of(operations, "created_at", query.limit)),
    }


@reading.get(
    ONE, response=bulk_schemas.ShownBulk, operation_id="show_bulk", summary="The progress of a bulk operation"
)
def show_bulk(request: OperatorRequest, number: int, query: Query[bulk_schemas.BulkQuery]) -> Any:
    """Return how far it is, what became of its members, and 25 of them."""
    request.auth.require(start.VIEW)
    operator_api.refuse_unknown(request, bulk_schemas.BulkQuery)
    if query.after is not None and not (query.after.isascii() and query.after.isdecimal()):
        raise Problem(422, "after: it is not the `next` of an answer of this list.")
    operation = _load(request, number)
    kind = kind_of(operation.action)
    asked = QueryDict(mutable=True)
    asked.update({name: value for name, value in query.model_dump().items() if value is not None})
    context = operation_page.page_context(operation, kind, asked)
    seen = member_lines.as_far_as_seen(context, kind, request.auth)
    return {
        "operation": bulk_answers.item(request, operation),
        "results": [{"text": result.label, "count": count} for result, count in seen["results"]],
        "not_done": [{"text": sentence, "count": count} for sentence, count in seen["why"]],
        "members": bulk_answers.members(seen["members"]),
        "next": (seen["after"] or None) if seen["members"] else None,
        "events": [
            {"at": event.at, "kind": event.kind, "actor": event.actor, "reason": event.reason}
            for event in sorted(seen["events"], key=attrgetter("pk"))
        ],
    }


def _require(request: OperatorRequest, kind: Kind) -> None:
    """Raise ``Problem`` unless the key may begin, cancel and resume operations of this kind, as ``start.may`` tells of people."""
    request.auth.require(kind.permission, start.VIEW)
    if not may_see(request.auth, kind.page):
        request.auth.require(f"jobs.view_{kind.model._meta.model_name}")  # noqa: SLF001 - Django documents it
    # A key may have the permission for another scope, such as jobs:edit.
    request.auth.require_scope(OPERATE_JOBS if kind.model is Job else "letters:operate")


def _chosen(
    request: OperatorRequest, kind: Kind, asked: bulk_schemas.BulkRequest
) -> tuple[QuerySet[Any], str, str]:
    """Return the rows, the choice in words and the query string of its list."""
    if [asked.ids is not None, asked.filters is not None, asked.all].count(True) != 1:
        raise Problem(422, "Send exactly one of `ids`, `filters` and `all`. Nothing was changed.")
    if asked.ids is not None:
        return kind.model._default_manager.filter(pk__in=_ids(kind, asked.ids)), SELECTED, ""  # noqa: SLF001
    filters = dict(asked.filters or {})
    search = filters.pop(SEARCH, "")
    choice = chosen(request, kind.model, filters, search)
    return choice.rows, choice.scope, choice.query


def _ids(kind: Kind, asked: Sequence[str | int]) -> list[Any]:
    texts = [str(each) for each in asked]
    parsed = [job_ids.parse(text) if kind.model is Job else _uuid(text) for text in texts]
    if None in parsed:
        raise Problem(422, f"ids: '{texts[parsed.index(None)]}' is not the id of a {kind.one}.")
    return parsed


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _decide(
    request: OperatorRequest, number: int, decision: str, change: Change, **typed: str
) -> bulk_schemas.BulkItem:
    operation = _load(request, number)
    _require(request, kind_of(operation.action))
    reason = reasons.required(change.reason, lambda sentence: Problem(422, sentence), decisions.KEPT)
    operation = decisions.locked_operation(operation.pk) or operation
    seen = bulk_answers.as_json(request, operation)
    operator_api.refuse_if_changed(change.version, seen)
    decide, word = DECISIONS[decision]
    try:
        with transaction.atomic():
            after = decide(operation, actor_of(request), reason, **typed)
            operator_api.log(request, [operation], f"{word}: {decisions.figures(after)}.", why=reason)
    except BulkRefused as error:
        raise operator_api.refused(str(error).removesuffix(" Nothing was changed."), seen) from error
    return bulk_answers.item(request, after)


def _load(request: OperatorRequest, number: int) -> DatedOperation:
    """Return the operation. Nobody but its maker sees a preview."""
    operation = (
        BulkOperation.objects.annotate(db_now=Now()).filter(pk=number).first() if number <= LARGEST else None
    )
    if operation is None or (
        operation.state in BulkOperation.UNCONFIRMED and operation.actor != actor_of(request).name
    ):
        raise Problem(404, "There is no bulk operation with this number.", reason="unknown_operation")
    return operation
