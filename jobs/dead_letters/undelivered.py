"""Messages that EventBridge, SNS or Lambda put on a dead letter queue because they could not deliver them. Pure.

They say why in message attributes, and EventBridge names the target. SQS does not name a source queue for them, because
they were never in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Attributes of EventBridge, and of its Scheduler, which has schedules in place of rules.
# A replay leaves them out: its consumer would take them for a failure of the new message.
OF_EVENTBRIDGE = (
    "RULE_ARN",
    "SCHEDULE_ARN",
    "TARGET_ARN",
    "ERROR_CODE",
    "ERROR_MESSAGE",
    "EXHAUSTED_RETRY_CONDITION",
    "RETRY_ATTEMPTS",
)
# Of Lambda and, beside a notification, of SNS.
OF_OTHERS = ("RequestID", "ErrorCode", "ErrorMessage")
LAMBDA = "Lambda"


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """What a service says about a message that it could not deliver; each text is '' when it does not say it.

    ``addressee``: the ARN of the target, the SNS topic whose subscriber is not named, or 'Lambda' for a function that
    is not named. ``rule``: the ARN of the rule or schedule of EventBridge.
    """

    service: str
    code: str = ""
    message: str = ""
    rule: str = ""
    addressee: str = ""


def read(attributes: Mapping[str, str], document: Any) -> Undelivered | None:
    """Return what a service says about the message, or None for one that came from a queue.

    ``attributes``: the values of the message attributes; ``document``: the body, None when it is not JSON.
    """
    given = {name: value.strip() for name, value in attributes.items()}
    rule = given.get("RULE_ARN") or given.get("SCHEDULE_ARN", "")
    if given.get("ERROR_CODE") or given.get("TARGET_ARN") or rule:
        return Undelivered(
            service="EventBridge",
            code=given.get("ERROR_CODE", ""),
            message=given.get("ERROR_MESSAGE", ""),
            rule=rule,
            addressee=given.get("TARGET_ARN", ""),
        )
    code, message = given.get("ErrorCode", ""), given.get("ErrorMessage", "")
    if topic := _topic(document):
        return Undelivered(service="SNS", code=code, message=message, addressee=topic)
    if "RequestID" in given and (code or message):
        return Undelivered(service="Lambda", code=code, message=message, addressee=LAMBDA)
    return None


def is_topic(addressee: str) -> bool:
    return addressee.split(":")[2:3] == ["sns"]


def without_service_attributes(attributes: Mapping[str, Any], addressee: str) -> dict[str, Any]:
    """Return the attributes of a message that is sent to its addressee after all, without those about the failure."""
    about_failure: tuple[str, ...] = OF_EVENTBRIDGE if addressee else ()
    if addressee == LAMBDA or is_topic(addressee):
        about_failure += OF_OTHERS
    return {name: value for name, value in attributes.items() if name not in about_failure}


def _topic(document: Any) -> str:
    """Return the topic of a notification of SNS, or '' for any other document."""
    if not isinstance(document, dict) or document.get("Type") != "Notification":
        return ""
    topic = document.get("TopicArn")
    return topic if isinstance(topic, str) and is_topic(topic) else ""
