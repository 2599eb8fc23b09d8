"""Metrics and traces of the calls to SQS: how many, with which answer, and how long they took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opsconsole.kit import metrics, tracing
from opsconsole_worker.sqs.failures import short_code

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

OK = "ok"
_BEGAN = "opsconsole_began"
_SPAN = "opsconsole_span"


def follow(client: SQSClient) -> None:
    """Count each call of this client once, with its retries."""
    client.meta.events.register("before-call.sqs", _begin)
    client.meta.events.register("after-call.sqs", _end)
    client.meta.events.register("after-call-error.sqs", _fail)


def _begin(model: Any, context: dict[str, Any], **_others: Any) -> None:
    context[_BEGAN] = time.perf_counter()
    context[_SPAN] = tracing.call(f"SQS {model.name}", {"rpc.system": "aws-api", "rpc.method": model.name})


def _end(model: Any, parsed: Any, context: dict[str, Any], **_others: Any) -> None:
    code = parsed.get("Error", {}).get("Code") if isinstance(parsed, dict) else None
    _count(model.name, short_code(str(code)) if code else OK, context)


def _fail(event_name: str, exception: BaseException, context: dict[str, Any], **_others: Any) -> None:
    _count(event_name.rpartition(".")[2], type(exception).__name__, context)


def _count(operation: str, answer: str, context: dict[str, Any]) -> None:
    metrics.SQS_CALLS.count(operation=operation, answer=answer[:60])
    now = time.perf_counter()
    metrics.SQS_SECONDS.observe(now - context.get(_BEGAN, now), operation=operation)
    if (span := context.pop(_SPAN, None)) is not None:
        span.tell({"opsconsole.answer": answer[:60]}, failed="" if answer == OK else answer[:60])
        span.end()
