"""The format of the job message in the body of an SQS message. Pure: no database, no network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from opsconsole_worker import job_ids
from opsconsole_worker.errors import OpsConsoleError
from opsconsole_worker.storable import LARGEST_INTEGER, is_storable

# The contract says integer; an existing database may use a bigint.
LARGEST_PACKAGE = 2**63 - 1
LONGEST_QUOTE = 80
# SQS hides a message for at most 12 hours after it was received.
MAX_VISIBILITY_SECONDS = 43_200
# Why the outbox sends a message again whose row was locked when a worker had it.
ROW_LOCKED = "row_locked"
# Of the reason in a message, in characters.
REASON_LENGTH = 500
# Made once: ``json.dumps`` makes one per call where an option is given.
_COMPACT = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


class MalformedMessage(OpsConsoleError):
    """A body is not a job message; the sentence says which part is wrong and what is accepted."""


@dataclass(frozen=True, kw_only=True)
class JobMessage:
    """A message between producers, console and workers about one run of a job.

    ``run_epoch`` is None from producers that don't know runs; ``dead_letter_id`` is set on the copies that the
    console sends to a dead letter queue.
    """

    job_id: UUID
    customer_id: str = ""
    package_size: int | None = None
    priority: str = ""
    retry: bool = False
    reason: str | None = None
    run_epoch: int | None = None
    dead_letter_id: str | None = None

    def to_body(self) -> str:
        """Return compact ASCII JSON, so that no value contains a character that SQS refuses."""
        fields: dict[str, Any] = {
            "job_id": str(self.job_id),
            "customer_id": self.customer_id,
            "package_size": self.package_size,
            "priority": self.priority,
            "retry": self.retry,
            "reason": self.reason,
        }
        if self.run_epoch is not None:
            fields["run_epoch"] = self.run_epoch
        if self.dead_letter_id is not None:
            fields["dead_letter_id"] = self.dead_letter_id
        return _COMPACT.encode(fields)


def parse_body(text: str, limit_bytes: int) -> JobMessage:
    """Parse a message of any producer: unknown fields are ignored, optional ones may be missing or null.

    Raise ``MalformedMessage``, and nothing else, whatever the text is.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limit_bytes:
        raise MalformedMessage(f"The body is {size} bytes; at most {limit_bytes} are accepted.")
    fields = _object(text)
    return JobMessage(
        job_id=_job_id(fields),
        customer_id=_text(fields, "customer_id") or "",
        package_size=_whole_number(
            fields, "package_size", smallest=-LARGEST_PACKAGE - 1, largest=LARGEST_PACKAGE
        ),
        priority=_text(fields, "priority") or "",
        retry=_flag(fields, "retry"),
        reason=_text(fields, "reason"),
        run_epoch=_whole_number(fields, "run_epoch", smallest=1),
        dead_letter_id=_text(fields, "dead_letter_id"),
    )


def _object(text: str) -> dict[str, Any]:
    try:
        # Fractions remain text as the producer wrote it: no field is one, and no digit gets lost.
        value = json.loads(text, parse_float=str, parse_constant=_refuse_constant)
    except RecursionError:
        raise MalformedMessage("The JSON in the body is nested too deeply.") from None
    except ValueError as error:
        raise MalformedMessage(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise MalformedMessage(f"The body must be a JSON object, not {_quote(value)}.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


# What others put around a producer's message: the names in it, and how they are told to leave that.
_WRAPPERS = (
    (
        {"Type", "TopicArn", "Message"},
        "Amazon SNS has wrapped the message: enable raw message delivery for the subscription.",
    ),
    (
        {"detail-type", "source", "detail"},
        "Amazon EventBridge has wrapped the message: let the target of the rule receive $.detail alone.",
    ),
)


def _job_id(fields: dict[str, Any]) -> UUID:
    value = fields.get("job_id")
    if value is None:
        wrapped = [f" {why}" for names, why in _WRAPPERS if names <= fields.keys()]
        raise MalformedMessage("".join(["job_id is missing.", *wrapped]))
    job_id = job_ids.parse(value)
    if job_id is None:
        raise MalformedMessage(f"job_id must be {job_ids.WANTED}, not {_quote(value)}.")
    return job_id


def _text(fields: dict[str, Any], name: str) -> str | None:
    """Return text that PostgreSQL can store. A number becomes text, because old producers send numeric ids and priorities."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MalformedMessage(f"{name} must be text, not {_quote(value)}.")
    text = str(value)
    if not is_storable(text):
        raise MalformedMessage(f"{name} has a NUL character or half a surrogate pair: {_quote(value)}.")
    return text


def _whole_number(
    fields: dict[str, Any], name: str, *, smallest: int, largest: int = LARGEST_INTEGER
) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    # To Python, true is the number 1.
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
        wanted = f"a whole number from {smallest} to {largest}"
        raise MalformedMessage(f"{name} must be {wanted}, not {_quote(value)}.")
    return value


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise MalformedMessage(f"{name} must be true or false, not {_quote(value)}.")
    return value


def _quote(value: object) -> str:
    """Return the beginning of an outside value, in characters that logs, pages and SQS attributes accept."""
    quoted = json.dumps(value)
    return quoted if len(quoted) <= LONGEST_QUOTE else f"{quoted[:LONGEST_QUOTE]}..."
