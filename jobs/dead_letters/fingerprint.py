"""The fingerprint of a failure: its reason without everything that differs between letters. Pure.

The first known of these counts: the reason with which a worker set the message aside, what a service says that could
not deliver it, the error of its job, the reason in the body of a copy, and finally the shape of the body.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from jobs.dead_letters.undelivered import Undelivered
from jobs.models import FailureGroup

Kind = FailureGroup.Kind
LONGEST_TITLE = 200
LONGEST_READ = 2_000
FIELDS_NAMED = 8
LONGEST_NAME = 40

# The order matters: a quotation may contain anything, and an address may contain numbers.
_VARYING = (
    (re.compile(r"""(["'`])(?:\\.|(?!\1).)*\1"""), '"…"'),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE), "<address>"),
    (re.compile(r"\S+@\S+\.\S+"), "<e-mail>"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"0x[0-9a-f]+", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.:,-]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)


# What stands for what, in the words of the pages.
_MEANINGS = {
    '"…"': "a quotation",
    "<address>": "an address",
    "<e-mail>": "an e-mail address",
    "<id>": "an id",
    "<n>": "a number",
}

# The names that the library's own error had, and the bare one that it has now. Its groups are older than that, so the first
# name makes their key.
_PERMANENT = re.compile(
    r"(?:^|\b(?:jobs\.worker\.handlers|opsconsole_worker(?:\.working\.handlers)?)\.)(?=PermanentError\b)"
)
_FIRST_NAME = "jobs.worker.handlers."


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a failure. Letters with the same ``key`` form a group; ``title`` is for people."""

    key: str
    kind: FailureGroup.Kind
    title: str


def fingerprint(
    *, poison: str, undelivered: Undelivered | None, error: str, given: str, document: Any, is_job: bool
) -> Fingerprint:
    """Return the fingerprint of one letter's failure.

    ``poison``: why a worker could not read it; ``undelivered``: what a service says that could not deliver it;
    ``error``: the error of its job; ``given``: the reason in the body of a copy; each is '' or None when unknown.
    ``document``: the redacted body, None when it is not JSON; ``is_job``: it is the message of a job.
    """
    if poison:
        return _of(Kind.UNREADABLE, normalise(poison))
    if undelivered:
        return _not_delivered(undelivered)
    if error:
        return _of_error(error)
    if given:
        return _of(Kind.GIVEN_REASON, normalise(given))
    if is_job:
        return _of(Kind.RECEIVES, "Received too often, without an error being recorded")
    return _of(Kind.SHAPE, _shape(document))


def normalise(text: str) -> str:
    """Return the text without ids, numbers, addresses and quotations."""
    for pattern, placeholder in _VARYING:
        text = pattern.sub(placeholder, text[:LONGEST_READ])
    text = text.strip()
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"


def legend(title: str) -> str:
    """Return a sentence that says what the placeholders in the title of a group stand for; '' if it has none."""
    used = [
        f"{placeholder} stands for {meaning}"
        for placeholder, meaning in _MEANINGS.items()
        if placeholder in title
    ]
    differ = "it differs" if len(used) == 1 else "they differ"
    return f"{', '.join(used)}: {differ} between the letters of a group." if used else ""


def _not_delivered(undelivered: Undelivered) -> Fingerprint:
    """Return the fingerprint of the service's reason. Each rule and target is a failure of its own."""
    title = of_delivery(undelivered, normalise(undelivered.message))
    return _of(Kind.NOT_DELIVERED, title, f"\n{undelivered.rule}\n{undelivered.addressee}")


def of_delivery(undelivered: Undelivered, message: str) -> str:
    """Return in words why a service could not deliver a message, with what it says as ``message``."""
    code = undelivered.code[:LONGEST_NAME]
    reason = ": ".join(part for part in (code, message) if part)
    named = (arn for arn in (undelivered.rule, undelivered.addressee) if arn not in {"", undelivered.service})
    about = f"{undelivered.service} {' to '.join(_resource(arn) for arn in named)}".strip()
    return f"{reason} ({about})" if reason else f"Not delivered by {about}"


def _resource(arn: str) -> str:
    """Return the last part of an ARN, such as 'rule/orders', or the text if it is none."""
    return arn.split(":", 5)[-1][-LONGEST_NAME:]


def _of_error(error: str) -> Fingerprint:
    """Return the fingerprint of a job's error. An error of the library's own has one, whatever its module was called."""
    key = _of(Kind.JOB_ERROR, normalise(_PERMANENT.sub(_FIRST_NAME, error[:LONGEST_READ]))).key
    return Fingerprint(key, Kind.JOB_ERROR, title_of(Kind.JOB_ERROR, error))


def title_of(kind: str, reason: str) -> str:
    """Return the title of the group of letters that failed for this reason, of those kinds whose title is the reason itself."""
    return normalise(_PERMANENT.sub("", reason[:LONGEST_READ]) if kind == Kind.JOB_ERROR else reason)


def _of(kind: FailureGroup.Kind, title: str, more: str = "") -> Fingerprint:
    key = hashlib.sha256(f"{kind}\n{title}{more}".encode()).hexdigest()[:24]
    return Fingerprint(key, kind, title)


def _shape(document: Any) -> str:
    if document is None:
        return "Not JSON"
    if isinstance(document, list):
        return "A JSON list"
    if not isinstance(document, dict):
        return "A JSON object that is hidden"
    names = sorted(str(name)[:LONGEST_NAME] for name in document)
    more = f" and {len(names) - FIELDS_NAMED} more" if len(names) > FIELDS_NAMED else ""
    if not names:
        return "An empty JSON object"
    return f"A JSON object with {', '.join(names[:FIELDS_NAMED])}{more}"
