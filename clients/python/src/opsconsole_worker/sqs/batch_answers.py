"""The answers of SQS about what it was given, which are believed only about what was asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsconsole_worker.sqs.failures import NEEDS_A_PERSON, THROTTLED, advice, detail, short_code
from opsconsole_worker.sqs.message_types import Outgoing, Received, SendResult
from opsconsole_worker.sqs.wire_format import id_of, md5_of

Item = Mapping[str, Any]
NOT_MENTIONED = "The answer does not mention the message: it may have been sent."
CONTRADICTORY = "The answer contradicts itself about the message: it may have been sent."
DAMAGED = "The queue says that another text arrived: the message may have been sent, and damaged."


def results_of(entries: Sequence[Outgoing], answer: Mapping[str, Any]) -> list[SendResult]:
    """Return the outcome of each entry of a batch, whose ids are their places. Raise ``ValueError`` for what SQS never answers."""
    sent, failed = _by_id(answer, "Successful"), _by_id(answer, "Failed")
    return [
        _result(entry, sent.get(str(number), []), failed.get(str(number), []))
        for number, entry in enumerate(entries)
    ]


def id_of_sent(body: str, item: Mapping[str, Any]) -> str:
    """Return the id of a message that was sent alone. Raise ``ValueError`` where the answer is not about this body."""
    if _is_damaged(body, item):
        raise ValueError(f"its digest is another one. {DAMAGED}")
    return id_of(item)


def confirmed(received: Sequence[Received], answer: Mapping[str, Any]) -> set[str]:
    """Return the ids of messages that are named as successful; HTTP 200 alone says nothing about single entries."""
    sent, failed = _by_id(answer, "Successful"), _by_id(answer, "Failed")
    return {
        message.message_id
        for number, message in enumerate(received)
        if str(number) in sent and str(number) not in failed
    }


def _result(entry: Outgoing, sent: Sequence[Item], failed: Sequence[Item]) -> SendResult:
    if not sent and not failed:
        return SendResult(entry.key, error=NOT_MENTIONED, unknown=True)
    if len(sent) + len(failed) > 1:
        return SendResult(entry.key, error=CONTRADICTORY, unknown=True)
    if failed:
        return _refused(entry, failed[0])
    if _is_damaged(entry.body, sent[0]):
        return SendResult(entry.key, error=DAMAGED, unknown=True)
    return SendResult(entry.key, id_of(sent[0]))


def _refused(entry: Outgoing, failure: Item) -> SendResult:
    full_code = str(failure.get("Code", ""))
    code = short_code(full_code)
    # SQS also blames the sender for throttling and missing permissions, but these pass without changing the message.
    permanent = bool(failure.get("SenderFault")) and code not in THROTTLED | NEEDS_A_PERSON
    reason = detail(code, str(failure.get("Message", "")))
    return SendResult(entry.key, error=f"{reason} {advice(full_code)}".rstrip(), permanent=permanent)


def _is_damaged(body: str, item: Item) -> bool:
    """Tell whether the digest, which emulators may leave out, is that of another body."""
    digest = item.get("MD5OfMessageBody")
    return digest is not None and digest != md5_of(body)


def _by_id(answer: Mapping[str, Any], name: str) -> dict[str, list[Item]]:
    items: dict[str, list[Item]] = {}
    for item in answer.get(name) or []:
        items.setdefault(item["Id"], []).append(item)
    return items
